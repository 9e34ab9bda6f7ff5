"""How a market gets its book again: which wish, when, and when to give the connection up.

The first attempt is made at once. An attempt that does not bring the book within `PATIENCE_SECONDS`, or that brings a
wrong one, is followed by the next after 1, 2, 4 … 60 s; every third takes a new connection instead. A minute of health
forgets the failures. Where numbers run over the whole connection, or where a probe has shown that the subscription is
dead, only a new connection helps.
"""

from __future__ import annotations

from typing import Final

from level4.book import Sync
from level4.model import Commands

PATIENCE_SECONDS: Final = 20.0
HEALTHY_SECONDS: Final = 60.0
MAX_DELAY_SECONDS: Final = 60.0
RECONNECT_EVERY: Final = 3

_NEVER: Final = float("inf")


class Resync:
    def __init__(self, sync: Sync, commands: Commands) -> None:
        self._sync = sync
        self._commands = commands
        self._failures = 0
        self._healthy_since = _NEVER
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
        self._forget(now)
        self._abandoned = False
        self.due = _NEVER

    def succeeded(self, now: float) -> None:
        self._abandoned = False
        self._healthy_since = now
        self.due = _NEVER

    def failed(self, reason: str, now: float) -> None:
        """The book is wrong. Another try, now or later; one that is already to come is not put off."""
        self._forget(now)
        if not self._awaited and self.due < _NEVER:
            return
        self._failures += 1
        self._reason = reason
        if self._failures == 1:
            self._try(now)
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
            self._try(now)
            return None
        overdue = f"expected a book within {PATIENCE_SECONDS:.0f} s, none came"
        self.failed(overdue, now)
        return overdue

    def _forget(self, now: float) -> None:
        if now - self._healthy_since >= HEALTHY_SECONDS:
            self._failures = 0
        self._healthy_since = _NEVER

    def _later(self, now: float) -> None:
        self._awaited = False
        self.due = now + min(MAX_DELAY_SECONDS, 2.0 ** min(self._failures - 2, 10))

    def _await(self, now: float) -> None:
        self._awaited = True
        self.due = now + PATIENCE_SECONDS

    def _try(self, now: float) -> None:
        self._await(now)
        if self._refused:
            self._refused = False
            self._commands.resubscribe()
        elif self._abandoned or self._sync.connection_sequence or self._failures % RECONNECT_EVERY == 0:
            self._commands.reconnect(self._reason)
        elif self._sync.rest:
            self._commands.fetch_snapshot()
        else:
            self._commands.resubscribe()
