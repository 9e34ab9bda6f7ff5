"""Coinbase Advanced Trade feed (docs.cdp.coinbase.com, advanced-trade websocket channels; read 2026-11).

* The only book without keys on which a lost message can be seen: `sequence_num` rises by one with **every frame of the
  connection**, control frames included, from 0 (measured by several third parties in August and September 2026; the
  documentation's "for each product" is wrong for this socket). A break ends all books of the connection, so few
  markets should share one.
* `level2` is subscribed, `l2_data` arrives. Deletes of prices never published are routine. A snapshot's `event_time`
  may be the epoch: the envelope's `timestamp` is used.
* `market_trades`: batches of 250 ms, newest first (published in reverse); the first event, `snapshot`, is history.
  **`side`: sources disagree.** Compared with Exchange `matches` on 59 of 59 shared ids in September 2026 it was the
  same, hence the maker's; it is turned round. Live trades come from Exchange `matches`; this is for replay and as a
  fallback.
* One channel a message; subscribe within 5 s; `heartbeats` keep a quiet connection open; 8 connections a second, 8
  messages a second.
* `BTC-USDC` is the book of `BTC-USD`: an alias (catalog: `alias`), whose data are labelled `BTC-USD`; not listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.coinbase import TAKER_OF_MAKER
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, iso_us, message, spot
from level4.model import Instrument, Level, Markets


class _Level(Struct, gc=False):
    side: Literal["bid", "offer"]
    price_level: str
    new_quantity: str


class _Book(Struct, gc=False):
    type: Literal["snapshot", "update"]
    product_id: str
    updates: list[_Level]


class _Trade(Struct, gc=False):
    trade_id: str
    product_id: str
    price: str
    size: str
    side: Literal["BUY", "SELL"]
    time: str


class _TradeEvent(Struct, gc=False):
    type: Literal["snapshot", "update"]
    trades: list[_Trade]


class _Books(Struct, gc=False, tag_field="channel", tag="l2_data"):
    timestamp: str
    sequence_num: int
    events: list[_Book]


class _Trades(Struct, gc=False, tag_field="channel", tag="market_trades"):
    sequence_num: int
    events: list[_TradeEvent]


class _Heartbeats(Struct, gc=False, tag_field="channel", tag="heartbeats"):
    sequence_num: int


class _Product(Struct):
    product_id: str
    base_currency_id: str
    quote_currency_id: str
    base_increment: str
    quote_increment: str
    price_increment: str | None = None
    status: str = "online"
    trading_disabled: bool = False
    is_disabled: bool = False
    view_only: bool = False
    alias: str = ""


class _Products(Struct):
    products: list[_Product]


_decode: Callable[[str | bytes], _Books | _Trades | _Heartbeats] = decoder(_Books | _Trades | _Heartbeats)
_decode_products: Callable[[bytes], _Products] = decoder(_Products)
_NAMES = {Channel.BOOK: "level2", Channel.TRADES: "market_trades"}
_CHANNELS = {"level2": "book", "market_trades": "trades"}


class CoinbaseAdvanced(Scheme):
    protocol = "coinbase.advanced"
    exchange = "COINBASE"
    websocket = {
        Channel.BOOK: "wss://advanced-trade-ws.coinbase.com",
        Channel.TRADES: "wss://advanced-trade-ws.coinbase.com",
    }
    rest = "https://api.coinbase.com"
    instruments_paths = ("/api/v3/brokerage/market/products?product_type=SPOT",)
    limits = Limits(
        markets_per_connection=10,
        symbols_per_message=10,
        messages_per_second=6.0,
        connects=6,
        connects_seconds=1.0,
        silence_seconds=10.0,
        rest_weight_per_minute=300,
    )
    sync = seeded_in_stream(connection_sequence=True)
    contiguous_trade_ids = True
    exchange_us = staticmethod(iso_us)

    def greeting(self) -> list[str]:
        return [message({"type": "subscribe", "channel": "heartbeats"})]

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"type": verb, "product_ids": batch, "channel": _NAMES[channel]})
            for batch in batches(symbols, self.limits.symbols_per_message)
            for channel in channels
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        markets.sequence(content.sequence_num)
        if isinstance(content, _Books):
            for book in content.events:
                bids: list[Level] = []
                asks: list[Level] = []
                for level in book.updates:
                    (bids if level.side == "bid" else asks).append((level.price_level, level.new_quantity))
                if book.type == "update":
                    markets[book.product_id].delta(bids, asks, None, None, None, None, content.timestamp)
                else:
                    markets[book.product_id].snapshot(bids, asks, exchange_time=content.timestamp)
        elif isinstance(content, _Trades):
            for event in content.events:
                for trade in reversed(event.trades if event.type == "update" else []):
                    side = TAKER_OF_MAKER["buy" if trade.side == "BUY" else "sell"]
                    markets[trade.product_id].trade(side, trade.price, trade.size, trade.trade_id, trade.time)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        if isinstance(content, dict) and isinstance(content.get("sequence_num"), int):
            markets.sequence(content["sequence_num"])
        match content:
            case {"channel": "subscriptions", "events": list(events)}:
                for event in events:
                    for name, channel in _CHANNELS.items():
                        match event:
                            case {"subscriptions": dict(all_)} if isinstance(all_.get(name), list):
                                for symbol in all_[name]:
                                    markets.subscribed(str(symbol), channel)
            case {"type": "error"}:
                markets.refused(None, str(content.get("message", "no reason given")))
            case {"channel": "l2_data" | "market_trades" | "heartbeats"}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"channel": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without channel")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            spot(
                cls.exchange,
                product.base_currency_id,
                product.quote_currency_id,
                product.product_id,
                product.price_increment or product.quote_increment,
                product.base_increment,
                active=product.status == "online"
                and not (product.trading_disabled or product.is_disabled or product.view_only),
            )
            for product in _decode_products(bodies[0]).products
            if not product.alias
        ]
