"""How far an exchange's clock and ours are apart, as far as one way can tell.

The difference between receive time and exchange time is the way's delay plus the difference of the clocks. Delays vary
upwards only, so the least difference of the last minute is the least delay plus the clocks' difference: some
milliseconds when both are right, negative or large when one is not. It is shown, and corrects nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_PARTS: Final = 6
"""Of the window: each ends with a `turn`."""


class ClockOffset:
    def __init__(self) -> None:
        self._least: int | None = None
        self._parts: deque[int] = deque(maxlen=_PARTS)

    def note(self, received_us: int, exchange_us: int) -> None:
        difference = received_us - exchange_us
        if self._least is None or difference < self._least:
            self._least = difference

    def turn(self) -> int | None:
        """To be called every ten seconds. The least difference of the last minute in microseconds, if any is known."""
        if self._least is not None:
            self._parts.append(self._least)
            self._least = None
        return min(self._parts, default=None)
