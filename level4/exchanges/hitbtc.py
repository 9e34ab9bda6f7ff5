"""HitBTC v3: spot and perpetuals (api.hitbtc.com v3, probed by third parties 2026-09; recording of a white label 2021).

* The same software serves white labels (FMFW, Bequant, Changelly PRO) under other hosts.
* Symbols have no separator: the list tells base and quote, for perpetuals the base as `underlying`. All perpetuals are
  linear in base; `_BQX` ids are listed but not usable.
* Book `orderbook/full`: every level, snapshot and updates in the stream; `s` rises by one for each symbol. Snapshots
  may hold zero sizes. A symbol subscribed twice gets no new snapshot: it must be unsubscribed first.
* **An unknown symbol is no error**: it is missing from the ack's `subscriptions`, which names all symbols of the
  channel on this connection. Those asked for and not named there are refused.
* Trades: `snapshot` is history (none comes with `limit` 0); `s` is documented as the side of the trade, taken for the
  taker's (unproven: all recorded trades lie inside the spread). Ids may repeat.
* 10 messages a second; WebSocket pings every 30 s; quiet books say nothing for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import next_number
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, message, milliseconds_us, unified
from level4.model import Instrument, Level, Markets, MarketType, TakerSide


class _Book(Struct, gc=False):
    t: int
    s: int
    a: list[Level]
    b: list[Level]


class _Trade(Struct, gc=False):
    t: int
    i: int
    p: str
    q: str
    s: TakerSide


class _Books(Struct, gc=False, tag_field="ch", tag="orderbook/full"):
    update: dict[str, _Book] = {}
    snapshot: dict[str, _Book] = {}


class _Trades(Struct, gc=False, tag_field="ch", tag="trades"):
    update: dict[str, list[_Trade]] = {}
    snapshot: dict[str, list[_Trade]] = {}


class _Ticker(Struct, gc=False, tag_field="ch", tag="ticker/1s"):
    """Not asked for; named here because old recordings are full of it."""


class _Symbol(Struct):
    type: str
    quote_currency: str
    quantity_increment: str
    tick_size: str
    base_currency: str | None = None
    underlying: str | None = None
    contract_type: str | None = None
    expiry: str | None = None
    status: str = "working"


_Message = _Books | _Trades | _Ticker
_decode: Callable[[str | bytes], _Message] = decoder(_Message)
_decode_symbols: Callable[[bytes], dict[str, _Symbol]] = decoder(dict[str, _Symbol])
_NAMES = {Channel.BOOK: "orderbook/full", Channel.TRADES: "trades"}
_CHANNELS = {name: channel for channel, name in _NAMES.items()}


class Hitbtc(Scheme):
    protocol = "hitbtc.v3"
    exchange = "HITBTC"
    websocket = {
        Channel.BOOK: "wss://api.hitbtc.com/api/3/ws/public",
        Channel.TRADES: "wss://api.hitbtc.com/api/3/ws/public",
    }
    rest = "https://api.hitbtc.com"
    instruments_paths = ("/api/3/public/symbol",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=50,
        messages_per_second=5.0,
        connects=30,
        connects_seconds=60.0,
        silence_seconds=75.0,
        rest_weight_per_minute=600,
    )
    sync = seeded_in_stream(follows=next_number)
    exchange_us = staticmethod(milliseconds_us)

    def __init__(self) -> None:
        self._id = 0
        self._requested: dict[int, Sequence[str]] = {}

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for batch in batches(symbols, self.limits.symbols_per_message):
            for channel in channels:
                self._id += 1
                params: dict[str, Any] = {"symbols": batch}
                if verb == "subscribe":
                    self._requested[self._id] = batch
                    if channel is Channel.TRADES:
                        params["limit"] = 0
                requests.append(message({"method": verb, "ch": _NAMES[channel], "params": params, "id": self._id}))
        return requests

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Books):
            for symbol, book in content.update.items():
                markets[symbol].delta(book.b, book.a, None, book.s, None, None, book.t)
            for symbol, book in content.snapshot.items():
                markets[symbol].snapshot(book.b, book.a, book.s, None, book.t)
        elif isinstance(content, _Trades):
            for symbol, trades in content.update.items():
                for trade in trades:
                    markets[symbol].trade(trade.s, trade.p, trade.q, str(trade.i), trade.t)
        else:
            markets.unknown("ticker/1s")

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"result": {"ch": str(name), "subscriptions": list(symbols)}}:
                asked = self._requested.pop(content.get("id", 0), ())
                channel = _CHANNELS.get(name)
                for symbol in symbols if channel else ():
                    markets.subscribed(symbol, channel or "")
                for symbol in asked:
                    if symbol not in symbols:
                        markets.refused(symbol, f"{symbol} is not among the acknowledged subscriptions of {name}")
            case {"error": {"message": reason}}:
                reason = f"{reason}: {content['error'].get('description', '')}"
                for refused in self._requested.pop(content.get("id", 0), ()) or (None,):
                    markets.refused(refused, reason)
            case {"ch": "orderbook/full" | "trades"}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"ch": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without ch")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            _instrument(cls.exchange, symbol, listed)
            for symbol, listed in _decode_symbols(bodies[0]).items()
            if not symbol.endswith("_BQX") and (listed.base_currency or listed.underlying)
        ]


def _instrument(exchange: str, symbol: str, listed: _Symbol) -> Instrument:
    spot = listed.type == "spot"
    base = (listed.base_currency if spot else listed.underlying) or listed.base_currency or ""
    settle = None if spot else listed.quote_currency
    expiry = listed.expiry[:10] if listed.expiry else None
    return Instrument(
        exchange=exchange,
        type=MarketType.SPOT if spot else MarketType.FUTURE if expiry else MarketType.PERP,
        symbol=unified(base, listed.quote_currency, settle, expiry),
        native_symbol=symbol,
        base=base,
        quote=listed.quote_currency,
        settle=settle,
        expiry=expiry,
        tick=listed.tick_size,
        lot=listed.quantity_increment,
        active=listed.status == "working",
    )
