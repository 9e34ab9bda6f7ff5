"""A control service whose handlers do what the request's base_symbol says, and the means to talk to it below gRPC."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h2.config
import h2.connection
import h2.events
import trio

from level4.model import ConfigError
from level4.proto import level4_pb2 as pb
from level4.proto.level4_grpc import ControlBase
from level4.rpc.errors import NotFoundError
from level4.rpc.gate import Limits, RpcStats
from level4.rpc.handler import rpc
from level4.rpc.health import Health
from level4.rpc.security import Tokens
from level4.rpc.serve import serve

START = "/level4.rpc.Control/StartMarket"
WATCH = "/level4.rpc.Control/WatchBook"


class Probe(ControlBase):
    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.changed = trio.Event()

    def _note(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, *, running: int | None = None, cancelled: int | None = None) -> None:
        with trio.fail_after(20):
            while running not in (None, self.running) or cancelled not in (None, self.cancelled):
                await self.changed.wait()

    @rpc
    async def StartMarket(self, request: pb.StartMarketRequest) -> pb.StartMarketReply:  # noqa: N802
        self.running += 1
        self._note()
        try:
            await self._act(request.market.base_symbol, request.market.quote_symbol)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self._note()
        return pb.StartMarketReply(market=request.market)

    async def _act(self, act: str, what: str) -> None:
        if act == "sleep":
            await trio.sleep(float(what))
        elif act == "crash":
            raise KeyError(what)
        elif act == "timeout":
            raise TimeoutError(what)
        elif act == "group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._act, what, "")
        elif act == "groups":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._act, "group", "crash")
                nursery.start_soon(self._act, "group", "missing")
        elif act == "missing":
            raise NotFoundError("it is missing")
        elif act == "config":
            raise ConfigError("it is wrong")
        elif act == "umlaut":
            raise NotFoundError("Käse\n→ " + "x" * 5000)
        else:
            await trio.lowlevel.checkpoint()

    @rpc
    async def WatchBook(self, request: pb.WatchBookRequest) -> AsyncIterator[pb.WatchBookReply]:  # noqa: N802
        self.running += 1
        self._note()
        try:
            for number in range(request.depth):
                yield pb.WatchBookReply(market_id=number, state="x" * request.interval_ms)
            await self._act(request.market.base_symbol, request.market.quote_symbol)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self._note()

    @rpc
    async def StopMarket(self, request: pb.StopMarketRequest) -> pb.StopMarketReply:  # noqa: N802
        return pb.StopMarketReply(market=request.market)

    @rpc
    async def IsMarketOnline(self, request: pb.MarketOnlineRequest) -> pb.MarketOnlineReply:  # noqa: N802
        return pb.MarketOnlineReply(is_online=True)

    @rpc
    async def ListActiveMarkets(self, request: pb.ListMarketsRequest) -> pb.ListMarketsReply:  # noqa: N802
        return pb.ListMarketsReply()

    @rpc
    async def ListNodes(self, request: pb.ListNodesRequest) -> pb.ListNodesReply:  # noqa: N802
        return pb.ListNodesReply(nodes=[pb.Node(name="probe")])

    @rpc
    async def WatchMarkets(self, request: pb.WatchMarketsRequest) -> AsyncIterator[pb.WatchMarketsReply]:  # noqa: N802
        yield pb.WatchMarketsReply()

    @rpc
    async def MoveMarket(self, request: pb.MoveMarketRequest) -> pb.MoveMarketReply:  # noqa: N802
        return pb.MoveMarketReply()

    @rpc
    async def DrainNode(self, request: pb.DrainNodeRequest) -> pb.MovesReply:  # noqa: N802
        return pb.MovesReply()

    @rpc
    async def Rebalance(self, request: pb.RebalanceRequest) -> pb.MovesReply:  # noqa: N802
        return pb.MovesReply()


class Running:
    """A served probe. `stop()` begins the drain."""

    def __init__(self) -> None:
        self.probe = Probe()
        self.stats = RpcStats()
        self.health = Health()
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.port = 0

    def stop(self) -> None:
        self.scope.cancel()


@asynccontextmanager
async def running(
    limits: Limits | None = None,
    grace: float = 5.0,
    tls: ssl.SSLContext | None = None,
    tokens: Tokens | None = None,
) -> AsyncIterator[Running]:
    """Serve a probe; at the end it is drained and gone."""
    served = Running()

    async def run(task_status: trio.TaskStatus[int]) -> None:
        with served.scope:
            await serve(
                [served.probe],
                health=served.health,
                name="probe",
                limits=limits,
                grace=grace,
                stats=served.stats,
                tls=tls,
                tokens=tokens,
                task_status=task_status,
            )
        served.ended.set()

    async with trio.open_nursery() as nursery:
        served.port = await nursery.start(partial(run))
        try:
            yield served
        finally:
            served.stop()


def act(what: str, how: str = "", market_id: int = 17) -> pb.Market:
    return pb.Market(id=market_id, base_symbol=what, quote_symbol=how)


class RawClient:
    """HTTP/2 by hand: sends what no well-behaved client sends."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
        self.h2.initiate_connection()

    async def call(
        self, path: str, body: bytes, *, end: bool = True, headers: tuple[tuple[str, str], ...] = (), stream_id: int = 1
    ) -> None:
        base = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "probe"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self.h2.send_headers(stream_id, [*base, *headers])
        if body or end:
            self.h2.send_data(stream_id, body, end_stream=end)
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def status(self) -> tuple[int, str]:
        """Status and message of the first call that ends."""
        with trio.fail_after(20):
            while True:
                for event in self.h2.receive_data(await self.stream.receive_some(65536)):
                    if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                        headers = {str(name): str(value) for name, value in event.headers}
                        if "grpc-status" in headers:
                            return int(headers["grpc-status"]), headers.get("grpc-message", "")
                await self.flush()

    async def closed(self) -> bool:
        """Whether the server closes the connection, reading until it does."""
        with trio.move_on_after(20):
            try:
                while await self.stream.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass
            return True
        return False


@asynccontextmanager
async def raw_client(port: int) -> AsyncIterator[RawClient]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        client = RawClient(stream)
        await client.flush()
        yield client


def framed(message: bytes, announced: int | None = None) -> bytes:
    length = len(message) if announced is None else announced
    return b"\0" + length.to_bytes(4, "big") + message
