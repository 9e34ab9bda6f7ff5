"""How long a broker may keep a fetch of the ownership log waiting, learnt from how it behaves.

Apache Kafka answers a waiting fetch the moment there is something to read, so it may wait long, and a quiet log costs
next to nothing. Tansu, the embedded broker, looks again only after half the wait, so there it must be short, for a
claim is not valid before it has been read back. Nothing says which broker it is, but this node's own records do: one
that comes back late after its acknowledgement was kept waiting.

So waits are short, and are made long after some records, as a trial that the first late record ends; each trial that
fails doubles the time to the next. A trial costs a broker of the second kind a fifth of a second on a record or two, an
hour apart in the end; a machine that was only busy gets its long waits back after a while.

Pure: seconds are arguments.
"""

from __future__ import annotations

from typing import Final

SHORT_MS: Final = 20
"""50 empty answers a second take 2 to 3 % of a slow core."""
LONG_MS: Final = 370
"""Half of it is less than the 200 ms in which a claim is to be read back, and it is no even part of a second: a node's
records, one a second, would else meet each wait at the same moment of it."""
LATE_SECONDS: Final = 0.06
"""Seen 2026-11, with waits of 400 ms: Kafka 4.1 at most 3 ms, Tansu 0.6 up to half the wait; with 20 ms both within
12 ms."""
FIRST_TRIAL: Final = 10
"""Own records until long waits are tried; a node writes one a second."""
_RAREST_TRIAL: Final = 3_600


class FetchWait:
    """`ms`: the wait to ask for now."""

    def __init__(self) -> None:
        self.ms = SHORT_MS
        self._until_trial = self._before_trial = FIRST_TRIAL

    def came_back(self, seconds: float) -> None:
        """An own record was read so long after its acknowledgement (0: before it)."""
        trying = self.ms == LONG_MS
        if seconds > LATE_SECONDS:
            if trying:
                self._before_trial = min(2 * self._before_trial, _RAREST_TRIAL)
            self.ms, self._until_trial = SHORT_MS, self._before_trial
        elif not trying:
            self._until_trial -= 1
            if self._until_trial <= 0:
                self.ms = LONG_MS
