"""How far a book is known whose snapshot was cut.

An exchange's REST snapshot holds so many levels a side. What lies behind is unknown until it changes: the updates tell
changes only. As long as the best is inside the part that the snapshot showed, every level up to there is known and the
best is right. When the market moves out of it, an untouched order may stand before the best that we know, and nothing
in the numbers of the updates would show it. So a book that has used up half of what it knows on one side wants a new,
deeper snapshot; a best beyond the edge is a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from level4.book import Best
from level4.model import Level


class Known:
    """Of one snapshot. `levels`: how many a side it could hold; None: it was the whole book."""

    __slots__ = ("_asks", "_bids", "cut", "levels")

    def __init__(self, bids: Sequence[Level] = (), asks: Sequence[Level] = (), levels: int | None = None) -> None:
        self.levels = levels
        self._bids = _marks(bids, levels, reverse=True)
        self._asks = _marks(asks, levels, reverse=False)
        self.cut = self._bids is not None or self._asks is not None
        """Whether there may be levels that are not known."""

    def left(self, best: Best) -> bool:
        """Whether the best is beyond what is known."""
        return self._behind(best, 1)

    def worn(self, best: Best) -> bool:
        """Whether half of what was known on a side has been used up."""
        return self._behind(best, 0)

    def _behind(self, best: Best, mark: int) -> bool:
        bids, asks = self._bids, self._asks
        if bids is not None and (not best.bid_price or Decimal(best.bid_price) < bids[mark]):
            return True
        return asks is not None and (not best.ask_price or Decimal(best.ask_price) > asks[mark])


def _marks(side: Sequence[Level], levels: int | None, *, reverse: bool) -> tuple[Decimal, Decimal] | None:
    """The price in the middle of a cut side, and the last one; None when the side is whole."""
    if levels is None or len(side) < levels:
        return None
    prices = sorted((Decimal(price) for price, _ in side), reverse=reverse)
    return prices[len(prices) // 2], prices[-1]
