"""The shape for checksums and for frames of one level: four lists side by side, deletes at once.

Order keys, price texts, size texts, and the fragment that each level adds to a checksum (None until it is needed).
The top N is a slice. A change among the best `window` levels sets `dirty`; while a side is clean, its half of the
checksum need not be computed again.

Invariant: the four lists have equal length, sorted by price, best last, with the sentinel first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from level4.book.numbers import ZERO, expect_delete, number
from level4.book.side import BOTTOM, MAX_LEVELS, check_order, loaded, place
from level4.model import Level

Fragment = Callable[[str, str], str]
"""Price text, size text → the level's part of a checksum."""


class RankedSide:
    """See `level4.book.side.Side`."""

    __slots__ = ("_fragment", "_fragments", "_order", "_sign", "_window", "dirty", "keys", "sizes")

    def __init__(self, sign: int, window: int, fragment: Fragment) -> None:
        self._sign = sign
        self._window = window
        self._fragment = fragment
        self._order: list[float] = [BOTTOM]
        self.keys: list[str] = [""]
        self.sizes: list[str] = [""]
        self._fragments: list[str | None] = [""]
        self.dirty = True

    def load(self, levels: list[Level]) -> None:
        d, order, prices = loaded(levels, self._sign)
        self._order = [BOTTOM, *order]
        self.keys = ["", *prices]
        self.sizes = ["", *[d[price] for price in prices]]
        self._fragments = ["", *[None] * len(prices)]
        self.dirty = True

    def clear(self) -> None:
        self.load([])

    def apply(self, levels: list[Level]) -> None:
        order, keys, sizes, fragments, sign = self._order, self.keys, self.sizes, self._fragments, self._sign
        for price, size in levels:
            key = sign * number(price)
            i = bisect_left(order, key)
            end = len(order)
            known = i < end and order[i] == key
            if known and keys[i] != price:
                i, known = place(order, keys, key, price, sign)
            if size > ZERO:
                if known:
                    keys[i] = price
                    sizes[i] = size
                    fragments[i] = None
                else:
                    order.insert(i, key)
                    keys.insert(i, price)
                    sizes.insert(i, size)
                    fragments.insert(i, None)
                    end += 1
            else:
                expect_delete(size)
                if not known:
                    continue
                del order[i], keys[i], sizes[i], fragments[i]
            if i >= end - self._window:
                self.dirty = True
        if len(order) > MAX_LEVELS:
            raise ValueError(f"expected at most {MAX_LEVELS} levels on a side, got {len(order)}")

    def trim(self, depth: int) -> None:
        surplus = len(self.keys) - 1 - depth
        if surplus > 0:
            end = surplus + 1
            del self._order[1:end], self.keys[1:end], self.sizes[1:end], self._fragments[1:end]
            if depth < self._window:
                self.dirty = True

    def text(self) -> str:
        """The fragments of the best `window` levels, best first, joined; the side is clean afterwards."""
        self.dirty = False
        fragments = self._fragments
        end = -self._window - 1
        try:
            return "".join(fragments[:end:-1])  # type: ignore[arg-type]  # a None among them is what the except is for
        except TypeError:
            for i in range(max(1, len(fragments) - self._window), len(fragments)):
                if fragments[i] is None:
                    fragments[i] = self._fragment(self.keys[i], self.sizes[i])
        return "".join(fragments[:end:-1])  # type: ignore[arg-type]  # all made now

    def best(self) -> Level | None:
        return (self.keys[-1], self.sizes[-1]) if len(self.keys) > 1 else None

    def top(self, count: int) -> list[Level]:
        end = max(0, len(self.keys) - 1 - count)
        return list(zip(self.keys[:end:-1], self.sizes[:end:-1], strict=True))

    def __len__(self) -> int:
        return len(self.keys) - 1

    def check(self) -> None:
        check_order(self._order, self.keys, self._sign)
        assert len(self.sizes) == len(self._fragments) == len(self.keys), "the four lists differ in length"
        assert all(size > ZERO for size in self.sizes[1:]), "a dead level stayed"
        for price, size, fragment in zip(self.keys[1:], self.sizes[1:], self._fragments[1:], strict=True):
            assert fragment is None or fragment == self._fragment(price, size), "a fragment is not its level's"
