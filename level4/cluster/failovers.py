"""How long markets of dead hosts had none: from the last sign of the old host in the ownership log to LIVE here.

Kept where the claim is made, because only the claimant knows both ends. A market that is stopped, or taken away again,
before it was LIVE counts as no failover.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Failovers:
    """`now`: monotonic seconds."""

    def __init__(self, now: Callable[[], float] = trio.current_time) -> None:
        self._now = now
        self.observe: Callable[[float], object] = lambda seconds: None
        """Told the seconds of each that is over."""
        self._since: dict[int, float] = {}
        """By market: when its old host was last heard, in monotonic seconds. Markets that are held here only."""

    @property
    def pending(self) -> int:
        """Markets that were taken over and are not LIVE yet."""
        return len(self._since)

    def taken(self, market_id: int, silence: float) -> None:
        """This node has claimed a market whose host was last heard so many seconds ago."""
        self._since[market_id] = self._now() - silence

    def live(self, market_id: int) -> None:
        """A market is LIVE here."""
        since = self._since.pop(market_id, None)
        if since is not None:
            self.observe(self._now() - since)

    def given_up(self, market_id: int) -> None:
        """A market does not run here any more."""
        self._since.pop(market_id, None)
