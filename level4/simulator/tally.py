"""What a correct consumer must have derived from what one connection was sent about one market.

The book's counts begin with the snapshot: a later frame counts as a change of the best when best bid or best ask
differ from what they were before that frame. A new snapshot on the same connection starts the comparison anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

Touch = tuple[Decimal, Decimal] | None
"""Best price and its size; None for an empty side."""
Best = tuple[Touch, Touch]
"""Best bid, best ask."""


@dataclass(slots=True)
class Tally:
    session: int
    market: str
    open: bool = True
    snapshots: int = 0
    frames: int = 0
    """Frames with changes of the book since the first snapshot."""
    best_price_changes: int = 0
    best_changes: int = 0
    trades: int = 0
    _best: Best | None = field(default=None, repr=False)

    def snapshot(self, best: Best) -> None:
        self.snapshots += 1
        self._best = best

    def frame(self, best: Best) -> None:
        """A frame after which the book's best is `best`. Before the first snapshot nothing is counted."""
        before, self._best = self._best, best
        if before is None:
            self._best = None
            return
        self.frames += 1
        if before != best:
            self.best_changes += 1
            self.best_price_changes += _prices(before) != _prices(best)

    def counts(self) -> dict[str, int]:
        return {
            "snapshots": self.snapshots,
            "frames": self.frames,
            "best_price_changes": self.best_price_changes,
            "best_changes": self.best_changes,
            "trades": self.trades,
        }


def _prices(best: Best) -> tuple[Decimal | None, ...]:
    return tuple(None if touch is None else touch[0] for touch in best)
