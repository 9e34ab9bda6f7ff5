"""What a market tells: its state, its trades and its status, as events in lawful streams.

This is the middle of `Market`, above the kept book and below the decisions, and made by it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from level4.book import Sync
from level4.market.clock import ClockOffset
from level4.market.kept import KeptBook
from level4.market.probing import same_top
from level4.market.stats import MarketStats
from level4.market.streams import SpreadStream, TradeStream
from level4.model import TRANSITIONS, FeedState, Instrument, Publisher, RawTime, Status, TakerSide
from level4.model.decimals import plain
from level4.model.events import RUNS_PER_TERM

if TYPE_CHECKING:
    from level4.market.shadow import Shadow

PendingTrade = tuple[TakerSide | None, str, str, str | None, RawTime]


class Telling(KeptBook):
    def __init__(
        self,
        *,
        market_id: int,
        instrument: Instrument,
        sync: Sync,
        exchange_us: Callable[[RawTime], int | None],
        trade_us: Callable[[RawTime], int | None] | None,
        term: int,
        node: str,
        publisher: Publisher,
        frame: list[Any],
        contiguous_trade_ids: bool,
        runs: tuple[int, int],
        stats: MarketStats | None,
    ) -> None:
        super().__init__(sync, frame)
        self.market_id = market_id
        self.instrument = instrument
        self.term = term
        self.state = FeedState.STARTING
        self.reason: str | None = None
        self.stats = stats or MarketStats()
        self._exchange_us = exchange_us
        self._trade_us = trade_us or exchange_us
        self._node = node
        self._publisher = publisher
        self._spread = SpreadStream(market_id, instrument, term, node, runs[0])
        self._trades = TradeStream(market_id, instrument, term, node, runs[1], contiguous_ids=contiguous_trade_ids)
        self._clock = ClockOffset()
        self._pending: list[PendingTrade] = []

    def trade(
        self, side: TakerSide | None, price: str, size: str, trade_id: str | None, exchange_time: RawTime = None
    ) -> None:
        self._touch()
        self._pending.append((side, plain(price), plain(size), trade_id, exchange_time))

    def last_trade(self, trade_id: str) -> None:
        self._trades.baseline(trade_id)

    def runs(self) -> tuple[int, int]:
        """The present runs of spread and trades."""
        return self._spread.run, self._trades.run

    def expect_shadow(self) -> None:
        """A second source is being made: remember which trades came meanwhile."""
        self._trades.begin_overlap()

    def forget_shadow(self) -> None:
        """It came to nothing, or all of it is over."""
        self._trades.end_overlap()

    def is_reached_by(self, shadow: Shadow) -> bool:
        """Whether a shadow's book is not behind this one: by number where numbers are the market's own, else by time,
        else by being the same."""
        if not self._whole:
            return True
        if self._sync.rest and self._at is not None and shadow._at is not None:
            return shadow._at >= self._at
        ours, theirs = self._time(self._exchange_us, self._book_time), self._time(self._exchange_us, shadow._book_time)
        if ours is not None and theirs is not None and theirs >= ours:
            return True
        return same_top(self._book, shadow.book.bids.top(10), shadow.book.asks.top(10))

    def _publish_trades(self, received_ns: int) -> None:
        pending, self._pending = self._pending, []
        for side, price, size, trade_id, time in pending:
            if self._trades.repeats(trade_id):
                self.stats.trades_repeated += 1
                continue
            exchange_us, received_us = self._time(self._trade_us, time), received_ns // 1000
            if exchange_us is not None:
                self._clock.note(received_us, exchange_us)
            record, lost = self._trades.trade(side, price, size, trade_id, exchange_us, received_us)
            if lost:
                self.stats.trades_lost += lost
                self._announce("gap", f"trades missing before id {trade_id}", lost=lost)
            self._publisher.put(record)

    def _time(self, exchange_us: Callable[[RawTime], int | None], raw: RawTime) -> int | None:
        """A time that cannot be read makes no book wrong: it is null, and counted."""
        try:
            return exchange_us(raw)
        except ValueError:
            self.stats.bad_times += 1
            return None

    def _enter(self, state: FeedState, reason: str | None) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"market {self.market_id}: no way from {self.state} to {state}")
        self.state = state
        self.reason = reason

    def _announce(self, event: str, reason: str | None, lost: int | None = None) -> None:
        instrument = self.instrument
        self._publisher.put(
            Status(
                self.market_id,
                event,
                self.state,
                reason,
                None,
                self.term * RUNS_PER_TERM + 1,
                0,
                self._node,
                0,
                instrument.exchange,
                instrument.type,
                instrument.symbol,
                lost,
            )
        )
