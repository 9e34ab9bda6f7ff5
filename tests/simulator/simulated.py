"""What the simulator's tests share: a client, and books rebuilt by the rules of the fact sheets."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import h11
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from level4.simulator import Simulator

Json = Any


@asynccontextmanager
async def running(simulator: Simulator) -> AsyncIterator[Client]:
    """A simulator on a free port, and a client of it."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        with trio.fail_after(30):
            yield Client(port)
        nursery.cancel_scope.cancel()


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    @asynccontextmanager
    async def socket(self, address: str) -> AsyncIterator[WebSocketConnection]:
        """A WebSocket to an exchange's address, given without scheme."""
        # over a stream of our own: trio-websocket leaves its TCP socket open when the server closes first
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream, trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery, stream, f"127.0.0.1:{self.port}", f"/{address}", max_message_size=64 * 2**20
            )
            try:
                yield socket
            finally:
                with trio.move_on_after(1):
                    await socket.aclose()

    async def http(self, address: str, method: str = "GET", content: object = None) -> Reply:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream:
            return await exchange(stream, h11.Connection(h11.CLIENT), address, method, content)

    async def get(self, address: str) -> Json:
        reply = await self.http(address)
        assert reply.status == 200, reply
        return reply.json()

    async def stats(self) -> Json:
        return await self.get("_level4/stats")


class Reply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Json:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.headers}, {self.body[:200]!r})"


async def exchange(
    stream: trio.abc.Stream, connection: h11.Connection, address: str, method: str = "GET", content: object = None
) -> Reply:
    """One request and its reply on a connection that is kept open."""
    body = b"" if content is None else json.dumps(content).encode()
    headers = [("host", "127.0.0.1"), ("content-length", str(len(body)))]
    data = connection.send(h11.Request(method=method, target=f"/{address}", headers=headers)) or b""
    data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
    status, named, received = 0, {}, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            status = event.status_code
            named = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            received += bytes(event.data)
        else:
            assert isinstance(event, h11.EndOfMessage), event
            connection.start_next_cycle()
            return Reply(status, named, received)


def texts(frame: str | bytes) -> Json:
    """JSON with every number as its text."""
    return json.loads(frame, parse_float=str, parse_int=str)


async def send(socket: WebSocketConnection, message: object) -> None:
    await socket.send_message(json.dumps(message))


async def until(socket: WebSocketConnection, wanted: Callable[[Json], bool], read: Callable[..., Json] = texts) -> Json:
    """The first message that is wanted; others are thrown away."""
    while True:
        message = read(await socket.get_message())
        if wanted(message):
            return message


def shape(value: Json) -> Json:
    """Key names and JSON types: what two samples of one kind of message share. Lists by their first element."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


class PlainBook:
    """Price text by price, on two sides."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, tuple[str, str]] = {}
        self.asks: dict[Decimal, tuple[str, str]] = {}

    def apply(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                if Decimal(size):
                    side[Decimal(price)] = (price, size)
                else:
                    side.pop(Decimal(price), None)

    def trim(self, depth: int) -> None:
        for price in sorted(self.bids, reverse=True)[depth:]:
            del self.bids[price]
        for price in sorted(self.asks)[depth:]:
            del self.asks[price]

    def sides(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Best first."""
        return [self.bids[p] for p in sorted(self.bids, reverse=True)], [self.asks[p] for p in sorted(self.asks)]

    def best(self) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
        bids, asks = self.sides()
        return (bids[0] if bids else None), (asks[0] if asks else None)

    def kraken_checksum(self) -> int:
        bids, asks = self.sides()
        digits = [number.replace(".", "").lstrip("0") for level in asks[:10] + bids[:10] for number in level]
        return zlib.crc32("".join(digits).encode())

    def equals(self, whole: Json) -> bool:
        """Whether it is the book that `/_level4/book` tells, as numbers."""
        mine = [[(Decimal(p), Decimal(s)) for p, s in side] for side in self.sides()]
        theirs = [[(Decimal(p), Decimal(s)) for p, s in whole[side]] for side in ("bids", "asks")]
        return mine == theirs
