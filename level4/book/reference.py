"""A plain book on sortedcontainers: slow, obvious, the judge of the fast shapes in property tests."""

from __future__ import annotations

from decimal import Decimal

from sortedcontainers import SortedDict

from level4.book.numbers import is_number
from level4.model import Level


class ReferenceSide:
    """See `level4.book.side.Side`. Keys are Decimals, best last."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._levels: SortedDict[Decimal, Level] = SortedDict()

    def load(self, levels: list[Level]) -> None:
        self._levels.clear()
        self.apply([(price, size) for price, size in levels if is_number(price) and is_number(size)])

    def apply(self, levels: list[Level]) -> None:
        for price, size in levels:
            key = self._sign * Decimal(price)
            if Decimal(size) > 0:
                self._levels[key] = (price, size)
            else:
                self._levels.pop(key, None)

    def clear(self) -> None:
        self._levels.clear()

    def trim(self, depth: int) -> None:
        while len(self._levels) > depth:
            self._levels.popitem(0)

    def best(self) -> Level | None:
        return self._levels.peekitem(-1)[1] if self._levels else None

    def top(self, count: int) -> list[Level]:
        return list(reversed(self._levels.values()))[:count]

    def __len__(self) -> int:
        return len(self._levels)

    def check(self) -> None:
        assert all(Decimal(size) > 0 for _, size in self._levels.values())
