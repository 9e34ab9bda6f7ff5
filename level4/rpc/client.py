"""A typed client of the control service for trio programs: the CLI, tests, and nodes that ask other nodes.

    async with connect("127.0.0.1", 50051, credentials=Credentials(ca=Path("ca.pem"), token="…")) as control:
        reply = await control.start_market(Market(id=17, exchange_name="KRAKEN", type="SPOT", …), wait_live=True)
        async with control.watch_markets() as replies:
            async for reply in replies: ...

Every call has a deadline, which the node gets to know. Failures are `level4.rpc.errors`: the same classes the node's
handlers raise; a node that cannot be reached is NodeUnavailableError. The connection is made with the first call.

What the client shows and whom it believes are its `Credentials`; without them the connection is plaintext.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Generic, Self, TypeVar

import trio
from google.protobuf.message import Message
from grpclib.client import Channel, Stream, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.events import SendRequest, listen
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from level4.proto.level4_grpc import ControlStub
from level4.proto.level4_pb2 import (
    DrainNodeRequest,
    ListMarketsRequest,
    ListNodesRequest,
    Market,
    MarketOnlineRequest,
    Move,
    MoveMarketReply,
    MoveMarketRequest,
    Node,
    RebalanceRequest,
    StartMarketReply,
    StartMarketRequest,
    StopMarketReply,
    StopMarketRequest,
    WatchBookReply,
    WatchBookRequest,
    WatchMarketsReply,
    WatchMarketsRequest,
)
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.errors import DeadlineExceededError, NodeUnavailableError, error_of
from level4.rpc.security import Credentials

TIMEOUT: Final = 10.0
"""Seconds for one call, unless told otherwise."""
LIVE_TIMEOUT: Final = 60.0
"""Seconds for a start that waits until the market is LIVE."""

MOVE_TIMEOUT: Final = 30.0
"""Seconds for one market to move: the new host may have to wait for the exchange."""
MOVES_TIMEOUT: Final = 300.0

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)


class Connection(Channel):
    """A grpclib channel that whoever opened it hangs up, never the garbage collector. That works in whatever thread
    comes along, and trio_asyncio's loop, touched from there, breaks trio: the whole process ended."""

    def __del__(self) -> None:
        """grpclib would close it here. Its socket closes itself."""


class ControlClient:
    """Calls of one node. `timeout` of each call is in seconds. Markets are named as the schema says."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, address: str, timeout: float) -> None:
        self._stub = ControlStub(channel)
        self._health = HealthStub(channel)
        self._loop = loop
        self._address = address
        self._timeout = timeout

    async def start_market(
        self,
        market: Market,
        *,
        wait_live: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - sent along
    ) -> StartMarketReply:
        request = StartMarketRequest(market=market, wait_live=wait_live)
        if timeout is None and wait_live:
            timeout = LIVE_TIMEOUT
        return await self._call(self._stub.StartMarket, request, timeout)

    async def stop_market(self, market: Market) -> StopMarketReply:
        return await self._call(self._stub.StopMarket, StopMarketRequest(market=market))

    async def is_market_online(self, market: Market) -> bool:
        return (await self._call(self._stub.IsMarketOnline, MarketOnlineRequest(market=market))).is_online

    async def list_markets(self) -> list[Market]:
        return list((await self._call(self._stub.ListActiveMarkets, ListMarketsRequest())).markets)

    async def list_nodes(self) -> list[Node]:
        return list((await self._call(self._stub.ListNodes, ListNodesRequest())).nodes)

    async def move_market(self, market: Market, node: str = "") -> MoveMarketReply:
        """`node`: where to; empty: the cluster chooses."""
        return await self._call(self._stub.MoveMarket, MoveMarketRequest(market=market, node=node), MOVE_TIMEOUT)

    async def drain_node(self, node: str) -> list[Move]:
        reply = await self._call(self._stub.DrainNode, DrainNodeRequest(node=node), MOVES_TIMEOUT)
        return list(reply.moves)

    async def rebalance(self, *, dry_run: bool = False) -> list[Move]:
        reply = await self._call(self._stub.Rebalance, RebalanceRequest(dry_run=dry_run), MOVES_TIMEOUT)
        return list(reply.moves)

    async def is_serving(self) -> bool:
        """Whether the node's health is SERVING."""
        reply = await self._call(self._health.Check, HealthCheckRequest())
        return reply.status == HealthCheckResponse.SERVING

    @asynccontextmanager
    async def watch_markets(self) -> AsyncIterator[Replies[WatchMarketsReply]]:
        async with self._open(self._stub.WatchMarkets, WatchMarketsRequest()) as replies:
            yield replies

    @asynccontextmanager
    async def watch_book(
        self, market: Market, *, depth: int = 10, interval_ms: int = 1000
    ) -> AsyncIterator[Replies[WatchBookReply]]:
        request = WatchBookRequest(market=market, depth=depth, interval_ms=interval_ms)
        async with self._open(self._stub.WatchBook, request) as replies:
            yield replies

    async def _call(
        self,
        method: UnaryUnaryMethod[Req, Rep],
        request: Req,
        timeout: float | None = None,  # noqa: ASYNC109 - sent along
    ) -> Rep:
        with failures(self._address):
            reply: Rep = await on_asyncio(method.__call__, self._loop)(
                request, timeout=self._timeout if timeout is None else timeout
            )
        return reply

    @asynccontextmanager
    async def _open(self, method: UnaryStreamMethod[Req, Rep], request: Req) -> AsyncIterator[Replies[Rep]]:
        stream = method.open()
        try:
            with failures(self._address), trio.fail_after(self._timeout):
                await on_asyncio(stream.__aenter__, self._loop)()
                await on_asyncio(stream.send_message, self._loop)(request)
            yield Replies(stream, self._loop, self._address)
        finally:
            # leave as cancelled: a plain exit would wait for the end of a stream that has none
            with trio.CancelScope(shield=True):
                await on_asyncio(stream.__aexit__, self._loop)(asyncio.CancelledError, asyncio.CancelledError(), None)


class Replies(Generic[Rep]):
    """The replies of a server stream. Ends when the node ends it well, else raises like a call."""

    def __init__(self, stream: Stream[Req, Rep], loop: asyncio.AbstractEventLoop, address: str) -> None:
        self._stream = stream
        self._loop = loop
        self._address = address

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Rep:
        with failures(self._address):
            reply = await on_asyncio(self._stream.recv_message, self._loop)()
            if reply is not None:
                return reply
            await on_asyncio(self._stream.recv_trailing_metadata, self._loop)()
        raise StopAsyncIteration


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - sent along
    credentials: Credentials | None = None,
) -> AsyncIterator[ControlClient]:
    """A client of the node at `host`:`port`. `timeout` in seconds is the default of its calls.

    Raises ConfigError when a file of the credentials is not good.
    """
    credentials = credentials or Credentials()
    context = credentials.context()
    failure: Exception | None = None
    async with open_loop() as loop:
        config = Configuration(ssl_target_name_override=credentials.server_name)
        channel = Connection(host, port, ssl=context, config=config)
        if credentials.token is not None:
            listen(channel, *show(lambda: credentials.token))
        try:
            yield ControlClient(channel, loop, f"{host}:{port}", timeout)
        except Exception as error:
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                await on_asyncio(hang_up, loop)(channel)
    if failure is not None:
        raise failure  # out here, so that the loop's nurseries do not wrap it in a group


async def hang_up(channel: Channel) -> None:
    """asyncio: close a channel, and its socket with it. A plain close of TLS waits for the other side's farewell, and
    the loop that is about to end would leave the socket open."""
    transport = getattr(getattr(channel._protocol, "connection", None), "_transport", None)
    channel.close()
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0)


def show(
    token: Callable[[], str | None],
) -> tuple[type[SendRequest], Callable[[SendRequest], Coroutine[Any, Any, None]]]:
    """What to listen for on a channel, so that each of its calls shows the token of that moment."""

    async def add(request: SendRequest) -> None:
        request.metadata["authorization"] = f"Bearer {token()}"

    return SendRequest, add


@contextmanager
def failures(address: str) -> Iterator[None]:
    """What goes wrong in a call of that node, as our errors."""
    try:
        yield
    except GRPCError as error:
        raise error_of(error.status.name, error.message or error.status.name) from None
    except (TimeoutError, trio.TooSlowError):
        raise DeadlineExceededError(f"node {address} did not answer in time") from None
    except StreamTerminatedError as error:
        raise NodeUnavailableError(f"node {address} ended the connection: {error}") from None
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", None) or error.reason or error
        raise NodeUnavailableError(f"no TLS with node {address}: {why}") from None
    except OSError as error:
        raise NodeUnavailableError(f"node {address} cannot be reached: {error.strerror or error}") from None
