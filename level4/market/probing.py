"""Whether a probe's answer shows the book that we have."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from level4.book import OrderBook
from level4.model import Level

COMPARED_LEVELS: Final = 10


def same_top(book: OrderBook, bids: list[Level], asks: list[Level]) -> bool:
    """Whether the best levels of both, up to ten and as far as the answer goes, are equal as numbers."""
    return _same(book.bids.top(COMPARED_LEVELS), bids) and _same(book.asks.top(COMPARED_LEVELS), asks)


def _same(ours: list[Level], theirs: list[Level]) -> bool:
    theirs = theirs[:COMPARED_LEVELS]
    if not theirs:
        return not ours
    if len(ours) < len(theirs):
        return False
    try:
        return all(
            Decimal(a[0]) == Decimal(b[0]) and Decimal(a[1]) == Decimal(b[1])
            for a, b in zip(ours, theirs, strict=False)
        )
    except InvalidOperation:
        return False
