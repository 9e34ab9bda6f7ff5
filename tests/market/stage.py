"""A market on a stage: a publisher that remembers, wishes that are noted, time in the test's hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from level4.book import Sync, seeded_in_stream
from level4.market import Market
from level4.model import Event, FeedState, Instrument, MarketType, Numbering, RawTime, Spread, Status, Trade

INSTRUMENT = Instrument("KRAKEN", MarketType.SPOT, "BTC/USD", "BTC/USD", "BTC", "USD")


def raw_us(raw: RawTime) -> int | None:
    return None if raw is None else int(raw)


class Stage:
    """`tell` is the consumer's view: numbered events in order."""

    def __init__(
        self,
        sync: Sync | None = None,
        *,
        trigger: Literal["price", "size"] = "size",
        contiguous: bool = False,
        term: int = 7,
        exchange_us: Callable[[RawTime], int | None] = raw_us,
        crossed_seconds: float | None = 5.0,
        now: float = 100.0,
    ) -> None:
        self.events: list[Event] = []
        self.wishes: list[str] = []
        self.now = now
        self.answer_probe: Callable[[], None] | None = None
        """What the exchange does when it is probed; None: it is silent."""
        self._numbering = Numbering()
        self.frame: list[Market] = []
        self.sync = sync or seeded_in_stream()
        self.market = Market(
            market_id=17,
            instrument=INSTRUMENT,
            sync=self.sync,
            exchange_us=exchange_us,
            term=term,
            node="node1",
            publisher=self,
            commands=self,
            frame=self.frame,
            spread_trigger=trigger,
            contiguous_trade_ids=contiguous,
            crossed_seconds=crossed_seconds,
        )

    # Publisher
    def put(self, event: Event) -> None:
        self._numbering.number(event, self.now_ns // 1000)
        self.events.append(event)

    # Commands
    def fetch_snapshot(self) -> None:
        self.wishes.append("fetch")

    def resubscribe(self) -> None:
        self.wishes.append("resubscribe")

    def reconnect(self, reason: str) -> None:
        self.wishes.append("reconnect")

    def probe(self) -> None:
        self.wishes.append("probe")
        if self.answer_probe is not None:
            self.answer_probe()

    def agree(self) -> None:
        """Answer a probe with the book as it is, at once."""
        book = self.market.book
        if self.sync.rest:
            self.market.probed(book.bids.top(5), book.asks.top(5), None, self.now_ns, self.now)
        else:
            self.market.snapshot(book.bids.top(1000), book.asks.top(1000))
            self.settle()

    @property
    def now_ns(self) -> int:
        return int(self.now * 1e9)

    def begin(self) -> None:
        self.market.start(self.now_ns, self.now)
        self.market.connected("book", self.now_ns, self.now)

    def settle(self) -> None:
        for market in self.frame:
            market.settle(self.now_ns, self.now)
        self.frame.clear()
        self.market.check()

    def snapshot(self, bids: str, asks: str, last: int | None = None) -> None:
        self.market.snapshot(levels(bids), levels(asks), last)
        self.settle()

    def delta(self, bids: str = "", asks: str = "", first: int | None = None, last: int | None = None) -> None:
        self.market.delta(levels(bids), levels(asks), first, last)
        self.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, ticking when the market wants to."""
        end = self.now + seconds
        while (due := self.market.next_tick()) <= end:
            self.now = max(self.now, due)
            self.market.tick(self.now_ns, self.now)
            assert self.market.next_tick() > self.now, "a tick that is due again at once"
        self.now = end

    # what came out
    def spreads(self) -> list[Spread]:
        return [event for event in self.events if isinstance(event, Spread)]

    def trades(self) -> list[Trade]:
        return [event for event in self.events if isinstance(event, Trade)]

    def statuses(self) -> list[str]:
        return [event.event for event in self.events if isinstance(event, Status)]

    def told(self) -> list[str]:
        """Spread events as short texts: `run.seq state changed bid/ask`."""
        return [
            f"{event.epoch % 1_000_000}.{event.seq} {event.state} {event.changed} "
            f"{event.bid_price or '-'}x{event.bid_size or '-'} {event.ask_price or '-'}x{event.ask_size or '-'}"
            for event in self.spreads()
        ]

    @property
    def state(self) -> FeedState:
        return self.market.state


def levels(text: str) -> list[tuple[str, str]]:
    """`10x1 9x2` → levels."""
    return [(price, size) for price, _, size in (level.partition("x") for level in text.split())]
