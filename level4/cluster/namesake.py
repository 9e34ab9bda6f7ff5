"""Whether another process with this node's name lives, as far as the ownership log tells.

Two machines that were both left with the default name would take each other's markets. A process that starts therefore
waits until its predecessor, if that wrote lately, would have written again; and the younger of two that live gives way.
"""

from __future__ import annotations

from typing import Final

import trio

from level4.placement import NodeRecord

SECONDS: Final = 2.5
"""Within so long two records of a living node come."""


class Namesake:
    """`generation`: of this process."""

    def __init__(self, generation: int) -> None:
        self.lives = trio.Event()
        """Set when another process with this name writes while this one reads."""
        self.record: NodeRecord | None = None
        """The newest record of such a process; None when it left in order."""
        self._generation = generation
        self._heard = 0

    def hear(self, record: NodeRecord | None, *, now: bool) -> None:
        """A record under this node's name; `now`: it was written after this process had read the log to its end."""
        if record is None:
            self.record = None
        elif record.by.generation != self._generation:
            self.record = record
            self._heard += now
            if self._heard > 1:  # one may have been on its way when its writer died
                self.lives.set()

    def may_live(self, unix_seconds: float) -> float:
        """Seconds that are to pass before one that wrote lately may be taken for dead."""
        if self.record is None:
            return 0.0
        return min(SECONDS, max(0.0, SECONDS - (unix_seconds - self.record.at_ms / 1000)))
