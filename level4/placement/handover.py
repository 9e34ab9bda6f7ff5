"""Handing a running market from one node to another without a break, as two small state machines.

    target                               source
    WARMING   subscribed, silent
      │ live ─ AskRelease ─────────────▶ OWNER
    ASKED                                  │ ask ─ StopAndFlush
      │                                  FLUSHING
      │ ◀──────────────── Answer ────────  │ flushed
      │ released ─ Claim                 RELEASED
    CLAIMING                               │ newer term read: GONE
      │ own claim read back: Publish       │ 2 s without one: ClaimBack, OWNER again when it is read back
    HOSTING

Whatever goes wrong on the way, one of both publishes in the end: the source claims again when no claim of anybody has
come in time, and of two claims the log knows one winner. The target gives up when it is not LIVE, not answered, or not
the winner; it then stops its silent feed. Decisions are data; times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from level4.placement.records import Released

LIVE_SECONDS: Final = 20.0
"""How long a target may take to become LIVE: the source publishes meanwhile, so there is no hurry."""
ANSWER_SECONDS: Final = 4.0
CLAIM_SECONDS: Final = 2.0
"""After the source's answer: no claim within that, and the source claims again."""


@dataclass(frozen=True, slots=True)
class AskRelease:
    """Ask the source to let the market go."""


@dataclass(frozen=True, slots=True)
class StopAndFlush:
    """Stop publishing the market and wait until Kafka has all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the target where the streams ended."""

    released: Released


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim the market; what is published then follows `released`."""

    released: Released


@dataclass(frozen=True, slots=True)
class Publish:
    """The claim has won: publish in this term."""

    term: int
    released: Released


@dataclass(frozen=True, slots=True)
class ClaimBack:
    """The target did not come: claim the market again and go on."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop the silent feed; the market is not ours."""

    why: str


TargetStep = AskRelease | Claim | Publish | GiveUp
SourceStep = StopAndFlush | Answer | ClaimBack


class TargetState(StrEnum):
    WARMING = "WARMING"
    ASKED = "ASKED"
    CLAIMING = "CLAIMING"
    HOSTING = "HOSTING"
    OVER = "OVER"


class Target:
    """The node that is to have the market. Each method returns what to do next, or None."""

    def __init__(self, now: float) -> None:
        self.state = TargetState.WARMING
        self._deadline = now + LIVE_SECONDS
        self._released = Released()

    def live(self, now: float) -> TargetStep | None:
        """The silent feed is LIVE."""
        if self.state is not TargetState.WARMING:
            return None
        self.state, self._deadline = TargetState.ASKED, now + ANSWER_SECONDS
        return AskRelease()

    def released(self, released: Released) -> TargetStep | None:
        """The source has answered."""
        if self.state is not TargetState.ASKED:
            return None
        self.state, self._released = TargetState.CLAIMING, released
        return Claim(released)

    def won(self, term: int) -> TargetStep | None:
        """The claim was read back and is valid."""
        if self.state is not TargetState.CLAIMING:
            return None
        self.state = TargetState.HOSTING
        return Publish(term, self._released)

    def lost(self, why: str) -> TargetStep | None:
        """The claim is void or could not be written; the source refused; the market was stopped."""
        if self.state in (TargetState.HOSTING, TargetState.OVER):
            return None
        self.state = TargetState.OVER
        return GiveUp(why)

    def tick(self, now: float) -> TargetStep | None:
        """A claim has no deadline here: the log decides it, and whoever wrote it waits for that."""
        if self.state in (TargetState.WARMING, TargetState.ASKED) and now >= self._deadline:
            waited = "LIVE" if self.state is TargetState.WARMING else "the source's answer"
            return self.lost(f"waited too long for {waited}")
        return None


class SourceState(StrEnum):
    OWNER = "OWNER"
    FLUSHING = "FLUSHING"
    RELEASED = "RELEASED"
    CLAIMING = "CLAIMING"
    GONE = "GONE"


class Source:
    """The node that has the market."""

    def __init__(self, term: int) -> None:
        self.state = SourceState.OWNER
        self.term = term
        self._deadline = 0.0

    def ask(self) -> SourceStep | None:
        """The target asks for it. Asked twice, it goes once."""
        if self.state is not SourceState.OWNER:
            return None
        self.state = SourceState.FLUSHING
        return StopAndFlush()

    def flushed(self, released: Released, now: float) -> SourceStep | None:
        if self.state is not SourceState.FLUSHING:
            return None
        self.state, self._deadline = SourceState.RELEASED, now + CLAIM_SECONDS
        return Answer(released)

    def read(self, term: int, ours: bool) -> None:
        """A valid record of the market was read: its term, and whether it makes this process the host."""
        if term <= self.term:
            return
        self.term = term
        self.state = SourceState.OWNER if ours else SourceState.GONE

    def tick(self, now: float) -> SourceStep | None:
        """Claims back once per deadline: a claim that was not written is tried again after another one."""
        if self.state in (SourceState.RELEASED, SourceState.CLAIMING) and now >= self._deadline:
            self.state, self._deadline = SourceState.CLAIMING, now + CLAIM_SECONDS
            return ClaimBack()
        return None
