"""Checksums of exchanges over the top of a book, from the number texts exactly as received.

Kraken spot (v1 and v2; docs.kraken.com, book checksum guides, read 2026-11): CRC-32 over the ten best asks, then the
ten best bids, each level as price and size without the point and without leading zeros. A side with fewer levels
gives what it has.

Bitfinex (docs.bitfinex.com, ws-websocket-checksum; its library's tests, 2026-07): signed CRC-32 over 25 levels of each
side, taken in turns. OKX (2022, dead since 2026-06) the same but for the sign of asks.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Final, Protocol
from zlib import crc32

from level4.book.ranked import RankedSide
from level4.model import Level

INTERLEAVED_WINDOW: Final = 25

TopChecksum = Callable[[list[Level], list[Level]], int]
"""Best bids, best asks, best first, `INTERLEAVED_WINDOW` of each → the checksum."""


class Checksum(Protocol):
    """How an exchange computes it. One object for each book: it may keep the half that did not change."""

    window: int
    """How many levels of each side it covers."""

    def fragment(self, price: str, size: str) -> str: ...

    def value(self, bids: RankedSide, asks: RankedSide) -> int: ...


class KrakenChecksum:
    """CRC-32 runs on from one half to the other, so only the half that changed is joined again."""

    window = 10

    def __init__(self) -> None:
        self._asks = 0
        self._bids = b""

    @staticmethod
    def fragment(price: str, size: str) -> str:
        return price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")

    def value(self, bids: RankedSide, asks: RankedSide) -> int:
        if asks.dirty:
            self._asks = crc32(asks.text().encode())
        if bids.dirty:
            self._bids = bids.text().encode()
        return crc32(self._bids, self._asks)


def interleaved(bids: list[Level], asks: list[Level], ask_sign: str = "") -> int:
    """Signed CRC-32 over the levels of both sides, taken in turns: bid, ask, bid …, as `price:size`, joined by colons;
    where one side has fewer levels the other goes on alone. `ask_sign`: what stands before the size of an ask."""
    texts: list[str] = []
    for bid, ask in zip_longest(bids, asks):
        if bid is not None:
            texts += bid
        if ask is not None:
            texts += ask[0], ask_sign + ask[1]
    unsigned = crc32(":".join(texts).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


class BitfinexChecksum:
    """`interleaved`; sizes of asks are negative, as on the wire."""

    window = INTERLEAVED_WINDOW

    @staticmethod
    def fragment(price: str, size: str) -> str:
        return f"{price}:{size}"

    def value(self, bids: RankedSide, asks: RankedSide) -> int:
        bids.dirty = asks.dirty = False
        return interleaved(bids.top(self.window), asks.top(self.window), ask_sign="-")
