"""The best levels of a book as an exchange keeps them for its subscribers: a level that falls out is deleted, and one
that comes back in is sent again.

(Kraken's subscribers have to cut their books themselves; that is another rule, in `kraken`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from level4.simulator.book import Book, Side

Change = tuple[Side, Decimal, Decimal]
"""Side, price and the new size; zero deletes."""


class Window:
    """What subscribers to the `depth` best levels have been sent."""

    def __init__(self, book: Book, depth: int) -> None:
        self.depth = depth
        self.shown = Book(book.bids.size(Decimal(0)))
        for _ in self.changes(book):
            pass

    def changes(self, book: Book) -> Iterator[Change]:
        """What makes the window that of `book`, deletes first; each is in `shown` when it is yielded."""
        now = {side: dict(book[side].top(self.depth)) for side in Side}
        zero = book.bids.size(Decimal(0))
        for side in Side:
            for price in [price for price, _ in self.shown[side] if price not in now[side]]:
                self.shown[side].set(price, zero)
                yield side, price, zero
        for side in Side:
            for price, size in now[side].items():
                if self.shown[side].size(price) != size:
                    self.shown[side].set(price, size)
                    yield side, price, size
