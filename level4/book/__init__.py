"""Order books and the policies that keep them right. Pure; imports only the model."""

from level4.book.checksum import BitfinexChecksum
from level4.book.named import NamedBook
from level4.book.orderbook import ASK, BID, PRICES, BatchBook, Best, OrderBook, RankedBook
from level4.book.sync import KRAKEN_CHECKSUM, Rule, Sync, Verdict, binance_spot, seeded_by_rest, seeded_in_stream

__all__ = [
    "ASK",
    "BID",
    "KRAKEN_CHECKSUM",

    "PRICES",
    "BatchBook",
    "Best",
    "BitfinexChecksum",
    "NamedBook",
    "OrderBook",
    "RankedBook",
    "Rule",
    "Sync",
    "Verdict",
    "binance_spot",
    "seeded_by_rest",
    "seeded_in_stream",
]
