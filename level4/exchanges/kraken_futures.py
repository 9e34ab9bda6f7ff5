"""Kraken derivatives, `futures.kraken.com/ws/v1` (docs.kraken.com, futures-websocket, read 2026-11).

**Switched off on 2027-03-01.** The successor is in `kraken_unified.py`.

* `PF_` perpetual and `FF_` dated are linear, sizes in the base coin; `PI_` perpetual and `FI_` dated are inverse, sizes
  in contracts of 1 USD. Ids say `XBT`, the list's `base` says `BTC`. Lists before 2022 had neither `base` nor `quote`,
  but an `underlying` (`rr_xbtusd`) that was always against USD. Ids are lower case there, upper case in data.
* Book: full depth, one level an update, `seq` per product, shared by snapshot and updates, rising by one. A size of
  zero or less deletes. Numbers are JSON literals. No checksum.
* Trades: `side` is the taker's, `uid` may be missing (2019). `trade_snapshot`, the last 100, is history. Liquidations,
  terminations and blocks are published with the side given. `seq` of trades is a count of its own.
* Acks name the product; an error (`Invalid product id`) does not.
* The client must send a WebSocket ping frame within 60 s. 100 connections, 100 requests a second each.
* `contractValueTradePrecision` may be negative (-3: lots of 1000); `tickSize` may have an exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import next_or_old
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, literal, message, milliseconds_us, step, unified
from level4.model import Instrument, Level, Markets, MarketType, TakerSide
from level4.model.decimals import plain


class _Quote(Struct, gc=False):
    price: Any
    qty: Any


class _Update(Struct, gc=False, tag_field="feed", tag="book"):
    product_id: str
    side: TakerSide
    seq: int
    price: Any
    qty: Any
    timestamp: int | None = None


class _Snapshot(Struct, gc=False, tag_field="feed", tag="book_snapshot"):
    product_id: str
    seq: int
    bids: list[_Quote]
    asks: list[_Quote]
    timestamp: int | None = None


class _Trade(Struct, gc=False, tag_field="feed", tag="trade"):
    product_id: str
    side: TakerSide
    price: Any
    qty: Any
    time: int
    uid: str | None = None


class _History(Struct, gc=False, tag_field="feed", tag="trade_snapshot"):
    """The last trades before the subscription."""


class _Heartbeat(Struct, gc=False, tag_field="feed", tag="heartbeat"):
    """Of the connection, when asked for."""


class _Listed(Struct, rename="camel"):
    symbol: str
    type: str
    tradeable: bool
    tick_size: Any = None
    contract_size: Any = 1
    contract_value_trade_precision: int = 0
    base: str | None = None
    quote: str | None = None
    underlying: str = ""
    last_trading_time: str | None = None


class _Listing(Struct):
    instruments: list[_Listed]


_Message = _Update | _Snapshot | _Trade | _History | _Heartbeat
_decode: Callable[[str | bytes], _Message] = decoder(_Message)
_decode_listing: Callable[[bytes], _Listing] = decoder(_Listing)
_KINDS = {"book", "book_snapshot", "trade", "trade_snapshot"}
_FEEDS = {Channel.BOOK: "book", Channel.TRADES: "trade"}
_CHANNELS = {"book": Channel.BOOK, "trade": Channel.TRADES}
_LINEAR = {"flexible_futures", "futures_vanilla"}
_MODERN = {"XBT": "BTC", "XDG": "DOGE"}


def _levels(quotes: list[_Quote]) -> list[Level]:
    return [(literal(quote.price), literal(quote.qty)) for quote in quotes]


class KrakenFuturesV1(Scheme):
    protocol = "kraken_futures.v1"
    exchange = "KRAKEN"
    websocket = dict.fromkeys(Channel, "wss://futures.kraken.com/ws/v1")
    rest = "https://futures.kraken.com"
    instruments_paths = ("/derivatives/api/v3/instruments",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=50,
        messages_per_second=20.0,
        connects=60,
        connects_seconds=60.0,
        silence_seconds=60.0,
    )
    sync = seeded_in_stream(follows=next_or_old)
    exchange_us = staticmethod(milliseconds_us)
    ping_seconds = 25.0

    def greeting(self) -> list[str]:
        return [message({"event": "subscribe", "feed": "heartbeat"})]

    def ping(self) -> str | None:
        return None

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"event": verb, "feed": _FEEDS[channel], "product_ids": batch})
            for batch in batches(symbols, self.limits.symbols_per_message)
            for channel in channels
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Update):
            level = [(literal(content.price), literal(content.qty))]
            bids, asks = (level, []) if content.side == "buy" else ([], level)
            markets[content.product_id].delta(bids, asks, None, content.seq, None, None, content.timestamp)
        elif isinstance(content, _Trade):
            price, size = literal(content.price), literal(content.qty)
            markets[content.product_id].trade(content.side, price, size, content.uid, content.time)
        elif isinstance(content, _Snapshot):
            markets[content.product_id].snapshot(
                _levels(content.bids), _levels(content.asks), content.seq, exchange_time=content.timestamp
            )

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "info" | "unsubscribed"} | {"feed": "heartbeat"}:
                pass
            case {"event": "subscribed", "feed": str(feed), "product_ids": list(products)}:
                for product in products if feed in _CHANNELS else ():
                    markets.subscribed(product, _CHANNELS[feed])
            case {"event": "subscribed_failed", "product_ids": list(products)}:
                for product in products:
                    markets.refused(product, str(content.get("message", "subscribed_failed")))
            case {"event": "error" | "alert", "message": reason}:
                markets.refused(None, str(reason))
            case {"feed": str(feed)} if feed in _KINDS:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"feed": str(kind)} | {"event": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without feed and event")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        listed = _decode_listing(bodies[0]).instruments
        return [_instrument(each) for each in listed if each.type in _LINEAR or each.type == "futures_inverse"]


def _instrument(listed: _Listed) -> Instrument:
    old = listed.underlying[3:-3].upper()
    base, quote = listed.base or _MODERN.get(old, old), listed.quote or "USD"
    expiry = datetime.fromisoformat(listed.last_trading_time).date().isoformat() if listed.last_trading_time else None
    inverse = listed.type == "futures_inverse"
    linear = MarketType.FUTURE if expiry else MarketType.PERP
    settle = base if inverse else quote
    return Instrument(
        exchange="KRAKEN",
        type=MarketType.INVERSE if inverse else linear,
        symbol=unified(base, quote, settle, expiry),
        native_symbol=_upper(listed.symbol),
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        tick=None if listed.tick_size is None else plain(str(listed.tick_size)),
        lot=step(listed.contract_value_trade_precision),
        contract_size=plain(str(listed.contract_size)) if inverse else None,
        size_unit="contracts" if inverse else "base",
        active=listed.tradeable,
    )


def _upper(symbol: str) -> str:
    """As data frames spell it. Tokenised stocks keep their small letters (`PF_AAPLxUSD`)."""
    return symbol.upper() if symbol == symbol.lower() else symbol
