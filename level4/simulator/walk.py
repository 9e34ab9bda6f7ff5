"""A market that lives: a seeded random walk over a whole order book, never crossed and never empty.

Each step changes a few levels, mostly near the top: resize, remove, insert, improve; or a taker takes from the best
of the other side, sometimes through several levels. Removing and improving are biased so that the price wanders
around where it started. Far levels are added as near ones go, so that the depth stays about the same.

The sequence of steps depends on the seed and the market alone, not on time or on who listens. Everything is made when
somebody looks at it first: most markets of a simulator are never asked for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from random import Random
from typing import Final

from level4.simulator.book import Book, Side
from level4.simulator.listing import Listed

KEPT_FILLS: Final = 5_000
_EARLIER_FILLS: Final = 40


@dataclass(frozen=True, slots=True)
class Fill:
    """One match. `taker` is the side that took: a buyer takes asks."""

    trade_id: int
    taker: str
    price: Decimal
    size: Decimal


@dataclass(slots=True)
class Step:
    """What one event changed: prices whose level is now another, and the trades that did it."""

    touched: dict[Side, dict[Decimal, None]] = field(default_factory=lambda: {Side.BID: {}, Side.ASK: {}})
    fills: list[Fill] = field(default_factory=list)


class Walk:
    def __init__(self, listed: Listed, levels: int, trade_share: float, seed: str) -> None:
        """`levels`: how many on each side; `trade_share`: the part of steps that are trades."""
        self.listed = listed
        self._seed = seed
        self._levels = max(levels, 12)
        self._trade_share = trade_share
        self._step = Step()

    @cached_property
    def _random(self) -> Random:
        return Random(self._seed)

    @cached_property
    def _first_id(self) -> int:
        # by a generator of its own: what is asked for first must not matter
        return Random(f"{self._seed}:trade id").randint(1_000, 90_000_000)

    @cached_property
    def trade_id(self) -> int:
        """Of the last trade."""
        return self._first_id

    @cached_property
    def recent(self) -> deque[Fill]:
        """The last fills, oldest first; the first ones are older than the walk."""
        return deque(self._earlier(), KEPT_FILLS)

    @cached_property
    def book(self) -> Book:
        book = self.book = Book(self.listed.lot * 0)
        self._set(Side.BID, self.listed.price, self._size())
        self._set(Side.ASK, self.listed.price + self.listed.tick * 2, self._size())
        self._refill(book)
        return book

    def _earlier(self) -> list[Fill]:
        """What was traded before the walk began: for exchanges that tell history."""
        ids = range(self._first_id - _EARLIER_FILLS + 1, self._first_id + 1)
        ask = self.listed.price + self.listed.tick * 2
        return [
            Fill(number, *(("buy", ask) if number % 2 else ("sell", self.listed.price)), self.listed.lot * 7)
            for number in ids
        ]

    def step(self) -> Step:
        book = self.book
        self._step = Step()
        if self._random.random() < self._trade_share:
            self._trade()
        else:
            for _ in range(self._random.choice((1, 1, 1, 2, 3))):
                self._change()
        self._refill(book)
        return self._step

    def _set(self, side: Side, price: Decimal, size: Decimal) -> None:
        self.book[side].set(price, size)
        self._step.touched[side][price] = None

    def _size(self) -> Decimal:
        """Worth about 10 to 100,000 in dollars, at lot precision, with random digits."""
        lots = 10 ** self._random.uniform(1, 5) / float(self.listed.lot_value or self.listed.price * self.listed.lot)
        return Decimal(max(1, int(lots))).scaleb(-self.listed.lot_decimals)

    def _change(self) -> None:
        what = self._random.random()
        side = self._random.choice((Side.BID, Side.ASK))
        if what < 0.15:
            self._improve(self._random.random())
        elif what < 0.30:
            self._remove(self._random.random())
        elif what < 0.45:
            levels = self.book[side]
            price = levels.price(self._near(side)) + self.listed.tick * (-1 if side is Side.BID else 1)
            if price > 0:
                self._set(side, price, self._size())
        else:
            self._set(side, self.book[side].price(self._near(side)), self._size())

    def _near(self, side: Side) -> int:
        """An index, the nearer to the top the likelier."""
        return min(int(self._random.expovariate(0.3)), len(self.book[side]) - 1)

    def _pull(self) -> float:
        """The probability of a step upwards: under a half when the price is above its start."""
        off = float(self.book.bids.price(0) / self.listed.price) - 1
        return min(0.9, max(0.1, 0.5 - off * 50))

    def _improve(self, chance: float) -> None:
        """A better bid (upwards) or a better ask (downwards) inside the spread."""
        bid, ask = self.book.bids.price(0), self.book.asks.price(0)
        inside = int((ask - bid) / self.listed.tick) - 1
        if inside < 1:
            return
        ticks = self.listed.tick * self._random.randint(1, min(inside, 3))
        if chance < self._pull():
            self._set(Side.BID, bid + ticks, self._size())
        else:
            self._set(Side.ASK, ask - ticks, self._size())

    def _remove(self, chance: float) -> None:
        side = Side.ASK if chance < self._pull() else Side.BID
        self._set(side, self.book[side].price(self._near(side)), Decimal(0))

    def _trade(self) -> None:
        taker = "buy" if self._random.random() < self._pull() else "sell"
        side = Side.ASK if taker == "buy" else Side.BID
        price, size = self.book[side].top(1)[0]
        if self._random.random() < 0.5:
            part = (size * self._random.randint(1, 99) / 100).quantize(self.listed.lot)
            self._fill(taker, side, price, min(part, size) or size)
        else:
            for price, size in self.book[side].top(self._random.choice((1, 1, 1, 2, 3))):
                self._fill(taker, side, price, size)

    def _fill(self, taker: str, side: Side, price: Decimal, size: Decimal) -> None:
        self.trade_id += 1
        fill = Fill(self.trade_id, taker, price, size)
        self._step.fills.append(fill)
        self.recent.append(fill)
        self._set(side, price, self.book[side].size(price) - size)

    def _refill(self, book: Book) -> None:
        for side, away in ((Side.BID, -1), (Side.ASK, 1)):
            levels = book[side]
            while len(levels) < self._levels:
                price = levels.price(-1) + away * self.listed.tick * self._random.randint(1, 3)
                if price <= 0:
                    break
                self._set(side, price, self._size())
            while len(levels) > self._levels * 1.2:
                self._set(side, levels.price(-1), Decimal(0))
