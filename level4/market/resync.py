"""How a market gets its book again: which wish, when, and when to give the connection up.

What is counted is attempts that failed, never gaps: an attempt fails when it brings no book within `PATIENCE_SECONDS`,
a wrong one, or one that breaks again within `AT_ONCE_SECONDS`. The repair after the first failure comes at once,
further ones after 1, 2, 4 … 60 s; every third failure takes a new connection instead. A book that held for longer was
repaired: when it breaks, the next repair is made at once, however often that happens. Failures are forgotten after a
minute of health, so that a book which comes and goes with every attempt is not asked for without pause.

Where a probe has shown that the subscription is dead, only a new connection helps. Where numbers run over a whole
connection, a break of theirs ends it, whatever its markets wish; what is wrong with one book is repaired by itself.
"""

from __future__ import annotations

from typing import Final

from level4.book import Sync
from level4.model import Commands

PATIENCE_SECONDS: Final = 20.0
AT_ONCE_SECONDS: Final = 10.0
"""A book that breaks so soon was never right. Longer than a crossed book is believed, and than checksums are apart."""
HEALTHY_SECONDS: Final = 60.0
MAX_DELAY_SECONDS: Final = 60.0
RECONNECT_EVERY: Final = 3

_NEVER: Final = float("inf")


class Resync:
    def __init__(self, sync: Sync, commands: Commands) -> None:
        self._sync = sync
        self._commands = commands
        self._failures = 0
        """Attempts that failed since the last good stretch."""
        self._whole_since: float | None = None
        """Since when the book holds; None while there is none."""
        self._awaited = False
        """Whether an attempt is under way, so that `due` is its deadline and not the next attempt's time."""
        self._reason = ""
        self._refused = False
        self._abandoned = False
        """Whether the connection has proved useless for this market."""
        self.due = _NEVER
        """Monotonic time at which `tick` has something to do."""

    def subscribed(self, now: float) -> None:
        """A new subscription is under way: it brings the snapshot, or updates to which one must be fetched."""
        self._await(now)
        if self._sync.rest:
            self._commands.fetch_snapshot()

    def postpone(self, now: float) -> None:
        """What was asked for waits for the exchange's allowance: that is no failure of the attempt."""
        if self._awaited:
            self._await(now)

    def waiting_for_connection(self, now: float) -> None:
        """There is nobody to ask: the connection has delays of its own."""
        self._held(now)
        self._abandoned = False
        self.due = _NEVER

    def succeeded(self, now: float) -> None:
        self._abandoned = False
        self._whole_since = now
        self.due = _NEVER

    def failed(self, reason: str, now: float) -> None:
        """The book is wrong. Another try, now or later; one that is already to come is not put off."""
        held = self._held(now)
        if not self._awaited and self.due < _NEVER:
            return
        self._reason = reason
        if held >= AT_ONCE_SECONDS:
            self._try(now, thorough=False)
            return
        self._failures += 1
        if self._failures == 1:
            self._try(now, thorough=False)
        else:
            self._later(now)

    def abandon(self, reason: str, now: float) -> None:
        """The subscription is dead, and asking again on its connection has not helped."""
        self._abandoned = True
        self.failed(reason, now)

    def refused(self, now: float) -> None:
        """The exchange said no: ask again later, for ever."""
        self._failures += 1
        self._refused = True
        self._later(now)

    def tick(self, now: float) -> str | None:
        """Do what is due. Returns the reason of an attempt whose patience ran out."""
        if now < self.due:
            return None
        if not self._awaited:
            self._try(now, thorough=self._failures % RECONNECT_EVERY == 0)
            return None
        overdue = f"expected a book within {PATIENCE_SECONDS:.0f} s, none came"
        self.failed(overdue, now)
        return overdue

    def _held(self, now: float) -> float:
        """The book is gone: for how long it held."""
        held = 0.0 if self._whole_since is None else now - self._whole_since
        self._whole_since = None
        if held >= HEALTHY_SECONDS:
            self._failures = 0
        return held

    def _later(self, now: float) -> None:
        self._awaited = False
        self.due = now + min(MAX_DELAY_SECONDS, 2.0 ** min(self._failures - 2, 10))

    def _await(self, now: float) -> None:
        self._awaited = True
        self.due = now + PATIENCE_SECONDS

    def _try(self, now: float, *, thorough: bool) -> None:
        """`thorough`: with a new connection."""
        self._await(now)
        if self._refused:
            self._refused = False
            self._commands.resubscribe()
        elif thorough or self._abandoned:
            self._commands.reconnect(self._reason)
        elif self._sync.rest:
            self._commands.fetch_snapshot()
        else:
            self._commands.resubscribe()
