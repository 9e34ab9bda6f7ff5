"""Feeds with real schemes on real sockets, through a gate to the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import trio
from gate import Gate

from level4.exchanges import venue
from level4.feeds import TRANSPORTS, AddressBook, Feeds, FeedSettings, Instruments, Rest
from level4.model import Event, MarketRequest, MarketType, Spread, Status
from level4.simulator import Fault, FaultKind, Simulator

Levels = list[tuple[Decimal, Decimal]]
ID = 1


class Quick(Random):
    """Delays that a test can afford."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


class Wired:
    """One market of one exchange. `put` makes it the publisher."""

    def __init__(self, exchange: str, simulator: Simulator) -> None:
        self.exchange = exchange
        self.simulator = simulator
        self.events: list[Event] = []
        self.feeds: Feeds
        self.gate: Gate

    def put(self, event: Event) -> None:
        self.events.append(event)

    @property
    def state(self) -> str:
        return self.feeds.markets()[0].state

    @property
    def native(self) -> str:
        return self.feeds.markets()[0].instrument.native_symbol

    def spreads(self) -> list[Spread]:
        return [event for event in self.events if isinstance(event, Spread)]

    def statuses(self) -> list[str]:
        return [event.event for event in self.events if isinstance(event, Status)]

    def reasons(self) -> str:
        """Everything that went wrong, in words."""
        return "; ".join(str(event.reason) for event in self.events if isinstance(event, Status) and event.reason)

    def marks(self) -> int:
        return sum(event.state in ("GAP", "STALE", "HALTED") for event in self.spreads())

    def disconnects(self) -> int:
        return sum(stats.disconnects for stats in self.feeds.connections())

    def inject(self, kind: FaultKind, **details: Any) -> None:
        self.simulator.inject(Fault(kind, exchange=self.exchange, **details))

    async def marked(self, marks: int = 1) -> None:
        await until(lambda: self.marks() >= marks)

    async def right(self) -> None:
        """LIVE, with a new spread event, and in the end with the simulator's book."""
        seen = len(self.spreads())
        await until(lambda: len(self.spreads()) > seen and self.state == "LIVE")
        self.simulator.pause()
        await until(lambda: self.state == "LIVE" and self._same())
        self.simulator.resume()

    def _same(self) -> bool:
        market = self.feeds.market(ID)
        book: Any = self.simulator.book(self.exchange, self.native)
        assert market is not None
        ours = market.book.bids.top(10_000), market.book.asks.top(10_000)
        return tuple(map(_levels, ours)) == (_levels(book["bids"]), _levels(book["asks"]))

    def check(self) -> None:
        """What is promised of every stream."""
        for before, after in pairwise(self.spreads()):
            assert after.epoch >= before.epoch
        for event in self.spreads():
            assert (event.bid_price is None) == (event.state != "LIVE")
            if event.bid_price is not None and event.ask_price is not None:
                assert Decimal(event.bid_price) < Decimal(event.ask_price)


def _levels(pairs: Any) -> Levels:
    return [(Decimal(price), Decimal(size)) for price, size in pairs]


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)


@asynccontextmanager
async def wired(
    exchange: str,
    transport: str,
    *,
    host: str = "127.0.0.1",
    before: Callable[[Wired], None] | None = None,
    addresses: Callable[[int, int], AddressBook] | None = None,
    ssl_context: Any = None,
    random: Random | None = None,
    live: bool = True,
) -> AsyncIterator[Wired]:
    """A market that is LIVE (unless not `live`). `before`: called when the gate is there, before anything connects;
    `addresses`: for the ports of gate and simulator, when not everything goes through the gate; `random`: of delays
    that are as long as they really are."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    simulator = Simulator(rate=100.0, trade_rate=10.0, levels=30, seed=4)
    wire = Wired(exchange, simulator)
    async with trio.open_nursery() as nursery:
        inner = await nursery.start(simulator.serve, "127.0.0.1", 0)
        wire.gate = Gate(inner)
        port = await nursery.start(wire.gate.serve)
        book = addresses(port, inner) if addresses is not None else AddressBook(simulator=f"{host}:{port}")
        async with Rest(seconds=2.0) as rest:
            wire.feeds = Feeds(
                FeedSettings(node="node1", addresses=book),
                publisher=wire,
                venue=venue,
                transport=TRANSPORTS[transport](ssl_context, connect_seconds=1.0, close_seconds=0.2),
                rest=rest,
                instruments=Instruments(rest, book),
                random=random or Quick(),
            )
            await nursery.start(wire.feeds.run)
            if before is not None:
                before(wire)
            quote = "USDT" if exchange == "BINANCE" else "USD"
            await wire.feeds.start(MarketRequest(ID, exchange, MarketType.SPOT, "BTC", quote), term=7)
            if live:
                await until(lambda: wire.state == "LIVE")
            yield wire
            wire.check()
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == tasks, "tasks were left behind"
