"""HitBTC v2: deprecated; recordings of HitBTC and of the white label Bequant speak it (api.hitbtc.com v2, 2019–2021).

* JSON-RPC: one subscription a message; acks name nothing but the request. Books are repeated whole in mid-stream; the
  `sequence` rises by one for each symbol. `snapshotTrades` is history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, ValidationError

from level4.exchanges.hitbtc import Hitbtc
from level4.exchanges.scheme import Channel
from level4.exchanges.wire import any_json, decoder, iso_us, message, spot
from level4.model import Instrument, Level, Markets, TakerSide


class _Level(Struct, gc=False):
    price: str
    size: str


class _Book(Struct, gc=False):
    ask: list[_Level]
    bid: list[_Level]
    symbol: str
    sequence: int
    timestamp: str


class _Trade(Struct, gc=False):
    id: int
    price: str
    quantity: str
    side: TakerSide
    timestamp: str


class _TradeData(Struct, gc=False):
    data: list[_Trade]
    symbol: str


class _Update(Struct, gc=False, tag_field="method", tag="updateOrderbook"):
    params: _Book


class _Snapshot(Struct, gc=False, tag_field="method", tag="snapshotOrderbook"):
    params: _Book


class _Trades(Struct, gc=False, tag_field="method", tag="updateTrades"):
    params: _TradeData


class _OldTrades(Struct, gc=False, tag_field="method", tag="snapshotTrades"):
    """History."""


class _Ticker(Struct, gc=False, tag_field="method", tag="ticker"):
    """Not asked for; named here because old recordings are full of it."""


class _Symbol(Struct, rename="camel"):
    id: str
    base_currency: str
    quote_currency: str
    quantity_increment: str
    tick_size: str


_Message = _Update | _Snapshot | _Trades | _OldTrades | _Ticker
_decode: Callable[[str | bytes], _Message] = decoder(_Message)
_decode_symbols: Callable[[bytes], list[_Symbol]] = decoder(list[_Symbol])
_KINDS = {"updateOrderbook", "snapshotOrderbook", "updateTrades"}
_NAMES = {Channel.BOOK: "Orderbook", Channel.TRADES: "Trades"}


def _levels(levels: list[_Level]) -> list[Level]:
    return [(level.price, level.size) for level in levels]


class HitbtcV2(Hitbtc):
    protocol = "hitbtc.v2"
    websocket = {
        Channel.BOOK: "wss://api.hitbtc.com/api/2/ws/public",
        Channel.TRADES: "wss://api.hitbtc.com/api/2/ws/public",
    }
    instruments_paths = ("/api/2/public/symbol",)
    exchange_us = staticmethod(iso_us)

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[int, tuple[str, Channel]] = {}

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for symbol in symbols:
            for channel in channels:
                self._id += 1
                if verb == "subscribe":
                    self._asked[self._id] = symbol, channel
                params: dict[str, Any] = {"symbol": symbol}
                requests.append(message({"method": verb + _NAMES[channel], "params": params, "id": self._id}))
        return requests

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Update):
            book = content.params
            markets[book.symbol].delta(
                _levels(book.bid), _levels(book.ask), None, book.sequence, None, None, book.timestamp
            )
        elif isinstance(content, _Snapshot):
            book = content.params
            markets[book.symbol].snapshot(_levels(book.bid), _levels(book.ask), book.sequence, None, book.timestamp)
        elif isinstance(content, _Trades):
            market = markets[content.params.symbol]
            for trade in content.params.data:
                market.trade(trade.side, trade.price, trade.quantity, str(trade.id), trade.timestamp)
        elif isinstance(content, _Ticker):
            markets.unknown("ticker")

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"result": _, "id": number}:
                asked = self._asked.pop(number, None)
                if asked is not None:
                    markets.subscribed(*asked)
            case {"error": {"message": reason}}:
                symbol, _ = self._asked.pop(content.get("id", 0), (None, None))
                markets.refused(symbol, f"{reason}: {content['error'].get('description', '')}")
            case {"method": str(kind)}:
                if kind in _KINDS:
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown(kind)
            case _:
                markets.unknown("a message without method")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            spot(
                cls.exchange,
                listed.base_currency,
                listed.quote_currency,
                listed.id,
                listed.tick_size,
                listed.quantity_increment,
            )
            for listed in _decode_symbols(bodies[0])
        ]
