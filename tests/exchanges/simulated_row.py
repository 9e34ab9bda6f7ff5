"""One row of the registry on real sockets: a market of the simulator, the feeds with their real scheme, and everything
that is published, beside what a correct consumer must have derived."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import trio

from level4.exchanges import venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, TrioWebSockets
from level4.model import Instrument, MarketRequest, MarketType, Spread, Status, Trade
from level4.publish import MemoryPublisher
from level4.recording import Recorder
from level4.recording.record import Lookup
from level4.simulator import Channel, Fault, FaultKind, Simulator
from level4.simulator.listing import next_quarter

Level = tuple[Decimal, Decimal]
ID = 1


@dataclass(frozen=True)
class Row:
    """A market type of an exchange; `protocol` when it is not the registry's own choice."""

    exchange: str
    type: MarketType
    base: str
    quote: str
    protocol: str | None = None
    depth: int = 10_000
    """How many levels the protocol shows."""
    dated: bool = False
    strike: str | None = None
    right: str | None = None
    part: str = ""
    """What the simulator calls this part of the exchange, where it has several."""

    def __str__(self) -> str:
        return f"{self.exchange}.{self.type}" + (f" {self.protocol}" if self.protocol else "")

    @property
    def simulated(self) -> str:
        return self.part or self.exchange


class Quick(Random):
    """Delays that a test can afford."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


class Rig:
    """A market that runs."""

    def __init__(
        self, row: Row, simulator: Simulator, feeds: Feeds, published: MemoryPublisher, found: Instrument
    ) -> None:
        self.row = row
        self.simulator = simulator
        self.feeds = feeds
        self.published = published
        self.instrument = found
        known = simulator.book(row.simulated, found.native_symbol) is not None
        self.native = found.native_symbol if known else found.native_symbol.lower()
        """What the simulator calls it: Gemini has two spellings."""

    # -- what was published ---------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self.feeds.markets()[0].state

    def spreads(self) -> list[Spread]:
        return [event for event in self.published.events if isinstance(event, Spread)]

    def trades(self) -> list[tuple[str, Decimal, Decimal]]:
        return [
            (str(event.side), Decimal(event.price), Decimal(event.size))
            for event in self.published.events
            if isinstance(event, Trade)
        ]

    def statuses(self, *events: str) -> list[str]:
        found = [event for event in self.published.events if isinstance(event, Status)]
        return [event.event for event in found if not events or event.event in events]

    def reasons(self, kind: str) -> list[str]:
        return [str(each.reason) for each in self.published.events if isinstance(each, Status) and each.event == kind]

    def changes(self) -> tuple[int, int]:
        """How often the best changed after the snapshot: in price or size, and in price."""
        changed = prices = 0
        for before, after in pairwise(event for event in self.spreads() if event.changed != "none"):
            if after.changed in ("bid", "ask", "both"):
                assert (before.epoch, before.seq) == (after.epoch, after.seq - 1)
                changed += 1
                prices += (before.bid_price, before.ask_price) != (after.bid_price, after.ask_price)
        return changed, prices

    def book(self) -> tuple[list[Level], list[Level]]:
        market = self.feeds.market(ID)
        assert market is not None
        return _levels(market.book.bids.top(self.row.depth)), _levels(market.book.asks.top(self.row.depth))

    # -- what is true ---------------------------------------------------------------------------------------------

    def true_book(self) -> tuple[list[Level], list[Level]]:
        book: Any = self.simulator.book(self.row.simulated, self.native)
        return _levels(book["bids"][: self.row.depth]), _levels(book["asks"][: self.row.depth])

    def true_trades(self) -> list[tuple[str, Decimal, Decimal]]:
        told = self.simulator.trades(self.row.simulated, self.native)
        assert told is not None
        return [(each["taker"], Decimal(each["price"]), Decimal(each["size"])) for each in told]

    def tally(self) -> dict[str, Any]:
        exchanges: Any = self.simulator.stats()["exchanges"]
        tally: dict[str, Any] = exchanges[self.row.simulated].get(self.native, {"frames": 0, "trades": 0})
        return tally

    # -- what is done ---------------------------------------------------------------------------------------------

    async def live(self) -> None:
        await until(lambda: self.state == "LIVE")

    async def frames(self, count: int) -> None:
        """Until the simulator has sent so many more frames of the book."""
        sent = self.tally()["frames"]
        await until(lambda: self.tally()["frames"] >= sent + count)

    async def same_book(self) -> None:
        """Stop the simulator: the node's book must come to be the exchange's, to the last level."""
        self.simulator.pause()
        await until(lambda: self.state == "LIVE" and self.book() == self.true_book())
        self.simulator.resume()

    async def strike(self, kind: FaultKind, count: int = 1) -> None:
        """Have the next frames of the book struck, and see that they were."""
        self.simulator.inject(Fault(kind, count, exchange=self.row.simulated, market=self.native, channel=Channel.BOOK))
        await until(lambda: not self.simulator.pending_faults())

    def check(self) -> None:
        """What is promised of every stream."""
        for before, after in pairwise(self.spreads()):
            assert (after.epoch, after.seq) == (before.epoch, before.seq + 1) or after.epoch > before.epoch
        for event in self.spreads():
            assert (event.bid_price is None) == (event.state != "LIVE")
        for stats in self.feeds.connections():
            assert (dict(stats.errors), dict(stats.unknown)) == ({}, {})


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)


def _levels(pairs: Sequence[Sequence[str]]) -> list[Level]:
    return [(Decimal(price), Decimal(size)) for price, size in pairs]


@asynccontextmanager
async def running(
    row: Row,
    *,
    rate: float = 1_000.0,
    trade_rate: float = 100.0,
    gather: float = 0.0,
    paused: bool = True,
    recorder: Recorder | None = None,
) -> AsyncIterator[Rig]:
    """The market LIVE, the simulator paused: from here on nothing is missed. `recorder`: records what passes."""
    simulator = Simulator(rate=rate, trade_rate=trade_rate, levels=30, seed=4, gather=gather)
    if paused:
        simulator.pause()
    published = MemoryPublisher()
    protocols = {f"{row.exchange}.{row.type}": row.protocol} if row.protocol else {}
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        addresses = AddressBook(simulator=f"127.0.0.1:{port}")
        async with Rest() as rest:
            instruments = Instruments(rest, addresses)
            lookup: Lookup = partial(venue, protocols=protocols)
            transport = TrioWebSockets(connect_seconds=2.0, close_seconds=0.2)
            feeds = Feeds(
                FeedSettings(node="node1", spread_trigger="size", addresses=addresses),
                publisher=published,
                venue=lookup if recorder is None else recorder.venue(lookup),
                transport=transport if recorder is None else recorder.transport(transport),
                rest=rest,
                instruments=instruments,
                random=Quick(),
            )
            await nursery.start(feeds.run)
            expiry = next_quarter(datetime.now(UTC).date()).isoformat() if row.dated else None
            request = MarketRequest(ID, row.exchange, row.type, row.base, row.quote, expiry, row.strike, row.right)
            with trio.fail_after(30):
                rig = Rig(row, simulator, feeds, published, await feeds.start(request, term=7))
                await rig.live()
                yield rig
                rig.check()
        nursery.cancel_scope.cancel()
