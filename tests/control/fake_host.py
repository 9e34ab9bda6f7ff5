"""A MarketHost in memory: a small cluster whose books and faults the tests decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace

import trio

from level4.control.changes import Changes
from level4.control.ports import ActiveMarket, BookView, MoveInfo, NodeInfo
from level4.control.requests import unknown
from level4.model import FeedState, Instrument, MarketRequest, MarketType
from level4.rpc.errors import NotFoundError

KNOWN = {
    "KRAKEN": {MarketType.SPOT},
    "BITMEX": {MarketType.PERP, MarketType.INVERSE, MarketType.FUTURE},
    "DERIBIT": {MarketType.INVERSE, MarketType.OPTION},
}
BASES = {"BTC", "ETH", "SOL"}


class FakeHost:
    def __init__(self, capacity: int = 3, max_market_id: int = 1023) -> None:
        self.max_market_id = max_market_id
        self.self_node = NodeInfo("node1", 0, capacity, version="1.2.3", address="127.0.0.1:50051")
        self.others: list[NodeInfo] = []
        self.markets: dict[int, ActiveMarket] = {}
        self.books: dict[int, BookView] = {}
        self.changes = Changes()
        self.before_start: Callable[[MarketRequest], object] = lambda request: None
        self.may_start = trio.Event()
        self.may_start.set()
        self.cancelled: list[int] = []

    def node(self) -> NodeInfo:
        return replace(self.self_node, active=len(self.markets))

    def nodes(self) -> Sequence[NodeInfo]:
        return [*self.others, self.node()]

    def known_exchanges(self) -> dict[str, set[MarketType]]:
        return KNOWN

    def active(self) -> Sequence[ActiveMarket]:
        return list(self.markets.values())

    def is_live(self, market_id: int) -> bool:
        return self.markets[market_id].state is FeedState.LIVE

    async def refresh(self, market_ids: Collection[int] | None = None) -> None:
        await trio.lowlevel.checkpoint()

    async def move(self, market_id: int, node: str | None) -> ActiveMarket:
        await trio.lowlevel.checkpoint()
        self.put(replace(self.markets[market_id], node=node or "node2"))
        return self.markets[market_id]

    async def drain(self, node: str) -> Sequence[MoveInfo]:
        ids = [one.request.id for one in self.markets.values() if one.node == node]
        return [MoveInfo(market_id, node, (await self.move(market_id, "node2")).node or "") for market_id in ids]

    async def rebalance(self, dry_run: bool) -> Sequence[MoveInfo]:
        await trio.lowlevel.checkpoint()
        return [] if dry_run else [MoveInfo(1, "node1", error="no other node has room")]

    async def start(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        self.before_start(request)
        if request.base not in BASES:
            raise unknown("symbol", request.base, BASES)
        try:
            await self.may_start.wait()
        except trio.Cancelled:
            self.cancelled.append(request.id)
            raise
        symbol = f"{request.base}/{request.quote}"
        market = ActiveMarket(
            request, FeedState.SYNCING, "node1", Instrument(request.exchange, request.type, symbol, "XBT/USD")
        )
        self.put(market)
        if wait_live:
            async for _ in self.watch():
                if self.markets[request.id].state is FeedState.LIVE:
                    break
        return self.markets[request.id]

    async def stop(self, market_id: int) -> ActiveMarket:
        await trio.lowlevel.checkpoint()
        market = self.markets.pop(market_id, None)
        if market is None:
            raise NotFoundError(f"market {market_id} is not active")
        self.changes.notify()
        return replace(market, state=FeedState.STOPPED)

    def watch(self) -> AsyncIterator[Sequence[ActiveMarket]]:
        return self.changes.follow(self.active)

    async def book(self, market_id: int, depth: int) -> BookView:
        await trio.lowlevel.checkpoint()
        if market_id not in self.markets:
            raise NotFoundError(f"market {market_id} is not active")
        book = self.books[market_id]
        return replace(book, bids=book.bids[:depth], asks=book.asks[:depth])

    def put(self, market: ActiveMarket) -> None:
        self.markets[market.request.id] = market
        self.changes.notify()

    def turn(self, market_id: int, state: FeedState) -> None:
        self.put(replace(self.markets[market_id], state=state))
