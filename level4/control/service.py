"""The handlers of `level4.rpc.Control`: who may start what, which market is meant, and what the answers say.

Two calls that start one id at once: the id is reserved before the first `await`, so one goes on and the other is told
ALREADY_EXISTS at once. Reservations also count as taken room, so a burst of starts cannot overfill a cluster that has
room for one. (Starts on two different nodes are judged by the claim, in `MarketHost.start`.)

A market is named by id, or by its fields when the id is 0; when both are given they must agree, because stopping the
wrong market is worse than an error.
"""

# ruff: noqa: N802 - methods are named as the schema names them

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Final

import trio

from level4.control.messages import book_message, market_message, node_message
from level4.control.ports import ActiveMarket, BookView, MarketHost, MoveInfo, NodeState
from level4.control.requests import market_request, next_free
from level4.model import FeedState, MarketRequest
from level4.proto import level4_pb2 as pb
from level4.proto.level4_grpc import ControlBase
from level4.rpc.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
)
from level4.rpc.handler import rpc

DEPTH: Final = 10
MAX_DEPTH: Final = 1000
INTERVAL_MS: Final = 1000
MIN_INTERVAL_MS: Final = 50
"""A watcher polls the book: it costs the hot path nothing, and its price is bounded by this."""


class ControlService(ControlBase):
    def __init__(self, host: MarketHost) -> None:
        self._host = host
        self._starting: dict[int, MarketRequest] = {}

    @rpc
    async def StartMarket(self, request: pb.StartMarketRequest) -> pb.StartMarketReply:
        wanted = self._wanted(request.market)
        self._check_room(wanted)
        self._starting[wanted.id] = wanted  # no await since the checks
        try:
            started = await self._host.start(wanted, request.wait_live)
        finally:
            del self._starting[wanted.id]
        return pb.StartMarketReply(market=market_message(started), node=self._node_of(started))

    @rpc
    async def StopMarket(self, request: pb.StopMarketRequest) -> pb.StopMarketReply:
        market = self._find(request.market)
        stopped = await self._host.stop(market.request.id)
        return pb.StopMarketReply(market=market_message(stopped), node=self._node_of(market))

    @rpc
    async def IsMarketOnline(self, request: pb.MarketOnlineRequest) -> pb.MarketOnlineReply:
        market = self._find(request.market)
        await self._host.refresh([market.request.id])
        return pb.MarketOnlineReply(is_online=self._host.is_live(market.request.id))

    @rpc
    async def ListActiveMarkets(self, request: pb.ListMarketsRequest) -> pb.ListMarketsReply:
        await self._host.refresh()
        return pb.ListMarketsReply(markets=[market_message(market) for market in _by_id(self._host.active())])

    @rpc
    async def ListNodes(self, request: pb.ListNodesRequest) -> pb.ListNodesReply:
        nodes = sorted(self._host.nodes(), key=lambda node: node.name)
        return pb.ListNodesReply(nodes=[node_message(node) for node in nodes])

    @rpc
    async def WatchMarkets(self, request: pb.WatchMarketsRequest) -> AsyncIterator[pb.WatchMarketsReply]:
        sent: dict[int, ActiveMarket] | None = None
        await self._host.refresh()
        async for active in self._host.watch():
            now = {market.request.id: market for market in active}
            if sent is None:
                yield pb.WatchMarketsReply(markets=[market_message(market) for market in _by_id(now.values())])
            elif changed := _changed(sent, now):
                yield pb.WatchMarketsReply(markets=[market_message(market) for market in _by_id(changed)])
            sent = now

    @rpc
    async def WatchBook(self, request: pb.WatchBookRequest) -> AsyncIterator[pb.WatchBookReply]:
        if not 0 <= request.depth <= MAX_DEPTH:
            raise InvalidArgumentError(f"expected a depth of 1 to {MAX_DEPTH} levels, got {request.depth}")
        if request.interval_ms < 0:
            raise InvalidArgumentError(f"expected interval_ms of 0 or more, got {request.interval_ms}")
        depth = request.depth or DEPTH
        interval = max(request.interval_ms or INTERVAL_MS, MIN_INTERVAL_MS) / 1000
        market_id = self._find(request.market).request.id
        sent: BookView | None = None
        while True:
            next_look = trio.current_time() + interval
            try:
                book = await self._host.book(market_id, depth)
            except NotFoundError:
                yield pb.WatchBookReply(market_id=market_id, state=FeedState.STOPPED)
                return
            if book != sent:
                yield book_message(market_id, book)
                sent = book
            await trio.sleep_until(next_look)

    @rpc
    async def MoveMarket(self, request: pb.MoveMarketRequest) -> pb.MoveMarketReply:
        market = self._find(request.market)
        moved = await self._host.move(market.request.id, self._known_node(request.node) if request.node else None)
        return pb.MoveMarketReply(market=market_message(moved), node=self._node_of(moved))

    @rpc
    async def DrainNode(self, request: pb.DrainNodeRequest) -> pb.MovesReply:
        return _moves(await self._host.drain(self._known_node(request.node)))

    @rpc
    async def Rebalance(self, request: pb.RebalanceRequest) -> pb.MovesReply:
        return _moves(await self._host.rebalance(request.dry_run))

    def _known_node(self, name: str) -> str:
        names = [node.name for node in self._host.nodes()]
        if name not in names:
            raise NotFoundError(f"no node is named {name[:64]!r}; there are {', '.join(sorted(names))}")
        return name

    def _wanted(self, market: pb.Market) -> MarketRequest:
        """The market to start, with an id that is in range and free."""
        active = {one.request.id: one for one in self._host.active()}
        taken = active.keys() | self._starting.keys()
        highest = self._host.max_market_id
        free = next_free(taken, highest)
        hint = f"the next free id is {free}" if free is not None else "no id is free"
        if not 1 <= market.id <= highest:
            raise InvalidArgumentError(f"expected a market id from 1 to {highest}, got {market.id}; {hint}")
        wanted = market_request(market, self._host.known_exchanges(), market.id)
        if (holder := active.get(market.id)) is not None:
            raise AlreadyExistsError(f"market id {market.id} is held by {_described(holder)}; {hint}")
        if (starting := self._starting.get(market.id)) is not None:
            raise AlreadyExistsError(f"market id {market.id} is just being started as {starting}; {hint}")
        return wanted

    def _check_room(self, wanted: MarketRequest) -> None:
        """Raises when no node may take one more. Nodes that drain take none; starts under way take one each."""
        nodes = [node for node in self._host.nodes() if node.state is not NodeState.DRAINING]
        if not nodes:
            raise FailedPreconditionError(
                f"{wanted} was not started: node {self._host.node().name} is draining and there is no other"
            )
        active = {market.request.id for market in self._host.active()}
        coming = len(self._starting.keys() - active)
        room = sum(max(0, node.capacity - node.active) for node in nodes)
        if coming >= room:
            use = ", ".join(f"{node.name} {node.active} of {node.capacity}" for node in nodes[:8])
            under_way = f", {coming} being started" if coming else ""
            raise ResourceExhaustedError(
                f"{wanted} was not started: no node has room ({use}{under_way}); "
                "stop a market, add a node or raise MAX_DATA_FEEDS"
            )

    def _find(self, market: pb.Market) -> ActiveMarket:
        """The active market that these fields name."""
        if market.id:
            return self._find_by_id(market)
        wanted = market_request(market, self._host.known_exchanges(), 0)
        found = [one for one in self._host.active() if replace(one.request, id=0) == wanted]
        if not found:
            if any(replace(one, id=0) == wanted for one in self._starting.values()):
                raise FailedPreconditionError(f"{_named(wanted)} is just being started; ask again when it is")
            raise NotFoundError(f"no active market is {_named(wanted)}; {self._what_is_active()}")
        if len(found) > 1:
            ids = ", ".join(str(one.request.id) for one in _by_id(found))
            raise InvalidArgumentError(f"{_named(wanted)} is active under several ids ({ids}); give the id")
        return found[0]

    def _find_by_id(self, market: pb.Market) -> ActiveMarket:
        found = next((one for one in self._host.active() if one.request.id == market.id), None)
        if found is None:
            if (starting := self._starting.get(market.id)) is not None:
                raise FailedPreconditionError(f"{starting} is just being started; ask again when it is")
            raise NotFoundError(f"no active market has id {market.id}; {self._what_is_active()}")
        if market.exchange_name or market.type or market.base_symbol or market.quote_symbol:
            wanted = market_request(market, self._host.known_exchanges(), market.id)
            if wanted != found.request:
                raise InvalidArgumentError(f"market id {market.id} is not {_named(wanted)}, it is {_described(found)}")
        return found

    def _what_is_active(self) -> str:
        active = _by_id(self._host.active())
        more = f" and {len(active) - 8} more" if len(active) > 8 else ""
        return f"active: {', '.join(str(one.request) for one in active[:8]) or 'none'}{more}"

    def _node_of(self, market: ActiveMarket) -> pb.Node | None:
        return next((node_message(node) for node in self._host.nodes() if node.name == market.node), None)


def _by_id(markets: Iterable[ActiveMarket]) -> list[ActiveMarket]:
    return sorted(markets, key=lambda market: market.request.id)


def _changed(before: dict[int, ActiveMarket], now: dict[int, ActiveMarket]) -> list[ActiveMarket]:
    changed = [market for market_id, market in now.items() if before.get(market_id) != market]
    gone = [replace(market, state=FeedState.STOPPED) for market_id, market in before.items() if market_id not in now]
    return changed + gone


def _named(request: MarketRequest) -> str:
    return str(replace(request, id=0)).removeprefix("0=")


def _described(market: ActiveMarket) -> str:
    where = f"on node {market.node}" if market.node else "not placed on any node yet"
    return f"{market.request}, {market.state}, {where}"


def _moves(moves: Iterable[MoveInfo]) -> pb.MovesReply:
    return pb.MovesReply(
        moves=[pb.Move(market_id=m.market_id, source=m.source, target=m.target, error=m.error) for m in moves]
    )
