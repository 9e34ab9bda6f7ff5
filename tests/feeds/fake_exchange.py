"""An exchange made of memory: a small protocol, sockets that a test writes, and feeds that run on them.

The protocol is JSON objects: `t` says what (snap, upd, trade, ack, refuse, notice, boom), `s` for whom, `n` numbers the
connection. Nothing here opens a socket, so tests of the logic run in virtual time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import httpx
import trio
import trio.testing

from level4.book import Sync, binance_spot, seeded_by_rest, seeded_in_stream
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.feeds import AddressBook, Disconnected, Feeds, FeedSettings, Instruments, Rest, Socket
from level4.model import Event, Instrument, MarketRequest, Markets, MarketType, Notice, RawTime, Spread, Status, Trade

BOOK, TRADES = Channel.BOOK, Channel.TRADES
ADDRESS = "wss://ws.fake.example/v1"
SYMBOLS = ("AAA-USD", "BBB-USD", "CCC-USD", "DDD-USD", "EEE-USD")


class FakeScheme(Scheme):
    protocol = "fake.v1"
    exchange = "FAKE"
    websocket: ClassVar[dict[Channel, str]] = {BOOK: ADDRESS, TRADES: ADDRESS}
    rest = "https://api.fake.example"
    instruments_paths = ("/list",)
    limits = Limits(messages_per_second=1000.0, connects=1000, connects_seconds=60.0, silence_seconds=30.0)
    sync: ClassVar[Sync] = seeded_in_stream()

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [f"sub {'+'.join(channels)} {','.join(symbols)}"]

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [f"unsub {'+'.join(channels)} {','.join(symbols)}"]

    def ping(self) -> str | None:
        return "ping"

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        content = json.loads(frame)
        if "n" in content:
            markets.sequence(content["n"])
        symbol = content.get("s")
        match content["t"]:
            case "snap":
                markets[symbol].snapshot(levels(content["b"]), levels(content["a"]), content.get("last"))
            case "upd":
                market = markets[symbol]
                market.delta(levels(content["b"]), levels(content["a"]), content.get("first"), content.get("last"))
            case "trade":
                markets[symbol].trade("buy", content["p"], "1", content["id"])
            case "ack":
                markets.subscribed(symbol, content["ch"])
            case "refuse":
                markets.refused(symbol, content["why"])
            case "notice":
                markets.notice(Notice(content["what"]), "so it says")
            case "nothing":
                pass
            case "boom":
                markets[symbol].delta([("1", "1")], [])
                raise KeyError("a bug of the decoder")
            case kind:
                markets.unknown(kind)

    @staticmethod
    def exchange_us(raw: RawTime) -> int | None:
        return None

    def snapshot_path(self, symbol: str, levels: int | None = None) -> str:
        return f"/depth?symbol={symbol}" + (f"&limit={levels}" if levels else "")

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        content = json.loads(body)
        markets[symbol].snapshot(levels(content["b"]), levels(content["a"]), content["last"])

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            Instrument("FAKE", MarketType(e.get("type", "SPOT")), f"{e['b']}/{e['q']}", e["s"], e["b"], e["q"],
                       settle=e.get("settle"), expiry=e.get("expiry"), active=e.get("active", True))
            for e in json.loads(bodies[0])
        ]  # fmt: skip


class FakeRestScheme(FakeScheme):
    protocol = "fake.rest"
    sync = seeded_by_rest(joins=binance_spot, follows=binance_spot)


class FakeSequenceScheme(FakeScheme):
    protocol = "fake.sequence"
    sync = seeded_in_stream(connection_sequence=True)


def scheme_with(base: type[FakeScheme] = FakeScheme, **facts: Any) -> type[FakeScheme]:
    """A variant of the protocol with other facts."""
    return type("Variant", (base,), facts)


def levels(pairs: list[list[str]]) -> list[tuple[str, str]]:
    return [(price, size) for price, size in pairs]


def snap(symbol: str, bid: str = "10", ask: str = "11", **more: Any) -> str:
    return json.dumps({"t": "snap", "s": symbol, "b": [[bid, "1"]], "a": [[ask, "1"]], **more})


def upd(symbol: str, bid: str, size: str = "1", **more: Any) -> str:
    return json.dumps({"t": "upd", "s": symbol, "b": [[bid, size]], "a": [], **more})


def say(kind: str, **more: Any) -> str:
    return json.dumps({"t": kind, **more})


def books(text: str) -> list[str]:
    """What an exchange answers to a subscription: acknowledgements, and books that never change."""
    words = text.split(" ")
    if words[0] != "sub":
        return []
    symbols, channels = words[2].split(","), words[1].split("+")
    acks = [say("ack", s=symbol, ch=channel) for symbol in symbols for channel in channels]
    return acks + [snap(symbol) for symbol in symbols if "book" in channels]


class FakeSocket:
    """The exchange's end: the test reads `sent` and calls `give` and `cut`."""

    def __init__(self, url: str, answers: Callable[[str], Sequence[str]] | None = None) -> None:
        self.url = url
        self.answers = answers
        """What the exchange says to a message of ours, at once."""
        self.sent: list[str] = []
        self.sent_at: list[float] = []
        self.pings = 0
        self.closed = False
        self._send, self._receive = trio.open_memory_channel[str | bytes | Disconnected](10_000)
        self.receives = 0
        """How often the client waited: frames that it drained do not count."""

    def give(self, *frames: str | bytes) -> None:
        for frame in frames:
            self._send.send_nowait(frame)

    def cut(self, reason: str = "cut by the test") -> None:
        self._send.send_nowait(Disconnected(1006, reason))

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(text)
        self.sent_at.append(trio.current_time())
        if self.answers is not None:
            self.give(*self.answers(text))

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()
        self.pings += 1

    async def receive(self) -> str | bytes:
        self.receives += 1
        item = await self._receive.receive()
        if isinstance(item, Disconnected):
            self._send.send_nowait(item)
            raise item
        return item

    def receive_nowait(self) -> str | bytes | None:
        try:
            item = self._receive.receive_nowait()
        except trio.WouldBlock:
            return None
        if isinstance(item, Disconnected):
            self._send.send_nowait(item)
            return None
        return item

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class FakeTransport:
    """Every connection is a `FakeSocket`. `refuse` says why the next attempts fail; `on_connect` greets."""

    def __init__(self) -> None:
        self.sockets: list[FakeSocket] = []
        self.urls: list[str] = []
        self.attempts: list[float] = []
        self.refuse: list[Disconnected] = []
        self.refuse_always: Disconnected | None = None
        self.silent = False
        """Whether attempts are accepted and never answered; it is 10 s until one is given up."""
        self.answers: Callable[[str], Sequence[str]] | None = None

    def connect(
        self, url: str, message_bytes: int, patience: float = float("inf")
    ) -> AbstractAsyncContextManager[Socket]:
        return self._connect(url, min(patience, 10.0))

    @asynccontextmanager
    async def _connect(self, url: str, patience: float) -> AsyncIterator[Socket]:
        self.attempts.append(trio.current_time())
        self.urls.append(url)
        await trio.lowlevel.checkpoint()
        if self.silent:
            await trio.sleep(patience)
            raise Disconnected(None, f"no WebSocket handshake within {patience:g} s")
        if self.refuse_always is not None:
            raise self.refuse_always
        if self.refuse:
            raise self.refuse.pop(0)
        socket = FakeSocket(url, self.answers)
        self.sockets.append(socket)
        try:
            yield socket
        finally:
            await socket.aclose()

    @property
    def open(self) -> list[FakeSocket]:
        return [socket for socket in self.sockets if not socket.closed]

    def at(self, url: str) -> FakeSocket:
        """The open socket to this address."""
        (found,) = [socket for socket in self.open if socket.url == url]
        return found


class Published:
    """A publisher that keeps."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)

    def spreads(self, market_id: int) -> list[Spread]:
        return [event for event in self.events if isinstance(event, Spread) and event.market_id == market_id]

    def trades(self, market_id: int) -> list[Trade]:
        return [event for event in self.events if isinstance(event, Trade) and event.market_id == market_id]

    def statuses(self, market_id: int) -> list[str]:
        return [event.event for event in self.events if isinstance(event, Status) and event.market_id == market_id]

    def reasons(self, market_id: int, kind: str) -> list[str | None]:
        return [
            event.reason
            for event in self.events
            if isinstance(event, Status) and event.market_id == market_id and event.event == kind
        ]


@dataclass(frozen=True)
class FakeVenue:
    book: type[Scheme]
    trades: type[Scheme]


Answer = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def listing(*symbols: str) -> bytes:
    return json.dumps([{"s": s, "b": s.split("-")[0], "q": s.split("-")[1]} for s in symbols]).encode()


def answer_list(request: httpx.Request) -> httpx.Response:
    assert request.url.path.endswith("/list")
    return httpx.Response(200, content=listing(*SYMBOLS))


class Rig:
    """Feeds on fakes. Market id 1 is AAA-USD, 2 is BBB-USD, …"""

    def __init__(self, feeds: Feeds, transport: FakeTransport, published: Published) -> None:
        self.feeds = feeds
        self.transport = transport
        self.published = published
        self.wall_step_ns = 0
        """How far the wall clock has jumped."""

    def wall(self) -> int:
        return 1_800_000_000_000_000_000 + self.wall_step_ns + int(trio.current_time() * 1e9)

    async def start(self, *market_ids: int) -> None:
        for market_id in market_ids:
            await self.feeds.start(request(market_id), term=7)
        await settled()

    async def start_only(self, *market_ids: int) -> FakeSocket:
        """Start markets whose exchange answers by itself."""
        await self.start(*market_ids)
        return self.transport.open[-1]

    def state(self, market_id: int) -> str:
        return next(view.state for view in self.feeds.markets() if view.request.id == market_id)

    async def live(self, *market_ids: int) -> FakeSocket:
        """Start markets and give them their books, all on one socket."""
        await self.start(*market_ids)
        socket = self.transport.open[-1]
        socket.give(*(snap(SYMBOLS[market_id - 1]) for market_id in market_ids))
        await settled()
        assert [self.state(market_id) for market_id in market_ids] == ["LIVE"] * len(market_ids)
        return socket


def request(market_id: int) -> MarketRequest:
    return MarketRequest(market_id, "FAKE", MarketType.SPOT, SYMBOLS[market_id - 1].split("-")[0], "USD")


async def settled() -> None:
    """Until nobody has anything left to do but wait."""
    await trio.testing.wait_all_tasks_blocked()


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something that no event tells; fails after `seconds`."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)


@asynccontextmanager
async def rig(
    scheme: type[Scheme] = FakeScheme,
    *,
    trades: type[Scheme] | None = None,
    answer: Answer = answer_list,
    markets_per_connection: int = 4,
    random: Random | None = None,
) -> AsyncIterator[Rig]:
    transport, published = FakeTransport(), Published()
    venue = FakeVenue(scheme, trades or scheme)
    async with Rest(transport=httpx.MockTransport(answer)) as rest, trio.open_nursery() as nursery:
        addresses = AddressBook()
        made: list[Rig] = []
        feeds = Feeds(
            FeedSettings(node="node1", markets_per_connection=markets_per_connection, addresses=addresses),
            publisher=published,
            venue=lambda _exchange, _type: venue,
            transport=transport,
            rest=rest,
            instruments=Instruments(rest, addresses),
            random=random or Random(1),
            wall=lambda: made[0].wall(),  # noqa: PLW0108 - it is not made yet
        )
        made.append(Rig(feeds, transport, published))
        await nursery.start(feeds.run)
        yield made[0]
        nursery.cancel_scope.cancel()
