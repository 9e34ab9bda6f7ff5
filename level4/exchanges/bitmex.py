"""BitMEX: spot, perpetuals, dated futures (bitmex.com wsAPI, API changes of 2023-04 and 2026-02 to 2026-05; 2026-11).

* One socket for all types. `XBT` is BTC; settlement currencies carry their unit (`XBt`, `USDt`). Symbols are volatile
  and their month codes are not parsed: all meaning comes from the instrument list.
* Book `orderBookL2`, the whole depth: rows named by (symbol, id, side). Since 2023 updates and deletes repeat the
  price, older recordings do not, so the price comes from the row's name. Ids tell nothing about price or order.
  Changes before the `partial` are ignored. No numbers and no checksum: what cannot be true of a complete book is the
  only sign of a loss.
* Liquidity pools (2026): without a suffix the book is `Aggregated`, whose merging of crossed pools is not documented;
  `Primary`, the ordinary public book, is subscribed here. Two pools in one book would be wrong, their ids are equal.
  Acks name the topic without the pool. Trades of both pools are trades.
* Sizes are contracts everywhere, spot too; on quanto contracts they cannot be converted.
* Trades: `side` is the taker's and may be empty; a `partial` is history. `trdMatchID` may be absent or not unique.
* Raw text `ping`, answered by raw text `pong`, keeps a quiet connection. Opening sockets is limited by a bucket of
  disputed size (20 to 720 an hour): 40 in 20 minutes here. Partials of 800 kB occur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.bitmex_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, iso_us, literal, message
from level4.model import Instrument, Markets, Row, RowChange, TakerSide


class _Row(Struct, gc=False):
    symbol: str
    id: int
    side: Literal["Buy", "Sell"]
    size: Any = None
    price: Any = None
    timestamp: str | None = None


class _Filter(Struct, gc=False):
    symbol: str | None = None


class _Book(Struct, gc=False, tag_field="table", tag="orderBookL2"):
    action: RowChange
    data: list[_Row]
    filter: _Filter | None = None


class _Trade(Struct, gc=False, rename={"trade_id": "trdMatchID"}):
    symbol: str
    size: Any
    price: Any
    timestamp: str | None = None
    side: Literal["Buy", "Sell", ""] | None = None
    trade_id: str | None = None


class _Trades(Struct, gc=False, tag_field="table", tag="trade"):
    action: RowChange
    data: list[_Trade]


class _Quotes(Struct, gc=False, tag_field="table", tag="quote"):
    """Not asked for; named here because old recordings are full of it."""


_decode: Callable[[str | bytes], _Book | _Trades | _Quotes] = decoder(_Book | _Trades | _Quotes)
_TOPICS = {Channel.BOOK: "orderBookL2:{}:Primary", Channel.TRADES: "trade:{}"}
_CHANNELS = {"orderBookL2": Channel.BOOK, "trade": Channel.TRADES}
_TAKERS: dict[str | None, TakerSide] = {"Buy": "buy", "Sell": "sell"}


class Bitmex(Scheme):
    protocol = "bitmex.v1"
    exchange = "BITMEX"
    websocket = {
        Channel.BOOK: "wss://ws.bitmex.com/realtime",
        Channel.TRADES: "wss://ws.bitmex.com/realtime",
    }
    rest = "https://www.bitmex.com"
    instruments_paths = ("/api/v1/instrument/active",)
    limits = Limits(
        markets_per_connection=20,
        symbols_per_message=10,
        messages_per_second=2.0,
        connects=40,
        connects_seconds=1200.0,
        silence_seconds=20.0,
        message_bytes=32 * 2**20,
        rest_weight_per_minute=30,
    )
    sync = seeded_in_stream(named_rows=True)
    ping_seconds = 5.0
    exchange_us = staticmethod(iso_us)

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"op": verb, "args": [_TOPICS[channel].format(symbol) for symbol in batch for channel in channels]})
            for batch in batches(symbols, self.limits.symbols_per_message)
        ]

    def ping(self) -> str:
        return "ping"

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        except ValueError:
            if frame in ("pong", b"pong"):
                return
            raise
        if isinstance(content, _Book):
            self._book(content, markets)
        elif isinstance(content, _Trades):
            for trade in content.data if content.action == "insert" else ():
                markets[trade.symbol].trade(
                    _TAKERS.get(trade.side), literal(trade.price), literal(trade.size), trade.trade_id, trade.timestamp
                )
        else:
            markets.unknown("quote")

    def _book(self, content: _Book, markets: Markets) -> None:
        books: dict[str, tuple[list[Row], list[Row]]] = {}
        time = None
        for row in content.data:
            book = books.get(row.symbol)
            if book is None:
                book = books[row.symbol] = [], []
            price, size = row.price, row.size
            book[0 if row.side == "Buy" else 1].append(
                (row.id, None if price is None else literal(price), None if size is None else literal(size))
            )
            time = row.timestamp
        if content.action == "partial" and not books and content.filter and content.filter.symbol:
            books[content.filter.symbol] = [], []  # an empty book
        for symbol, (bids, asks) in books.items():
            markets[symbol].rows(content.action, bids, asks, time)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"success": True, "subscribe": str(topic)}:
                name, _, symbol = topic.partition(":")
                if name in _CHANNELS:
                    markets.subscribed(symbol.partition(":")[0], _CHANNELS[name])
            case {"success": True, "unsubscribe": _}:
                pass
            case {"error": str(reason)}:
                args = content.get("request", {}).get("args", [])
                topics = [args] if isinstance(args, str) else args
                symbols = dict.fromkeys(str(topic).split(":")[1] for topic in topics if ":" in str(topic))
                named = [symbol for symbol in symbols if symbol in reason.replace(":", " ").split()] or list(symbols)
                for refused in named or (None,):
                    markets.refused(refused, reason)
            case {"table": "orderBookL2" | "trade"}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"info": _, "version": _}:
                pass  # the welcome
            case {"table": str(kind)} | {"info": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without table")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(bodies[0])
