"""The simulator's own order book: two sorted dictionaries of exact decimals, as plain as can be."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from operator import neg

from sortedcontainers import SortedDict

from level4.simulator.tally import Best, Touch


class Side(StrEnum):
    BID = "bid"
    ASK = "ask"

    @property
    def other(self) -> Side:
        return Side.ASK if self is Side.BID else Side.BID


class Levels:
    """One side, best first."""

    def __init__(self, side: Side, zero: Decimal) -> None:
        self.side = side
        self._zero = zero
        self._sizes: SortedDict[Decimal, Decimal] = SortedDict(neg) if side is Side.BID else SortedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, price: Decimal) -> bool:
        return price in self._sizes

    def __iter__(self) -> Iterator[tuple[Decimal, Decimal]]:
        return iter(self._sizes.items())

    def size(self, price: Decimal) -> Decimal:
        """Zero, at lot precision, when there is no such level."""
        return self._sizes.get(price, self._zero)

    def price(self, index: int) -> Decimal:
        return self._sizes.keys()[index]

    def set(self, price: Decimal, size: Decimal) -> None:
        """Zero removes."""
        if size:
            self._sizes[price] = size
        else:
            self._sizes.pop(price, None)

    def best(self) -> Touch:
        return self._sizes.peekitem(0) if self._sizes else None

    def top(self, depth: int) -> list[tuple[Decimal, Decimal]]:
        return list(self._sizes.items()[:depth])

    def boundary(self, depth: int) -> Decimal | None:
        """The price of the last level among the `depth` best; None when all levels are among them."""
        return self._sizes.keys()[depth - 1] if len(self._sizes) > depth else None

    def within(self, price: Decimal, boundary: Decimal | None) -> bool:
        """Whether a price is not worse than the boundary."""
        return boundary is None or (price >= boundary if self.side is Side.BID else price <= boundary)

    def beyond(self, boundary: Decimal, last: Decimal | None) -> list[tuple[Decimal, Decimal]]:
        """Levels worse than `boundary` and not worse than `last`."""
        prices = self._sizes.irange(boundary, last, inclusive=(False, True))
        return [(price, self._sizes[price]) for price in prices]


class Book:
    def __init__(self, zero: Decimal = Decimal(0)) -> None:
        self.bids = Levels(Side.BID, zero)
        self.asks = Levels(Side.ASK, zero)

    def __getitem__(self, side: Side) -> Levels:
        return self.bids if side is Side.BID else self.asks

    def best(self) -> Best:
        return self.bids.best(), self.asks.best()
