"""Bybit's API of 2021, `orderBookL2_25` and `trade`: retired, but the long recordings of Bybit speak it.

* Book: the best 25 levels; a snapshot, then rows to delete, update and insert, applied in that order. Every row tells
  its price. Linear wraps the snapshot in `order_book`, inverse sends it bare. `cross_seq` rises, but not by one:
  nothing shows a gap.
* Trades: `side` is the taker's. Linear symbols get their last trades after subscribing, unmarked; they are published.
* Prices are texts or literals, sizes literals. Times: `timestamp_e6` of books, `trade_time_ms` of trades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.scheme import Scheme
from level4.exchanges.wire import any_json, decoder, literal
from level4.model import Level, Markets, RawTime, TakerSide


class _Row(Struct, gc=False):
    price: str
    side: Literal["Buy", "Sell"]
    size: Any = 0


class _Rows(Struct, gc=False):
    order_book: list[_Row] = []
    delete: list[_Row] = []
    update: list[_Row] = []
    insert: list[_Row] = []


class _Books(Struct, gc=False):
    topic: str
    type: Literal["snapshot", "delta"]
    data: _Rows | list[_Row]
    timestamp_e6: int | str


class _Trade(Struct, gc=False):
    symbol: str
    side: Literal["Buy", "Sell"]
    price: Any
    size: Any
    trade_id: str
    trade_time_ms: int | str


class _Trades(Struct, gc=False):
    topic: str
    data: list[_Trade]


_decode_books: Callable[[str | bytes], _Books] = decoder(_Books)
_decode_trades: Callable[[str | bytes], _Trades] = decoder(_Trades)
_SIDES: dict[Literal["Buy", "Sell"], TakerSide] = {"Buy": "buy", "Sell": "sell"}


def _levels(rows: Iterable[_Row], side: Literal["Buy", "Sell"]) -> list[Level]:
    return [(row.price, literal(row.size)) for row in rows if row.side == side]


class BybitV2(Scheme):
    protocol = "bybit.v2"
    exchange = "BYBIT"
    websocket = {}
    sync = seeded_in_stream()

    @staticmethod
    def exchange_us(raw: RawTime) -> int | None:
        return None if raw is None else int(raw)

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode_books(frame)
        except ValidationError:
            self._decode_trades(frame, markets)
            return
        market = markets[content.topic.rpartition(".")[2]]
        if content.type == "snapshot":
            rows = content.data if isinstance(content.data, list) else content.data.order_book
            market.snapshot(_levels(rows, "Buy"), _levels(rows, "Sell"), exchange_time=content.timestamp_e6)
        elif isinstance(content.data, _Rows):
            rows = [*content.data.delete, *content.data.update, *content.data.insert]
            bids, asks = _levels(rows, "Buy"), _levels(rows, "Sell")
            market.delta(bids, asks, exchange_time=content.timestamp_e6)
        else:
            raise ValueError(f"expected rows to delete, update and insert, got a list: {content.topic}")

    def _decode_trades(self, frame: str | bytes, markets: Markets) -> None:
        try:
            content = _decode_trades(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        for trade in content.data:
            price, size, time = literal(trade.price), literal(trade.size), f"{trade.trade_time_ms}000"
            markets[trade.symbol].trade(_SIDES[trade.side], price, size, trade.trade_id, time)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"success": True}:
                pass
            case {"success": False}:
                markets.refused(None, str(content.get("ret_msg", "no reason given")))
            case {"topic": str(topic)} if topic.startswith("orderBookL2_25."):
                _decode_books(frame)  # of a known kind, but not its shape: raise
            case {"topic": str(topic)} if topic.startswith("trade."):
                _decode_trades(frame)  # likewise
            case {"topic": str(topic)}:
                markets.unknown(topic.partition(".")[0])
            case _:
                markets.unknown("a message without topic")
