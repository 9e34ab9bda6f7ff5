"""A best bid that is not below the best ask: real for moments, wrong when it lasts.

Frames of one match arrive one after the other, so books cross and lock for moments; they are published as they are. A
book that stays so for longer than the exchange's updates can explain misses a delete, and is a gap. If the book that
comes anew is crossed, too, then the exchange says so (an auction, a halt), and it is believed until it uncrosses.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_NEVER: Final = float("inf")


class Crossing:
    """`seconds`: how long updates can explain it; None: for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = _NEVER if seconds is None else seconds
        self._crossed = False
        self._suspected = False
        """Whether a crossed book has been given up, and none that is not crossed has been seen since."""
        self.due = _NEVER

    def look(self, bid: str | None, ask: str | None, now: float, *, fresh: bool) -> bool:
        """Look at best prices as published; `fresh`: they come of a book just had from the exchange. Returns whether
        the book has crossed just now."""
        if bid is None or ask is None or float(bid) < float(ask) or Decimal(bid) < Decimal(ask):
            self._crossed = self._suspected = False
            self.due = _NEVER
            return False
        before, self._crossed = self._crossed, True
        if not before:
            self.due = _NEVER if fresh and self._suspected else now + self._seconds
        return not before

    def tick(self, now: float) -> bool:
        """Whether it has lasted too long."""
        if now < self.due:
            return False
        self._suspected = True
        self.leave()
        return True

    def leave(self) -> None:
        """The book is gone."""
        self._crossed = False
        self.due = _NEVER
