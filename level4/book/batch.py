"""The shape for frames of many levels: a dict from price text to size text, and dead levels.

All levels of a frame go in with one `dict.update`, so a known price costs no Python work at all. Dicts keep insertion
order: if the dict grew by k, the new prices are its last k keys, and only they are placed among the order keys. A
delete only stores its zero size; such a dead level goes when it reaches the top (`settle`) or at the next tidying up,
which runs once for about as many deaths as there are levels.

Invariant: `d` and `keys` hold the same prices, dead or not, each once; `keys` is sorted, best last; the sentinel (size
`'~'`, above every number) stands first. A dict of texts is not tracked by the garbage collector: large books
do not make collections longer.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import cast

from level4.book.numbers import ZERO, expect_delete, number, numbers
from level4.book.side import BOTTOM, MAX_LEVELS, check_order, loaded, ordered, place
from level4.model import Level

_SPARE = 200
_FLOOR = cast("str", None)
"""The sentinel's key: unlike any text it cannot come from a wire."""


class BatchSide:
    """See `level4.book.side.Side`."""

    __slots__ = ("_limit", "_order", "_sign", "d", "keys")

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self.d: dict[str, str] = {_FLOOR: "~"}
        self.keys: list[str] = [_FLOOR]
        self._order: list[float] = [BOTTOM]
        self._limit = _SPARE

    def load(self, levels: list[Level]) -> None:
        self._adopt(*loaded(levels, self._sign))

    def _adopt(self, d: dict[str, str], order: list[float], prices: list[str]) -> None:
        d[_FLOOR] = "~"
        self.d = d
        self._order = [BOTTOM, *order]
        self.keys = [_FLOOR, *prices]
        self._limit = 2 * len(d) + _SPARE

    def clear(self) -> None:
        self._adopt({}, [], [])

    def apply(self, levels: list[Level]) -> None:
        d = self.d
        new = len(d)
        d.update(levels)
        new = len(d) - new
        if new:
            self._add(new, levels)

    def _add(self, new: int, levels: list[Level]) -> None:
        d, order, keys, sign = self.d, self._order, self.keys, self._sign
        deleted: dict[float, str] = {}
        for price in list(islice(reversed(d), new))[::-1]:
            if price not in d:
                continue  # respelled meanwhile
            key = sign * number(price)
            i, known = place(order, keys, key, price, sign)
            if not known and d[price] <= ZERO:  # the delete of an unknown price: routine on most exchanges
                expect_delete(d.pop(price))
                deleted[key] = price
                continue
            if not known:
                order.insert(i, key)
                keys.insert(i, price)
            if keys[i] != price or key in deleted:
                self._respell(i, levels)
        if len(d) > self._limit:
            self._tidy()

    def _respell(self, i: int, levels: list[Level]) -> None:
        """One price in several spellings (`1.0`, `1.00`): the last one of the frame wins, dead or not."""
        exact = Decimal(self.keys[i])
        spellings = [(p, q) for p, q in levels if Decimal(p) == exact]
        for p in (self.keys[i], *(p for p, _ in spellings)):
            self.d.pop(p, None)
        last, size = spellings[-1]
        self.keys[i] = last
        self.d[last] = size

    def _tidy(self) -> None:
        live: dict[str, str] = {}
        for price, size in self.d.items():
            if size > ZERO:
                live[price] = size
            else:
                expect_delete(size)
        del live[_FLOOR]
        if len(live) > MAX_LEVELS:
            raise ValueError(f"expected at most {MAX_LEVELS} levels on a side, got {len(live)}")
        self._adopt(live, *ordered(list(live), numbers(list(live)), self._sign))

    def settle(self) -> None:
        """Remove dead levels from the top, so that `keys[-1]` is the best price."""
        d, keys = self.d, self.keys
        while (size := d[keys[-1]]) <= ZERO:
            expect_delete(size)
            del d[keys.pop()]
            self._order.pop()

    def trim(self, depth: int) -> None:
        if len(self.d) - 1 > depth:
            self._tidy()
            for price in self.keys[1 : max(1, len(self.keys) - depth)]:
                del self.d[price]
            del self.keys[1 : max(1, len(self.keys) - depth)], self._order[1 : max(1, len(self._order) - depth)]

    def best(self) -> Level | None:
        self.settle()
        price = self.keys[-1]
        return (price, self.d[price]) if price else None

    def top(self, count: int) -> list[Level]:
        d = self.d
        return list(islice(((p, d[p]) for p in reversed(self.keys) if p and d[p] > ZERO), count))

    def __len__(self) -> int:
        return sum(size > ZERO for size in self.d.values()) - 1

    def check(self) -> None:
        check_order(self._order, self.keys, self._sign)
        assert set(self.keys) == set(self.d), "dict and order hold different prices"
        assert len(self.keys) == len(self.d), "a price stands twice"
        assert len(self.d) <= self._limit, "dead levels pile up"
