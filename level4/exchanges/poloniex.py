"""Poloniex spot (api-docs.poloniex.com, spot websocket; recording of 2022-08, docs read 2026-11).

* Symbols `BASE_QUOTE`; base and quote come from the list.
* Book `book_lv2`: exactly the best 20 levels, kept by the exchange, which sends levels that leave the window as
  deletes. Every update names the number before it (`lastId`); numbers jump. Spellings vary (`0.5`, `0.50`).
* Trades: `quantity` is the size in base, `amount` is its value in quote; `takerSide`. Nothing old comes on subscribing
  (recording of 2022, capture of 2026).
* **The exchange cuts a connection that sent nothing for 30 s**, however much it streams: `ping` every 15 s.
* Errors name neither request nor symbol: `no valid symbols` when not one of a message is known, else the unknown ones
  are only missing from the ack. So one symbol a message, and an error refuses whatever has no answer yet.
* 2000 connections for one address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import names_previous
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, message, milliseconds_us, spot, step
from level4.model import Instrument, Level, Markets, TakerSide


class _Book(Struct, gc=False, rename="camel"):
    symbol: str
    asks: list[Level]
    bids: list[Level]
    last_id: int
    id: int
    create_time: int


class _Trade(Struct, gc=False, rename="camel"):
    symbol: str
    quantity: str
    taker_side: TakerSide
    price: str
    id: str
    create_time: int


class _Books(Struct, gc=False, tag_field="channel", tag="book_lv2"):
    data: list[_Book]
    action: Literal["snapshot", "update"]


class _Trades(Struct, gc=False, tag_field="channel", tag="trades"):
    data: list[_Trade]


class _Scales(Struct, rename="camel"):
    price_scale: int
    quantity_scale: int


class _Symbol(Struct, rename="camel"):
    symbol: str
    base_currency_name: str
    quote_currency_name: str
    symbol_trade_limit: _Scales
    state: str = "NORMAL"


_decode: Callable[[str | bytes], _Books | _Trades] = decoder(_Books | _Trades)
_decode_symbols: Callable[[bytes], list[_Symbol]] = decoder(list[_Symbol])
_NAMES = {Channel.BOOK: "book_lv2", Channel.TRADES: "trades"}
_CHANNELS = {name: channel for channel, name in _NAMES.items()}


class Poloniex(Scheme):
    protocol = "poloniex.v2"
    exchange = "POLONIEX"
    websocket = {
        Channel.BOOK: "wss://ws.poloniex.com/ws/public",
        Channel.TRADES: "wss://ws.poloniex.com/ws/public",
    }
    rest = "https://api.poloniex.com"
    instruments_paths = ("/markets",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=30,
        connects_seconds=60.0,
        silence_seconds=35.0,
        rest_weight_per_minute=300,
    )
    sync = seeded_in_stream(follows=names_previous)
    ping_seconds = 15.0
    exchange_us = staticmethod(milliseconds_us)

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"event": verb, "channel": [_NAMES[channel]], "symbols": [symbol]})
            for symbol in symbols
            for channel in channels
        ]

    def ping(self) -> str:
        return message({"event": "ping"})

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Trades):
            for trade in content.data:
                markets[trade.symbol].trade(trade.taker_side, trade.price, trade.quantity, trade.id, trade.create_time)
        elif content.action == "update":
            for book in content.data:
                markets[book.symbol].delta(book.bids, book.asks, None, book.id, book.last_id, None, book.create_time)
        else:
            for book in content.data:
                markets[book.symbol].snapshot(book.bids, book.asks, book.id, None, book.create_time)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "subscribe", "channel": str(name), "symbols": list(symbols)}:
                for symbol in symbols if name in _CHANNELS else ():
                    markets.subscribed(symbol, _CHANNELS[name])
            case {"event": "pong" | "unsubscribe"}:
                pass
            case {"event": "error"}:
                markets.refused(None, str(content.get("message", "no reason given")))
            case {"event": str(kind)}:
                markets.unknown(kind)
            case {"channel": str(kind)}:
                if kind in _CHANNELS:
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown(kind)
            case _:
                markets.unknown("a message without channel and event")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            spot(
                cls.exchange,
                listed.base_currency_name,
                listed.quote_currency_name,
                listed.symbol,
                step(listed.symbol_trade_limit.price_scale),
                step(listed.symbol_trade_limit.quantity_scale),
                active=listed.state == "NORMAL",
            )
            for listed in _decode_symbols(bodies[0])
        ]
