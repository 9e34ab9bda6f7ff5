"""The book of one market and whether it is whole: what a scheme says of it, sequence and checksum tests, and updates
kept for a snapshot.

All of a frame is applied before anything is judged: what breaks the book in a frame is remembered in `_broken`, and a
snapshot later in the same frame makes it whole again. Updates before the snapshot are ignored or, where it comes by
REST, kept up to a bound.

This is the lower half of `Market`, which alone makes one; a base class because a call between two objects costs a tenth
of the whole frame.
"""

from __future__ import annotations

from typing import Any, Final

from level4.book import Best, OrderBook, Sync
from level4.book.sync import APPLY, GAP
from level4.market.known import Known
from level4.market.stats import Cause
from level4.model import Level, RawTime, Row, RowChange

MAX_OLD: Final = 50
"""Updates in a row that a book may be said to contain already. A repeated or late message is one; an exchange that
starts its numbers anew makes all of them so."""
MAX_KEPT: Final = 20_000
"""Updates kept while a REST snapshot is awaited. More: the snapshot is not coming, and a new one is needed anyway."""

NOTHING: Final = 0
UPDATE: Final = 1
WHOLE: Final = 2
"""What a frame said about a market's book: nothing, something, all of it."""

_Delta = tuple[list[Level], list[Level], int | None, int | None, int | None, RawTime]


class KeptBook:
    """`frame`: shared by all markets; one that was touched appends itself."""

    def __init__(self, sync: Sync, frame: list[Any]) -> None:
        self._sync = sync
        self._follows = sync.follows
        self._frame = frame
        self._book: OrderBook = sync.book()
        self._whole = False
        """Whether the book has its snapshot and every update since."""
        self._at: int | None = None
        """Sequence number of the last update applied."""
        self._joining = False
        """Whether the next update is the first one after a snapshot."""
        self._olds = 0
        """Updates left out in a row because the book is said to contain them."""
        self._depth: int | None = None
        self.levels: int | None = None
        """How many levels a side the snapshot can hold that comes next; None: all."""
        self.levels_wanted = 0
        """A snapshot of fewer levels has just proved to be too small for this market; the next must not be."""
        self._known = Known()
        self._worn = False
        """Whether half of what is known of the book has been used up."""
        self._deeper: list[_Delta] | None = None
        """Updates since a deeper snapshot was asked for, while the book goes on."""
        self._ahead: tuple[list[Level], list[Level], int | None, int] | None = None
        """The deeper snapshot and its number of levels, until the updates have reached it."""
        self._kept: list[_Delta] = []
        self._touched = False
        self._evidence = NOTHING
        """What the present frame said about the book."""
        self._broken: tuple[str, Cause] | None = None
        """Why the book broke in the present frame."""
        self._book_time: RawTime = None

    def snapshot(
        self,
        bids: list[Level],
        asks: list[Level],
        last: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
        depth: int | None = None,
    ) -> None:
        self._touch()
        self._evidence = WHOLE
        self._book_time = exchange_time
        self._depth = depth
        self._book.load(bids, asks)
        self._known, self._worn, self._deeper, self._ahead = Known(bids, asks, self.levels), False, None, None
        self.levels_wanted = 0
        self._whole, self._at, self._joining, self._olds = True, last, True, 0
        kept, self._kept = self._kept, []
        for i, (more_bids, more_asks, first, newest, previous, time) in enumerate(kept):
            self.delta(more_bids, more_asks, first, newest, previous, None, time)
            if not self._whole:
                self._kept = kept[i:]
                return
        if checksum is not None and not self._book.verify(checksum):
            self._break(f"expected the book's checksum {checksum}, the snapshot has another", Cause.CHECKSUM)

    def delta(
        self,
        bids: list[Level],
        asks: list[Level],
        first: int | None = None,
        last: int | None = None,
        previous: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
    ) -> None:
        if not self._touched:
            self._touched = True
            self._frame.append(self)
        if not self._whole:
            self._heard()
            if self._sync.rest:
                self._keep((bids, asks, first, last, previous, exchange_time))
            return
        if self._deeper is not None:
            self._keep_for_deeper((bids, asks, first, last, previous, exchange_time))
        follows = self._follows
        if follows is not None:
            if self._joining and self._sync.joins is not None:
                follows = self._sync.joins
            verdict = follows(self._at or 0, first, last, previous)
            if verdict is not APPLY:
                if verdict is GAP:
                    numbers = f"first {first}, last {last}, previous {previous}"
                    self._break(f"expected an update that follows {self._at}, got {numbers}", Cause.SEQUENCE)
                    if self._sync.rest:
                        self._keep((bids, asks, first, last, previous, exchange_time))
                elif not self._joining:
                    self._left_out()
                return
            self._at = last
            self._joining = False
            self._olds = 0
        self._heard()
        self._book_time = exchange_time
        book = self._book
        book.apply(bids, asks)
        if self._depth is not None:
            book.trim(self._depth)
        if checksum is not None and not book.verify(checksum):
            self._break(f"expected the book's checksum {checksum}, ours differs", Cause.CHECKSUM)

    def _heard(self) -> None:
        if self._evidence is NOTHING:
            self._evidence = UPDATE

    def _left_out(self) -> None:
        """An update that the book is said to contain already: no evidence that the book is right. Many in a row mean
        that the exchange began its numbers anew, and that a changing market is taken for one that stands still."""
        self._olds += 1
        if self._olds >= MAX_OLD:
            reason = f"expected numbers above {self._at}, {self._olds} updates in a row were older: begun anew"
            self._break(reason, Cause.SEQUENCE)

    def rows(self, change: RowChange, bids: list[Row], asks: list[Row], exchange_time: RawTime = None) -> None:
        self._touch()
        if change == "partial":
            self._whole = True
            self._evidence = WHOLE
        elif not self._whole:
            return
        elif self._evidence is NOTHING:
            self._evidence = UPDATE
        self._book_time = exchange_time
        wrong = self._book.rows(change, bids, asks)
        if wrong is not None:
            self._break(wrong, Cause.ROW)

    def heartbeat(self) -> None:
        self._touch()
        if self._evidence is NOTHING:
            self._evidence = UPDATE

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self._frame.append(self)

    def _break(self, reason: str, cause: Cause) -> None:
        self._whole = False
        if self._broken is None:
            self._broken = reason, cause

    def _keep(self, delta: _Delta) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
            self._break(f"expected a snapshot within {MAX_KEPT} updates, none came", Cause.SNAPSHOT)
        self._kept.append(delta)

    def wants_deeper(self, enough: int, leisure: bool) -> bool:
        """Whether a deeper snapshot should be fetched beside the book: because the best moves towards the end of what
        is known, or, at `leisure`, because less than `enough` levels a side are."""
        if not (self._whole and self._known.cut) or self._deeper is not None:
            return False
        return self._worn or (leisure and (self._known.levels or 0) < enough)

    @property
    def deeper_levels(self) -> int:
        """How many levels a side a deeper snapshot should have at least."""
        return (self._known.levels or 0) + 1

    def expect_deeper(self) -> None:
        """A deeper snapshot is being asked for: updates are kept for it."""
        if self._whole:
            self._deeper, self._ahead = [], None

    def forget_deeper(self) -> None:
        """None is being asked for any more. One that came, and waits for the updates to reach it, is kept."""
        if self._ahead is None:
            self._deeper = None

    def _uses_up(self, best: Best) -> bool:
        """Whether the best is beyond what is known."""
        known = self._known
        self._worn = known.worn(best)
        if self._worn and known.left(best):
            self.levels_wanted = self.deeper_levels
            return True
        return False

    def _keep_for_deeper(self, delta: _Delta) -> None:
        if self._deeper is not None:
            self._deeper.append(delta)
            if len(self._deeper) > MAX_KEPT:
                self._deeper = self._ahead = None

    def _joined(self) -> KeptBook | None:
        """The book of the deeper snapshot and the updates since it was asked for. None when they do not join, and as
        long as the updates have not reached it: they may come in batches, and a snapshot taken within one shows what
        they never tell."""
        if self._ahead is None or not self._whole:
            return None
        bids, asks, last, levels = self._ahead
        if last is not None and self._at is not None and self._at < last and self._deeper is not None:
            return None
        kept, self._deeper, self._ahead = self._deeper, None, None
        if kept is None:
            return None
        deeper = KeptBook(self._sync, [])
        deeper.levels, deeper._kept = levels, kept
        deeper.snapshot(bids, asks, last, exchange_time=self._book_time)
        return deeper if deeper._whole else None

    @property
    def book(self) -> OrderBook:
        return self._book

    def _take(self, other: KeptBook) -> None:
        """Go on with another's book, which is whole, and forget this one."""
        self._book, self._at, self._joining = other._book, other._at, other._joining
        self._depth, self._book_time, self._whole, self._olds = other._depth, other._book_time, True, other._olds
        self._known, self._worn, self._deeper, self._ahead = other._known, False, None, None
        self._kept.clear()

    def _forget_book(self) -> None:
        self._whole = False
        self._deeper = self._ahead = None
        self._kept.clear()
        self._book.clear()

    def check(self) -> None:
        """Assert all internal invariants (for tests)."""
        if self._whole:
            self._book.check()
        assert len(self._kept) <= MAX_KEPT, "kept updates pile up"
        assert self._deeper is None or len(self._deeper) <= MAX_KEPT, "updates kept for a deeper snapshot pile up"
        assert self._sync.rest or not self._kept, "updates kept for a snapshot that nobody fetches"
