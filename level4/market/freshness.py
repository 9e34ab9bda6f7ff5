"""Whether a market's silence is longer than this market is ever silent, and what is done about it.

A market is suspected when nothing was heard of it for `max(2 s, 3 × its longest gap)`, of the gaps among its last 1,000
updates that ended within the last hour (but never fewer than its last 20); for 60 s until 20 gaps are known. Only what
concerns this very market counts as heard: an exchange's heartbeat proves a connection, not a subscription.

A suspicion leads to a probe, and only a probe that fails or disagrees makes the market STALE. A probe that agrees is
evidence, too: the silence so far is harmless, and the next probe comes when it has lasted twice as long (ten minutes
later at most). So a quiet market costs a few probes and never flaps, whatever its gaps look like.

Gaps too short to matter are only counted, so that an update costs a subtraction; those kept form a falling sequence,
whose first is the longest, and of which no more than 1,000 can be within the window.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from itertools import pairwise
from typing import Final

LEAST_SECONDS: Final = 2.0
FACTOR: Final = 3.0
WINDOW_UPDATES: Final = 1000
WINDOW_SECONDS: Final = 3600.0
KNOWN_GAPS: Final = 20
UNKNOWN_SECONDS: Final = 60.0
"""How much silence is harmless while fewer than `KNOWN_GAPS` gaps are known."""
GRACE_SECONDS: Final = 0.5
"""How long a probe that disagrees waits for the stream: an answer by REST may overtake the update it contains."""
_HARMLESS: Final = LEAST_SECONDS / FACTOR
_LEAST_PATIENCE: Final = 0.7
_MOST_PATIENCE: Final = 5.0
_LONGEST_PAUSE: Final = 600.0
_RETRY_SECONDS: Final = 5.0
_NEVER: Final = float("inf")


class Doubt(Enum):
    """What has become of a silence."""

    ASK = auto()
    """A probe is to be sent."""
    UNANSWERED = auto()
    """A probe was not answered in time."""
    REFUTED = auto()
    """A probe showed another book, and nothing came since that would explain it."""


class Freshness:
    """One market's silences. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.last = 0.0
        """When the market was heard of last."""
        self.asked = False
        """Whether a probe is under way."""
        self._count = 0
        self._gaps: deque[tuple[float, int, float]] = deque()
        """(seconds, number, when it ended), longest first, each later than the one before."""
        self._refuted = False
        self._due: float | None = _NEVER
        """When there is something to do; None: as soon as the silence is too long."""

    # -- what happens -------------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The market is whole from here on. What is known of its gaps stays known."""
        self.last = now
        self._settle()

    def end(self) -> None:
        """The market is not whole, so that its silence means nothing."""
        self._settle()
        self._due = _NEVER

    def heard(self, now: float) -> None:
        """Evidence that came by itself. An answer to a probe is none: it says nothing of the market's rate."""
        gap = now - self.last
        self.last = now
        self._count += 1
        if gap > _HARMLESS:
            self._remember(gap, now)

    def agreed(self, now: float) -> None:
        """A probe proved that nothing was missed in this silence."""
        self._settle()
        self._due = now + max(self.limit(), min(now - self.last, _LONGEST_PAUSE))

    def refuted(self, now: float) -> None:
        """A probe showed another book: the last word in a moment, unless something is heard."""
        self.asked = self._refuted = True
        self._due = now + GRACE_SECONDS

    def retry(self, now: float) -> None:
        """Probe once more, in a while."""
        self._settle()
        self._due = now + _RETRY_SECONDS

    def postpone(self, now: float) -> None:
        """The probe is not under way yet: patience begins anew."""
        if self.asked and not self._refuted:
            self._be_patient(now)

    def tick(self, now: float) -> Doubt | None:
        """What is due, if anything."""
        if now < self.due():
            return None
        if not self.asked:
            self.asked = True
            self._be_patient(now)
            return Doubt.ASK
        verdict = Doubt.REFUTED if self._refuted else Doubt.UNANSWERED
        self._settle()
        self._due = _NEVER
        return verdict

    # -- what is known ------------------------------------------------------------------------------------------

    def due(self) -> float:
        """When `tick` has something to do."""
        return self.last + self.limit() if self._due is None else self._due

    def limit(self) -> float:
        """How much silence is harmless, in seconds."""
        if self._count < KNOWN_GAPS:
            return UNKNOWN_SECONDS
        gaps = self._gaps
        while gaps:
            _, number, ended = gaps[0]
            if number > self._count - KNOWN_GAPS:
                break
            if number > self._count - WINDOW_UPDATES and self.last - ended <= WINDOW_SECONDS:
                break
            gaps.popleft()
        return max(LEAST_SECONDS, FACTOR * gaps[0][0]) if gaps else LEAST_SECONDS

    def _remember(self, gap: float, now: float) -> None:
        gaps = self._gaps
        while gaps and gaps[-1][0] <= gap:
            gaps.pop()
        gaps.append((gap, self._count, now))
        while gaps[0][1] <= self._count - WINDOW_UPDATES:
            gaps.popleft()
        self._settle()

    def _be_patient(self, now: float) -> None:
        self._due = now + min(_MOST_PATIENCE, max(_LEAST_PATIENCE, 0.35 * self.limit()))

    def _settle(self) -> None:
        self.asked = self._refuted = False
        self._due = None

    def check(self) -> None:
        """Assert all internal invariants (for tests)."""
        gaps = list(self._gaps)
        assert len(gaps) <= WINDOW_UPDATES, "gaps pile up"
        assert all(a[0] > b[0] and a[1] < b[1] for a, b in pairwise(gaps)), "not falling"
