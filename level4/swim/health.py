"""Local health (Lifeguard's LHA-Probe): how much this member should doubt itself before it doubts others.

0 is healthy. A failed probe, a nack that did not come, having to refute a suspicion, and time in which this process
did not run make it worse; an answered probe makes it better. Probe interval and timeout are multiplied by score + 1.
"""

from __future__ import annotations


class LocalHealth:
    def __init__(self, limit: int, enabled: bool) -> None:
        self._highest = limit - 1 if enabled else 0
        self.score = 0

    @property
    def multiplier(self) -> int:
        return self.score + 1

    def worsen(self, by: int) -> None:
        self.score = min(self._highest, self.score + by)

    def improve(self) -> None:
        self.score = max(0, self.score - 1)
