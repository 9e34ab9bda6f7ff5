"""A market's book: two independent sides and the difference of its best bid and ask since last looked at.

The sides are independent: a price may stand on both, and inserting on one never removes from the other. Crossed and
locked books are kept as they are; whether to believe them is for the market to say.

`changes()` is asked after every frame and is most often answered by four pointer comparisons: the texts at the top
are the very objects seen last. Only then are texts compared, and only texts that differ as numbers (`1.0`, `1.00`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from level4.book.batch import BatchSide
from level4.book.checksum import INTERLEAVED_WINDOW, Checksum, TopChecksum
from level4.book.ranked import RankedSide
from level4.book.side import Side
from level4.model import Level, Row, RowChange
from level4.model.decimals import same

BID_PRICE: Final = 1
BID_SIZE: Final = 2
ASK_PRICE: Final = 4
ASK_SIZE: Final = 8
BID: Final = BID_PRICE | BID_SIZE
ASK: Final = ASK_PRICE | ASK_SIZE
PRICES: Final = BID_PRICE | ASK_PRICE


@dataclass(frozen=True, slots=True)
class Best:
    """The best levels as received; an empty side has empty texts."""

    bid_price: str
    bid_size: str
    ask_price: str
    ask_size: str


class OrderBook(ABC):
    """One interface for all shapes. Texts are kept exactly as received."""

    bids: Side
    asks: Side

    def __init__(self) -> None:
        self._bid_price = self._bid_size = self._ask_price = self._ask_size = ""

    def load(self, bids: list[Level], asks: list[Level]) -> None:
        """Replace the whole book."""
        self.bids.load(bids)
        self.asks.load(asks)

    def apply(self, bids: list[Level], asks: list[Level]) -> None:
        if bids:
            self.bids.apply(bids)
        if asks:
            self.asks.apply(asks)

    def rows(self, change: RowChange, bids: list[Row], asks: list[Row]) -> str | None:
        """Apply rows that are named by id. Returns what cannot be true of a complete book, if anything."""
        raise NotImplementedError("a book without row names was given rows")

    def clear(self) -> None:
        self.bids.clear()
        self.asks.clear()

    def trim(self, depth: int) -> None:
        self.bids.trim(depth)
        self.asks.trim(depth)

    @abstractmethod
    def changes(self) -> int:
        """Which of the best prices and sizes differ from those of the last call (or `seen`), as bits."""

    @abstractmethod
    def verify(self, checksum: int) -> bool:
        """Whether the exchange's checksum fits the book."""

    def best(self) -> Best:
        bid, ask = self.bids.best() or ("", ""), self.asks.best() or ("", "")
        return Best(*bid, *ask)

    def seen(self) -> Best:
        """Take the present best levels as the last seen ones."""
        best = self.best()
        self._bid_price, self._bid_size = best.bid_price, best.bid_size
        self._ask_price, self._ask_size = best.ask_price, best.ask_size
        return best

    def _compare(self, bid_price: str, bid_size: str, ask_price: str, ask_size: str) -> int:
        bits = 0
        if bid_price != self._bid_price and _differ(bid_price, self._bid_price):
            bits = BID_PRICE
        if bid_size != self._bid_size and _differ(bid_size, self._bid_size):
            bits |= BID_SIZE
        if ask_price != self._ask_price and _differ(ask_price, self._ask_price):
            bits |= ASK_PRICE
        if ask_size != self._ask_size and _differ(ask_size, self._ask_size):
            bits |= ASK_SIZE
        self._bid_price, self._bid_size, self._ask_price, self._ask_size = bid_price, bid_size, ask_price, ask_size
        return bits

    def check(self) -> None:
        self.bids.check()
        self.asks.check()


def _differ(one: str, other: str) -> bool:
    return not one or not other or not same(one, other)


class BatchBook(OrderBook):
    """For frames of many levels. A checksum costs it as much as several frames: for protocols that seldom send one."""

    bids: BatchSide
    asks: BatchSide

    def __init__(self, checksum: TopChecksum | None = None) -> None:
        super().__init__()
        self.bids, self.asks = BatchSide(+1), BatchSide(-1)
        self._checksum = checksum

    def changes(self) -> int:
        bids, asks = self.bids, self.asks
        bid, ask = bids.keys[-1], asks.keys[-1]
        if (
            bids.d[bid] is self._bid_size
            and asks.d[ask] is self._ask_size
            and bid is self._bid_price
            and ask is self._ask_price
        ):
            return 0
        bids.settle()
        asks.settle()
        bid, ask = bids.keys[-1], asks.keys[-1]
        return self._compare(bid or "", bids.d[bid] if bid else "", ask or "", asks.d[ask] if ask else "")

    def verify(self, checksum: int) -> bool:
        if self._checksum is None:
            raise NotImplementedError("a book without a checksum rule was asked to verify one")
        tops = self.bids.top(INTERLEAVED_WINDOW), self.asks.top(INTERLEAVED_WINDOW)
        return self._checksum(*tops) == checksum


class RankedBook(OrderBook):
    """For checksums over the top of the book, and for frames of one level."""

    bids: RankedSide
    asks: RankedSide

    def __init__(self, checksum: Checksum) -> None:
        super().__init__()
        self._checksum = checksum
        self.bids = RankedSide(+1, checksum.window, checksum.fragment)
        self.asks = RankedSide(-1, checksum.window, checksum.fragment)
        self._value = 0

    def changes(self) -> int:
        bids, asks = self.bids, self.asks
        if (
            bids.sizes[-1] is self._bid_size
            and asks.sizes[-1] is self._ask_size
            and bids.keys[-1] is self._bid_price
            and asks.keys[-1] is self._ask_price
        ):
            return 0
        return self._compare(bids.keys[-1], bids.sizes[-1], asks.keys[-1], asks.sizes[-1])

    def trim(self, depth: int) -> None:
        if len(self.bids.keys) - 1 > depth:
            self.bids.trim(depth)
        if len(self.asks.keys) - 1 > depth:
            self.asks.trim(depth)

    def verify(self, checksum: int) -> bool:
        if self.bids.dirty or self.asks.dirty:
            self._value = self._checksum.value(self.bids, self.asks)
        return self._value == checksum
