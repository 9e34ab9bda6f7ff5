"""One side of a book: what both shapes have in common.

`sign` is +1 for bids and -1 for asks: `sign * price` grows towards the top of the book, so the best level is always at
a list's END and a change near the top moves little memory. A sentinel stands at the other end, so that
the best can be read without asking whether there is one.

Prices are told apart as decimals. `place` finds a price among the order keys; where two different prices share one
float key (beyond 15–17 digits) it compares Decimals, so that the book stays exact.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from itertools import pairwise
from typing import Final, Protocol

from level4.book.numbers import exact_levels, numbers
from level4.model import Level

BOTTOM: Final = float("-inf")
MAX_LEVELS: Final = 1_000_000
"""No exchange has so many on a side; more means that deletes are not understood, and memory must stay bounded."""


class Side(Protocol):
    """Levels of one side, by price. Sizes are absolute; a size of zero or less removes the level."""

    def load(self, levels: list[Level]) -> None:
        """Replace everything. Zero sizes and levels that are no numbers are skipped; of equal prices the last wins."""

    def apply(self, levels: list[Level]) -> None:
        """Apply changes in order. Raises ValueError on a price that is no number."""

    def clear(self) -> None: ...

    def trim(self, depth: int) -> None:
        """Keep the best `depth` levels."""

    def best(self) -> Level | None: ...

    def top(self, count: int) -> list[Level]:
        """The best levels, best first, with the texts as received."""

    def __len__(self) -> int: ...

    def check(self) -> None:
        """Assert all internal invariants (for tests)."""


def place(order: list[float], keys: list[str], key: float, price: str, sign: int) -> tuple[int, bool]:
    """Where `price` stands, or where it must be inserted, and which of the two."""
    i = bisect_left(order, key)
    end = len(order)
    if i == end or order[i] != key:
        return i, False
    if keys[i] == price:
        return i, True
    exact = sign * Decimal(price)
    while i < end and order[i] == key:
        other = sign * Decimal(keys[i])
        if other == exact:
            return i, True
        if other > exact:
            break
        i += 1
    return i, False


def loaded(levels: list[Level], sign: int) -> tuple[dict[str, str], list[float], list[str]]:
    """A snapshot's side: sizes by price, and order keys and price texts, best last."""
    side = dict(levels)
    try:
        keys = numbers(list(side))
        plain = all(size > 0 for size in numbers(list(side.values()))) and len(set(keys)) == len(keys)
    except ValueError:
        plain = False
    if not plain:
        side = exact_levels(levels)
        keys = numbers(list(side))
    if len(side) > MAX_LEVELS:
        raise ValueError(f"expected at most {MAX_LEVELS} levels on a side, got {len(side)}")
    return side, *ordered(list(side), keys, sign)


def ordered(prices: list[str], keys: list[float], sign: int) -> tuple[list[float], list[str]]:
    """Order keys and price texts, best last. `keys` are the floats of `prices`, which are different numbers."""
    order = keys if sign > 0 else [-key for key in keys]
    good = sorted(order)
    if len(set(order)) != len(order):
        exact = sorted((sign * Decimal(price), price) for price in prices)
        return [float(key) for key, _ in exact], [price for _, price in exact]
    if order != good:
        order.reverse()  # exchanges list each side from the best on
        prices.reverse()
        if order != good:
            pairs = sorted(zip(order, prices, strict=True))
            return [key for key, _ in pairs], [price for _, price in pairs]
    return order, prices


def check_order(order: list[float], keys: list[str], sign: int) -> None:
    assert order[0] == BOTTOM, "the sentinel is missing"
    assert not keys[0], "the sentinel is missing"
    assert len(order) == len(keys), "order and keys differ in length"
    exact = [sign * Decimal(price) for price in keys[1:]]
    assert all(a < b for a, b in pairwise(exact)), "prices are not in order"
    assert all(float(a) == b for a, b in zip(exact, order[1:], strict=True)), "an order key is not its price's"
