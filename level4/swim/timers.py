"""What is to be done when. A heap of calls; nothing is ever taken out of it early: a call checks whether it still
has a purpose."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[..., None]
"""Called with the arguments it was scheduled with, and the time."""


class Timers:
    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, action: Action, *arguments: object) -> None:
        """Have `action(*arguments, now)` called at `when` or later."""
        self._count += 1
        heappush(self._heap, (when, self._count, action, arguments))

    def next(self) -> float | None:
        """Time of the earliest call."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Make the calls that are due."""
        while self._heap and self._heap[0][0] <= now:
            _, _, action, arguments = heappop(self._heap)
            action(*arguments, now)

    def delay(self, seconds: float) -> None:
        """Move all calls into the future. Their order stays."""
        self._heap = [(when + seconds, count, action, arguments) for when, count, action, arguments in self._heap]

    def clear(self) -> None:
        self._heap.clear()

    def __len__(self) -> int:
        return len(self._heap)
