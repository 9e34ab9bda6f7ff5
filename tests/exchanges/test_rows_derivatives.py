"""Every row of the registry for exchanges with derivatives: simulator → feeds → events, and nothing lost or invented.

A thousand and more book frames go through real sockets as fast as both sides can. The book must end equal to the
simulator's to the last level, the events must be as many as a correct consumer derives, and the trades the same in
number, side, price and size. Then one book frame is lost, doubled and swapped with the next: where the protocol can
tell, the market is marked and comes back with an equal book; where it cannot, nothing may change.

The pace at which exchanges allow to ask, and the pauses between repairs, are tested elsewhere and switched off here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio

from level4.exchanges import venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, TrioWebSockets
from level4.market import resync
from level4.model import MarketRequest, MarketType, Spread, Status, Trade
from level4.publish import MemoryPublisher
from level4.simulator import Channel, Fault, FaultKind, Simulator, bybit_topics

ID = 1
FRAMES = 1_000
TELLS = frozenset({FaultKind.DROP, FaultKind.REORDER})
"""What a sequence shows that knows old numbers from new ones: a doubled frame is contained, and harmless."""
TELLS_ALL = TELLS | {FaultKind.DUPLICATE}
"""What a chain shows in which every frame names the one before."""

Levels = dict[Decimal, Decimal]


@dataclass(frozen=True)
class Row:
    exchange: str
    type: MarketType
    base: str
    quote: str
    simulated: str
    """What the simulator calls this part of the exchange."""
    tells: frozenset[FaultKind]
    terms: Mapping[str, str] = field(default_factory=dict)
    """Of options: strike and right."""
    merges: bool = False
    """Trades are told together: only sums can be compared."""
    crowded: bool = False
    """Trades of other markets come too."""
    protocol: str | None = None
    """Another one than the default."""

    def __str__(self) -> str:
        return f"{self.exchange}-{self.type}" + (f"-{self.protocol}" if self.protocol else "")


OPTION = {"strike": "61000", "right": "C"}
ROWS = [
    Row("BINANCE", MarketType.PERP, "BTC", "USDT", "BINANCE_FUTURES", TELLS, merges=True),
    Row("BINANCE", MarketType.FUTURE, "BTC", "USDT", "BINANCE_FUTURES", TELLS, merges=True),
    Row("BINANCE", MarketType.INVERSE, "BTC", "USD", "BINANCE_DELIVERY", TELLS, merges=True),
    Row("BINANCE", MarketType.OPTION, "BTC", "USDT", "BINANCE_FUTURES", TELLS, OPTION),
    Row("BYBIT", MarketType.SPOT, "BTC", "USDT", "BYBIT_SPOT", TELLS),
    Row("BYBIT", MarketType.PERP, "BTC", "USDT", "BYBIT_LINEAR", TELLS),
    Row("BYBIT", MarketType.FUTURE, "BTC", "USDT", "BYBIT_LINEAR", TELLS),
    Row("BYBIT", MarketType.INVERSE, "BTC", "USD", "BYBIT_INVERSE", TELLS),
    Row("BYBIT", MarketType.OPTION, "BTC", "USDT", "BYBIT_OPTION", TELLS, OPTION, crowded=True),
    Row("KRAKEN", MarketType.PERP, "BTC", "USD", "KRAKEN_FUTURES", TELLS),
    Row("KRAKEN", MarketType.FUTURE, "BTC", "USD", "KRAKEN_FUTURES", TELLS),
    Row("KRAKEN", MarketType.INVERSE, "BTC", "USD", "KRAKEN_FUTURES", TELLS),
    Row("DERIBIT", MarketType.SPOT, "BTC", "USDC", "DERIBIT", TELLS_ALL),
    Row("DERIBIT", MarketType.PERP, "BTC", "USDC", "DERIBIT", TELLS_ALL),
    Row("DERIBIT", MarketType.FUTURE, "BTC", "USDC", "DERIBIT", TELLS_ALL),
    Row("DERIBIT", MarketType.INVERSE, "BTC", "USD", "DERIBIT", TELLS_ALL),
    Row("DERIBIT", MarketType.OPTION, "BTC", "USD", "DERIBIT", TELLS_ALL, OPTION),
    Row("OKX", MarketType.SPOT, "BTC", "USDT", "OKX", TELLS_ALL),
    Row("OKX", MarketType.PERP, "BTC", "USDT", "OKX", TELLS_ALL),
    Row("OKX", MarketType.FUTURE, "BTC", "USDT", "OKX", TELLS_ALL),
    Row("OKX", MarketType.INVERSE, "BTC", "USD", "OKX", TELLS_ALL),
    Row("OKX", MarketType.OPTION, "BTC", "USD", "OKX", TELLS_ALL, OPTION),
    Row("OKX", MarketType.PERP, "ETH", "USDT", "OKX", TELLS_ALL, protocol="okx.v5.rest"),
]


class Quick(Random):
    """Delays that a test can afford."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.005)


class Running:
    def __init__(self, row: Row, simulator: Simulator, feeds: Feeds, publisher: MemoryPublisher) -> None:
        self.row = row
        self.simulator = simulator
        self.feeds = feeds
        self.publisher = publisher
        self.native = feeds.markets()[0].instrument.native_symbol

    @property
    def state(self) -> str:
        return str(self.feeds.markets()[0].state)

    def counts(self) -> dict[str, Any]:
        """What the simulator has sent."""
        exchanges: Any = self.simulator.stats()["exchanges"]
        counts: dict[str, Any] = exchanges[self.row.simulated][self.native]
        return counts

    def spreads(self) -> list[Spread]:
        return [event for event in self.publisher.events if isinstance(event, Spread)]

    def trades(self) -> list[Trade]:
        return [event for event in self.publisher.events if isinstance(event, Trade)]

    def gaps(self) -> int:
        return sum(isinstance(event, Status) and event.event == "gap" for event in self.publisher.events)

    def same_books(self) -> bool:
        theirs = self.simulator.book(self.row.simulated, self.native)
        ours = self.feeds.market(ID)
        assert theirs is not None
        assert ours is not None
        book = ours.book
        sides: Any = theirs
        return (levels(book.bids.top(10_000)), levels(book.asks.top(10_000))) == (
            levels(sides["bids"]),
            levels(sides["asks"]),
        )

    async def frames(self, count: int) -> None:
        """Let so many more book frames be sent, and everything arrive."""
        before = self.counts()["frames"]
        self.simulator.resume()
        await until(lambda: self.counts()["frames"] >= before + count)
        await self.quiet()

    async def quiet(self) -> None:
        self.simulator.pause()
        await until(lambda: self.state == "LIVE" and self.same_books())


def levels(pairs: Sequence[Sequence[str]]) -> Levels:
    return {Decimal(price): Decimal(size) for price, size in pairs}


@asynccontextmanager
async def running(row: Row) -> AsyncIterator[Running]:
    simulator = Simulator(
        names=["BTC/USD", "ETH/USD"], rate=2000.0, trade_rate=200.0, levels=60, seed=4, gather=0.0
    )
    simulator.pause()
    publisher = MemoryPublisher()
    protocols = {f"{row.exchange}.{row.type}": row.protocol} if row.protocol else {}
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        addresses = AddressBook(simulator=f"127.0.0.1:{port}")
        async with Rest() as rest:
            feeds = Feeds(
                FeedSettings(node="node1", addresses=addresses, spread_trigger="size"),
                publisher=publisher,
                venue=lambda exchange, type_: venue(exchange, type_, protocols),
                transport=TrioWebSockets(connect_seconds=2.0, close_seconds=0.2),
                rest=rest,
                instruments=Instruments(rest, addresses),
                random=Quick(),
            )
            await nursery.start(feeds.run)
            request = MarketRequest(ID, row.exchange, row.type, row.base, row.quote, **row.terms)
            await feeds.start(request, term=7)
            r = Running(row, simulator, feeds, publisher)
            await until(lambda: r.state == "LIVE")
            yield r
        nursery.cancel_scope.cancel()


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between messages to the exchange and between repairs."""
    for row in ROWS:
        found = venue(row.exchange, row.type, {f"{row.exchange}.{row.type}": row.protocol} if row.protocol else None)
        for scheme in {found.book, found.trades}:
            monkeypatch.setattr(scheme, "limits", replace(scheme.limits, messages_per_second=1000.0))
    monkeypatch.setattr(resync, "HEALTHY_SECONDS", 0.0)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.usefixtures("unpaced")
async def test_a_row_of_the_registry(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(row) as r:
        before = len(r.simulator.trades(row.simulated, r.native) or [])
        await r.frames(FRAMES)
        await until(lambda: len(r.trades()) >= r.counts()["trades"])
        check_events(r)
        check_trades(r, before)
        for stats in r.feeds.connections():
            assert (dict(stats.errors), dict(stats.unknown), stats.disconnects) == ({}, {}, 0)
            assert (stats.dropped > 0) == row.crowded
        # a snapshot that comes unasked right after a loss would hide it
        monkeypatch.setattr(bybit_topics, "SNAPSHOT_EVERY", 10**9)
        monkeypatch.setattr(bybit_topics, "RESTART_EVERY", 10**9)
        for kind in (FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER):
            await strike(r, kind)


def check_events(r: Running) -> None:
    counts = r.counts()
    assert counts["frames"] >= FRAMES
    assert r.gaps() == 0
    spreads = r.spreads()
    assert [spread.seq for spread in spreads] == list(range(1, len(spreads) + 1))
    assert spreads[0].changed == "state"
    told = [spread for spread in spreads if spread.changed != "none"]
    assert len(told) - 1 == counts["best_changes"] > 0
    prices = [(spread.bid_price, spread.ask_price) for spread in told]
    assert sum(a != b for a, b in pairwise(prices)) == counts["best_price_changes"] > 0
    last = spreads[-1]
    assert (same(last.bid_price), same(last.bid_size)) == tuple(map(same, counts["best_bid"]))
    assert (same(last.ask_price), same(last.ask_size)) == tuple(map(same, counts["best_ask"]))


def same(number: str | None) -> Decimal:
    assert number is not None
    return Decimal(number)


def check_trades(r: Running, before: int) -> None:
    """Those before the subscription are history and must not be there."""
    theirs = (r.simulator.trades(r.row.simulated, r.native) or [])[before:]
    ours = r.trades()
    assert len(ours) == r.counts()["trades"] > 0
    assert [trade.seq for trade in ours] == list(range(1, len(ours) + 1))
    made = [(fill["taker"], Decimal(fill["price"]), Decimal(fill["size"])) for fill in theirs]
    told = [(str(trade.side), Decimal(trade.price), Decimal(trade.size)) for trade in ours]
    if r.row.merges:
        assert sums(told) == sums(made)
    else:
        assert told == made


def sums(trades: Sequence[tuple[str, Decimal, Decimal]]) -> Counter[tuple[str, Decimal]]:
    found: Counter[tuple[str, Decimal]] = Counter()
    for side, price, size in trades:
        found[side, price] += size  # type: ignore[assignment] # exact sums
    return found


async def strike(r: Running, kind: FaultKind) -> None:
    gaps = r.gaps()
    r.simulator.inject(Fault(kind, exchange=r.row.simulated, market=r.native, channel=Channel.BOOK))
    r.simulator.resume()
    await until(lambda: not r.simulator.pending_faults())
    if kind in r.row.tells:
        await until(lambda: r.gaps() > gaps)
    await r.frames(20)
    assert r.gaps() == gaps + (kind in r.row.tells)
