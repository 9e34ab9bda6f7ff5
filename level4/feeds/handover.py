"""A connection that is about to end is replaced before it does.

Exchanges end connections after a day, or ask for a reconnection. The successor is made first: each market is subscribed
there with a `Shadow`, silently; when the shadow's book is whole and not behind, and its trades overlap those of the old
connection, the market takes it over and the old subscription is dropped. The stream goes on in the same epoch.

When the successor does not get that far within a minute, the old connection stays, and it is tried again. When the old
one ends meanwhile, whatever shadow has a whole book is taken over at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio

from level4.exchanges.scheme import Channel
from level4.feeds.connection import Connection
from level4.feeds.feed import Feed, Route
from level4.feeds.rest import RestRefusedError, RestUnavailableError
from level4.feeds.subscription import Subscription
from level4.market import Market, Shadow

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 60.0
OVERLAP_SECONDS: Final = 1.0
"""For how long trades must have been subscribed on both connections: more than their ways differ."""
UNACKNOWLEDGED_SECONDS: Final = 5.0
"""After so long a subscription that is not acknowledged is taken for made."""
AFTERWARDS_SECONDS: Final = 30.0
"""For how long trades may still come that the old connection has brought."""
_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 1.0


class Handover:
    """One market's way from one connection to another. `left`: told of the connection that it has left; `wall`:
    nanoseconds for stamps."""

    def __init__(
        self,
        feed: Feed,
        route: Route,
        successor: Connection,
        *,
        left: Callable[[Connection], None],
        wall: Callable[[], int],
    ) -> None:
        self.done = False
        """Whether the market has taken the successor."""
        self._feed = feed
        self._route = route
        self._old = route.subscription
        self._lapsed = self._old.lapsed
        self._successor = successor
        self._left = left
        self._wall = wall
        self._wants_snapshot = False
        self._market: Market = feed.market
        self._overlapped_since: float | None = None
        channels = self._old.channels
        self._shadow = Shadow(successor.scheme_type.sync, successor.frame, channels, self._want_snapshot)
        self._new = Subscription(
            market=self._shadow, symbol=self._old.symbol, channels=channels, stats=feed.stats, failed=feed.fail
        )

    def begin(self) -> None:
        """Have the market subscribed on the successor. `run` must follow."""
        self._market.expect_shadow()
        self._old.lapsed = self._old_lapsed
        self._successor.attach(self._new)

    async def run(self) -> None:
        """Until the market has changed over, or stays."""
        try:
            with trio.move_on_after(PATIENCE_SECONDS):
                while not self.done and self._shadow.failed is None and self._valid():
                    if self._wants_snapshot:
                        await self._fetch()
                    self._look()
                    if not self.done:
                        await trio.sleep(_LOOK_SECONDS)
        finally:
            self._old.lapsed = self._lapsed
            if not self.done:
                self._successor.detach(self._new)
                self._market.forget_shadow()
        if self.done:
            await trio.sleep(AFTERWARDS_SECONDS)
            self._market.forget_shadow()
        else:
            why = self._shadow.failed or "too late, or no longer wanted"
            log.warning("no handover, the old connection stays", market=str(self._feed.request), why=why)

    def _valid(self) -> bool:
        feed = self._feed
        return self._route.subscription is self._old and feed.market is self._market and not feed.scope.cancel_called

    def _want_snapshot(self) -> None:
        self._wants_snapshot = True

    def _look(self) -> None:
        now = trio.current_time()
        if self._valid() and self._overlaps(now) and self._shadow.ready(self._market, now):
            self._switch(overlapped=True)

    def _overlaps(self, now: float) -> bool:
        if not self._shadow.carries_trades:
            return True
        if self._overlapped_since is None and self._new.sent:
            self._overlapped_since = now + UNACKNOWLEDGED_SECONDS
        if Channel.TRADES in self._new.acknowledged and self._overlapped_since is not None:
            self._overlapped_since = min(self._overlapped_since, now)
        return self._overlapped_since is not None and now - self._overlapped_since >= OVERLAP_SECONDS

    def _old_lapsed(self) -> None:
        """The old socket is gone: what the shadow has is better than a gap."""
        if not self.done and self._valid() and self._shadow.whole():
            self._switch(overlapped=self._overlaps(trio.current_time()))

    def _switch(self, *, overlapped: bool) -> None:
        self.done = True
        route, market, now = self._route, self._market, trio.current_time()
        old_connection = route.connection
        route.connection, route.subscription = self._successor, self._new
        self._new.lapsed = self._lapsed
        old_connection.detach(self._old)
        self._new.call(market.adopt, self._shadow, self._wall(), now, overlapped=overlapped)
        self._successor.roster.replace_market(self._new, market)
        self._left(old_connection)

    async def _fetch(self) -> None:
        """Get the book by REST to the shadow."""
        self._wants_snapshot = False
        try:
            taken = await self._feed.snapshot(self._successor, self._new)
        except (RestUnavailableError, RestRefusedError) as error:
            self._wants_snapshot = True
            wait = error.retry_after if isinstance(error, RestUnavailableError) else None
            await trio.sleep(wait or _RETRY_SECONDS)
            return
        if taken is not None:
            self._successor.apply_snapshot(self._new, taken.body, taken.levels)
        else:
            self._wants_snapshot = True
