"""The shape for books whose rows have names: a change tells a row's id and not always its price (BitMEX `orderBookL2`).

A row is one price level. The names stand beside a `BatchBook`: a change is turned into a level change of that book, so
there is one piece of code that knows how prices are ordered. What cannot be true of a complete book is told, and means
that something is missing or doubled:

* a change or delete of a row that is not there;
* an insert of a row that is there at another price (the same price: taken as an update);
* a change that tells another price than the row has;
* two rows at one price.

A size of zero deletes; in a snapshot it is no row. Prices are kept in plain spelling, because a change without price
must meet the level that the insert made.

Invariant: the prices of the names of a side are exactly its live levels, each once. Names are bounded with the levels.
"""

from __future__ import annotations

from level4.book.batch import BatchSide
from level4.book.numbers import ZERO, expect_delete
from level4.book.orderbook import BatchBook
from level4.book.side import MAX_LEVELS
from level4.model import Level, Row, RowChange
from level4.model.decimals import plain, same


class NamedBook(BatchBook):
    """Rows are named by (id, side)."""

    def __init__(self) -> None:
        super().__init__()
        self._bid_names, self._ask_names = _Names(), _Names()

    def rows(self, change: RowChange, bids: list[Row], asks: list[Row]) -> str | None:
        if change == "partial":
            self.load(self._bid_names.load(bids), self._ask_names.load(asks))
            if len(self.bids) == len(self._bid_names.prices) and len(self.asks) == len(self._ask_names.prices):
                return None
            return "expected a snapshot with one row of numbers for each price, got another"
        wrong = None
        if bids:
            wrong = self._bid_names.apply(change, bids, self.bids)
        if asks and wrong is None:
            wrong = self._ask_names.apply(change, asks, self.asks)
        return wrong

    def clear(self) -> None:
        super().clear()
        self._bid_names, self._ask_names = _Names(), _Names()

    def check(self) -> None:
        super().check()
        for names, side in ((self._bid_names, self.bids), (self._ask_names, self.asks)):
            live = [price for price, _ in side.top(MAX_LEVELS)]
            assert {name: price for price, name in names.ids.items()} == names.prices, "names do not match prices"
            assert set(live) == set(names.ids), "names and levels differ in price"


class _Names:
    """Of one side: which row stands at a price, and back."""

    __slots__ = ("ids", "prices")

    def __init__(self) -> None:
        self.prices: dict[int, str] = {}
        self.ids: dict[str, int] = {}

    def load(self, rows: list[Row]) -> list[Level]:
        levels = [(plain(price or ""), str(size)) for _, price, size in rows]
        self.prices = {row[0]: price for row, (price, size) in zip(rows, levels, strict=True) if size > ZERO}
        self.ids = {price: name for name, price in self.prices.items()}
        return levels

    def apply(self, change: RowChange, rows: list[Row], side: BatchSide) -> str | None:
        """Change the levels of one side; what is wrong with a row, if anything: the others are then left out, because
        the book is lost."""
        prices = self.prices
        levels: list[Level] = []
        for name, told, size in rows:
            price = prices.get(name)
            text = str(size)
            if change == "delete" or text <= ZERO:
                if price is None:
                    return f"expected the delete of a known row, got row {name}"
                expect_delete("0" if change == "delete" else text)
                del prices[name], self.ids[price]
                levels.append((price, "0"))
                continue
            if price is None:
                if change == "update":
                    return f"expected the update of a known row, got row {name}"
                price = plain(told or "")
                if self.ids.setdefault(price, name) != name:
                    return f"expected one row at the price {price}, got row {name} beside row {self.ids[price]}"
                prices[name] = price
            elif told is not None and told != price and not same(told, price):
                return f"expected row {name} at the price {price}, got it at {told}"
            if size is None:
                return f"expected a size of row {name}, got none"
            levels.append((price, text))
        side.apply(levels)
        return None
