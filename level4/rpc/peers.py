"""Calls from node to node: one connection to each, kept, made with the first call.

All of them live in one asyncio loop that `Peers.run` owns. A node lives longer than its certificates and tokens: they
are read again when their files changed, for the next connection and the next call. A call passes on what is left of its
caller's deadline, so that nobody works for a caller who is gone. Failures are `level4.rpc.errors`, as with the client
of the control service.

A connection on which a call got no answer in time may be dead without either side's system knowing (a network that was
cut, an address that was taken away): the next call makes a new one. The old one goes on until its other calls are over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import trio
from google.protobuf.message import Message
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.events import listen

from level4.proto.level4_grpc import PeerStub
from level4.proto.level4_pb2 import (
    ListMarketsRequest,
    Market,
    ReleaseReply,
    ReleaseRequest,
    StartMarketReply,
    StartMarketRequest,
    TakeRequest,
    WatchBookReply,
    WatchBookRequest,
)
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.client import Connection, failures, hang_up, show
from level4.rpc.errors import NodeUnavailableError
from level4.rpc.security import Credentials

SECONDS: Final = 10.0
"""Longest a call may take whose caller has no deadline."""
ASK_SECONDS: Final = 2.0
"""For a question that a living node answers from memory."""

_TELLING_SECONDS: Final = 1.0
"""A call that was given less time than that tells nothing about its connection."""
_RETIRED_SECONDS: Final = 70.0
"""Longer than the longest call (a market that is waited for until it is LIVE)."""

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)


class Peers:
    """Other nodes, by the `host:port` of their control service."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._context: Callable[[], ssl.SSLContext | None] = lambda: None
        self._token: Callable[[], str | None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channels: dict[str, Channel] = {}
        self._retired: set[Channel] = set()
        self._making = trio.Lock()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Raises ConfigError when the credentials are not good."""
        self._context, self._token = self._credentials.newest_context(), self._credentials.newest_token()
        async with open_loop() as self._loop:
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                loop, self._loop = self._loop, None
                with trio.CancelScope(shield=True):
                    for channel in [*self._channels.values(), *self._retired]:
                        await on_asyncio(hang_up, loop)(channel)
                self._channels.clear()
                self._retired.clear()

    def renew(self) -> None:
        """This node has another address: its connections come from the one it had, and lead nowhere any more."""
        for address in list(self._channels):
            self._retire(address)

    async def host(self, address: str, market: Market, wait_live: bool, seconds: float = SECONDS) -> StartMarketReply:
        request = StartMarketRequest(market=market, wait_live=wait_live)
        stub = await self._stub(address)
        return await self._call(address, stub.Host, request, seconds)

    async def hosted(self, address: str) -> list[Market]:
        stub = await self._stub(address)
        return list((await self._call(address, stub.Hosted, ListMarketsRequest(), ASK_SECONDS)).markets)

    async def book(self, address: str, market_id: int, depth: int) -> WatchBookReply:
        request = WatchBookRequest(market=Market(id=market_id), depth=depth)
        stub = await self._stub(address)
        return await self._call(address, stub.Book, request, ASK_SECONDS)

    async def take(self, address: str, market_id: int, source: str, seconds: float) -> StartMarketReply:
        stub = await self._stub(address)
        return await self._call(address, stub.Take, TakeRequest(market_id=market_id, source=source), seconds)

    async def release(self, address: str, market_id: int, target: str, seconds: float) -> ReleaseReply:
        stub = await self._stub(address)
        return await self._call(address, stub.Release, ReleaseRequest(market_id=market_id, target=target), seconds)

    async def _stub(self, address: str) -> PeerStub:
        async with self._making:  # of many first calls at once one makes it
            if self._loop is None:
                raise NodeUnavailableError("this node is shutting down and asks no others; try again")
            channel = self._channels.get(address)
            if channel is None:
                channel = self._channels[address] = await on_asyncio(partial(self._channel, address), self._loop)()
        channel._ssl = self._context()  # for when it has to connect again
        return PeerStub(channel)

    async def _channel(self, address: str) -> Channel:
        """asyncio: a channel belongs to the loop it is made in."""
        host, _, port = address.rpartition(":")
        config = Configuration(ssl_target_name_override=self._credentials.server_name)
        channel = Connection(host.strip("[]"), int(port), ssl=self._context(), config=config)
        if self._token() is not None:
            listen(channel, *show(self._token))
        return channel

    async def _call(self, address: str, method: UnaryUnaryMethod[Req, Rep], request: Req, seconds: float) -> Rep:
        loop = self._loop
        if loop is None:
            raise NodeUnavailableError("this node is shutting down and asks no others; try again")
        began, channel = trio.current_time(), self._channels.get(address)
        seconds = max(0.001, min(seconds, trio.current_effective_deadline() - began))
        with failures(address):
            try:
                reply: Rep = await on_asyncio(method.__call__, loop)(request, timeout=seconds)
            except (TimeoutError, trio.Cancelled):
                unanswered = trio.current_time() - began >= seconds >= _TELLING_SECONDS
                if unanswered and channel is not None and self._channels.get(address) is channel:
                    self._retire(address)
                raise
        return reply

    def _retire(self, address: str) -> None:
        """Call over another connection from now on."""
        channel, loop = self._channels.pop(address), self._loop
        if loop is None:
            return

        def close() -> None:
            if channel in self._retired:
                self._retired.discard(channel)
                channel.close()

        self._retired.add(channel)
        loop.call_later(_RETIRED_SECONDS, close)
