"""A second source of one market, silent until the market adopts it: how a connection is changed without a break.

A shadow is subscribed on the new connection while the market still lives on the old one. It keeps its own book and the
trades that come. When its book is whole and not behind the market's, and its trades overlap the old ones, the market
takes both over and goes on in the same epochs. Trades that both connections brought are published once, told by id.

Pure, and implements what a scheme and a connection call on a market. Nothing that happens here is told to anybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from level4.book import Sync
from level4.market.kept import NOTHING, KeptBook
from level4.market.stats import Cause
from level4.market.telling import PendingTrade
from level4.model import RawTime, TakerSide
from level4.model.decimals import plain

if TYPE_CHECKING:
    from level4.market.market import Market

MAX_TRADES: Final = 10_000
"""Kept while both connections are there; older ones have come over the old connection long ago."""
MOST_SECONDS_BEHIND: Final = 5.0
"""A whole book is taken after so long even if nothing shows that it is not behind."""


class Shadow(KeptBook):
    """`fetch_snapshot`: asks for the book by REST. `channels`: what the connection carries (`book`, `trades`)."""

    def __init__(
        self, sync: Sync, frame: list[Any], channels: tuple[str, ...], fetch_snapshot: Callable[[], None]
    ) -> None:
        super().__init__(sync, frame)
        self.carries_book = "book" in channels
        self.carries_trades = "trades" in channels
        self.failed: str | None = None
        """Why it is of no use any more."""
        self.trades: deque[PendingTrade] = deque(maxlen=MAX_TRADES)
        self._fetch_snapshot = fetch_snapshot
        self._whole_since: float | None = None

    def trade(
        self, side: TakerSide | None, price: str, size: str, trade_id: str | None, exchange_time: RawTime = None
    ) -> None:
        self.trades.append((side, plain(price), plain(size), trade_id, exchange_time))

    def last_trade(self, trade_id: str) -> None:
        """History; the market knows it."""

    def settle(self, received_ns: int, now: float) -> None:
        self._touched = False
        self._evidence = NOTHING
        if self._broken is not None:
            (reason, cause), self._broken = self._broken, None
            if not self._whole:
                self.gap(reason, received_ns, now, cause=cause)
        if self._whole and self._whole_since is None:
            self._whole_since = now

    def connected(self, channel: str, now_ns: int, now: float) -> None:
        if channel == "book":
            self._begin()

    def disconnected(self, channel: str, reason: str, now_ns: int, now: float) -> None:
        self._forget()

    def gap(self, reason: str, now_ns: int, now: float, *, keep_book: bool = False, cause: Cause = Cause.FRAME) -> None:
        if self._sync.rest and cause is Cause.SEQUENCE:
            self._whole, self._whole_since = False, None
            self._fetch_snapshot()  # it was too old; the updates since then are kept
        else:
            self.halt(reason, now_ns, now)

    def halt(self, reason: str, now_ns: int, now: float) -> None:
        self._forget()
        self.failed = reason

    def refused(self, channel: str, reason: str, now_ns: int, now: float) -> None:
        self.halt(f"{channel}: {reason}", now_ns, now)

    def whole(self) -> bool:
        """Whether its book (if it carries one) could be taken over, perhaps a little behind."""
        return self.failed is None and (self._whole or not self.carries_book)

    def ready(self, market: Market, now: float) -> bool:
        """Whether taking it over would go on from where the market is."""
        if not self.whole():
            return False
        if not self.carries_book or self._whole_since is None:
            return not self.carries_book
        return now - self._whole_since >= MOST_SECONDS_BEHIND or market.is_reached_by(self)

    def _begin(self) -> None:
        self._forget()
        if self._sync.rest:
            self._fetch_snapshot()

    def _forget(self) -> None:
        self._forget_book()
        self._whole_since = None
        self.trades.clear()
