"""The two data streams of a market: where their epochs rise and what their records look like.

`epoch = term * 1_000_000 + run`. `run` starts at 1 and rises when the continuity of that stream breaks: the spread's
when the book was lost and is whole again, the trades' when trades are known (or must be assumed) to be missing. A
resync of the book does not touch the trades' stream. The first record of an epoch carries `follows`.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, UnsetType

from level4.book import ASK, BID, Best
from level4.book.orderbook import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE
from level4.model import Changed, FeedState, Instrument, Position, Spread, TakerSide, Trade
from level4.model.decimals import plain
from level4.model.events import RUNS_PER_TERM

_MAX_OVERLAP: Final = 10_000


def _epoch(term: int, run: int) -> int:
    if not 0 < run < RUNS_PER_TERM:
        raise OverflowError(f"expected fewer than {RUNS_PER_TERM} runs in a term, got {run}")
    return term * RUNS_PER_TERM + run


class SpreadStream:
    """Builds the records of a spread stream. `seq` is left 0: it is given at the hand-off, after coalescing."""

    def __init__(self, market_id: int, instrument: Instrument, term: int, node: str, run: int) -> None:
        self._market_id = market_id
        self._instrument = instrument
        self._term = term
        self._node = node
        self.run = run
        self._fresh = True
        """Whether the present epoch has no record yet."""
        self.last: Spread | None = None

    @property
    def epoch(self) -> int:
        return _epoch(self._term, self.run)

    def next_epoch(self) -> None:
        """The stream's continuity broke; the next record starts a new epoch (if the present one has any)."""
        if not self._fresh:
            self.run += 1
            self._fresh = True

    def book(self, best: Best, changed: Changed, exchange_us: int | None, received_us: int) -> Spread:
        """A LIVE record. Raises ValueError when a best price or size is not a number above zero (sizes)."""
        bid_price = bid_size = ask_price = ask_size = None
        if best.bid_price:
            bid_price, bid_size = plain(best.bid_price), _size(best.bid_size)
        if best.ask_price:
            ask_price, ask_size = plain(best.ask_price), _size(best.ask_size)
        return self._record(
            FeedState.LIVE, changed, bid_price, bid_size, ask_price, ask_size, exchange_us, received_us
        )

    def changes(self, best: Best) -> int:
        """What of these best levels differs from the last record, as bits."""
        last = self.last
        if last is None:
            return BID | ASK
        bits = 0
        for text, told, bit in (
            (best.bid_price, last.bid_price, BID_PRICE),
            (best.bid_size, last.bid_size, BID_SIZE),
            (best.ask_price, last.ask_price, ASK_PRICE),
            (best.ask_size, last.ask_size, ASK_SIZE),
        ):
            if (plain(text) if text else None) != told:
                bits |= bit
        return bits

    def mark(self, state: FeedState, received_us: int) -> Spread:
        """A record that ends trust in the last prices, in the same stream."""
        return self._record(state, "state", None, None, None, None, None, received_us)

    def repeat(self) -> Spread:
        """The last record once more: silence would mean that the publisher is gone."""
        last = self.last
        if last is None:
            raise RuntimeError("a stream without a record was asked to repeat it")
        return self._record(
            last.state,
            "none",
            last.bid_price,
            last.bid_size,
            last.ask_price,
            last.ask_size,
            last.exchange_us,
            last.received_us,
        )

    def _record(
        self,
        state: FeedState,
        changed: Changed,
        bid_price: str | None,
        bid_size: str | None,
        ask_price: str | None,
        ask_size: str | None,
        exchange_us: int | None,
        received_us: int,
    ) -> Spread:
        follows: Position | UnsetType | None = UNSET
        if self._fresh:
            self._fresh = False
            changed = "state"
            follows = None
        instrument = self._instrument
        self.last = record = Spread(
            self._market_id,
            instrument.exchange,
            instrument.type,
            instrument.symbol,
            state,
            changed,
            bid_price,
            bid_size,
            ask_price,
            ask_size,
            None,
            _epoch(self._term, self.run),
            0,
            exchange_us,
            received_us,
            0,
            self._node,
            follows,
        )
        return record


def _size(text: str) -> str:
    size = plain(text)
    if size == "0" or size[0] == "-":
        raise ValueError(f"expected a size above zero at the best price, got {text[:60]!r}")
    return size


class TradeStream:
    """Builds the records of a trades' stream and gives them their `seq`: a hole is the exact loss.

    Where the exchange numbers its trades one by one, a hole in its numbers is a known loss (a new epoch), and a
    connection that comes back with the very next number has lost nothing (`follows` says so).
    """

    def __init__(
        self, market_id: int, instrument: Instrument, term: int, node: str, run: int, *, contiguous_ids: bool
    ) -> None:
        self._market_id = market_id
        self._instrument = instrument
        self._term = term
        self._node = node
        self.run = run
        self._seq = 0
        self._contiguous_ids = contiguous_ids
        self._last_id: int | None = None
        self._before: Position | None = None
        """The end of the epoch before, while nothing of the present one was published."""
        self._proven = False
        """Whether it is known that nothing is missing before the next trade."""
        self._overlap: dict[str, None] | None = None
        """Ids of the last trades, while two connections may bring the same ones."""

    def baseline(self, trade_id: str) -> None:
        """The last trade before the subscription, which is history: the first one must follow it."""
        if self._contiguous_ids and self._last_id is None and trade_id.isdecimal():
            self._last_id = int(trade_id)

    def begin_overlap(self) -> None:
        if self._overlap is None:
            self._overlap = {}

    def end_overlap(self) -> None:
        self._overlap = None

    def repeats(self, trade_id: str | None) -> bool:
        """Whether another connection has brought this trade already."""
        overlap = self._overlap
        if overlap is None or trade_id is None:
            return False
        if trade_id in overlap:
            return True
        if self._contiguous_ids and self._last_id is not None and trade_id.isdecimal():
            return int(trade_id) <= self._last_id
        if len(overlap) >= _MAX_OVERLAP:
            del overlap[next(iter(overlap))]
        overlap[trade_id] = None
        return False

    def resume(self, before: Position | None, trade_id: str | None, *, proven: bool) -> None:
        """Go on, in a new epoch, where another host ended: its position and its last trade. `proven`: nothing is
        missing between that and the next trade."""
        self.interrupted()
        self._before, self._proven = before, proven
        self._last_id = None
        if trade_id is not None and self._contiguous_ids:
            self.baseline(trade_id)
            self.begin_overlap()  # those up to that one may still come, if that host was ahead of us

    def interrupted(self) -> None:
        """Trades may have been missed from here on (connection lost)."""
        if self._seq:
            self._before = Position(_epoch(self._term, self.run), self._seq)
            self.run += 1
            self._seq = 0

    def trade(
        self,
        side: TakerSide | None,
        price: str,
        size: str,
        trade_id: str | None,
        exchange_us: int | None,
        received_us: int,
    ) -> tuple[Trade, int]:
        """A trade's record (price and size already plain), and how many trades are known to be missing before it."""
        lost, complete = 0, self._proven
        self._proven = False
        if self._contiguous_ids and trade_id is not None and trade_id.isdecimal():
            number, last = int(trade_id), self._last_id
            if last is not None:
                complete = number == last + 1
                if number > last + 1:
                    lost = number - last - 1
                    self.interrupted()
            self._last_id = number if last is None else max(number, last)
        follows: Position | UnsetType | None = UNSET
        if not self._seq:
            follows = self._before if complete else None
            self._before = None
        self._seq += 1
        instrument = self._instrument
        record = Trade(
            self._market_id,
            instrument.exchange,
            instrument.type,
            instrument.symbol,
            side,
            price,
            size,
            trade_id,
            _epoch(self._term, self.run),
            self._seq,
            exchange_us,
            received_us,
            0,
            self._node,
            follows,
        )
        return record, lost
