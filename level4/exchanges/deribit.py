"""Deribit, JSON-RPC 2.0 over WebSocket (docs.deribit.com, API v2.1.1, read 2026).

* One protocol and address for options, futures, perpetuals and spot. Key is `instrument_name`, taken as it is (a
  decimal point in a strike is a small `d`, days have no leading zero).
* Book: `book.<name>.100ms`, full depth. Whole when `type` is `snapshot`, also with a `prev_change_id`, and when
  `prev_change_id` is missing or 0, also as `change` (both seen); else `prev_change_id` must be the last `change_id`.
  The action of a row claims nothing that its amount does not say. Grouped channels (`book.<name>.none.20.100ms`) have
  rows of two and are whole books. Numbers are JSON literals, spelled in several ways.
* Without a login only `100ms` and `agg2`; one `raw` channel makes the whole request fail.
* Trades: `direction` is the taker's. Ids are opaque. Blocks and liquidations are published with the side given; `legs`
  of a combo's trade are no trades, each comes on its own instrument too.
* **An unknown instrument is missing from `result`**, without an error.
* Heartbeats are opt-in and then must be answered at once; instead the client asks `public/test` itself, which keeps the
  connection and proves it. Subscribing costs 3000 of 30000 credits, refilled at 10000 a second (with login; without,
  unknown and lower); too many requests close the connection. 32 connections for one address, REST included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.book.rules import names_previous
from level4.exchanges.deribit_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, literal, message, milliseconds_us
from level4.model import Instrument, Level, Markets, TakerSide


class _Row(Struct, gc=False, array_like=True):
    """`[action, price, amount]`; grouped `[price, amount]`."""

    first: Any
    second: Any
    third: Any = None


class _Book(Struct, gc=False):
    instrument_name: str
    change_id: int
    bids: list[_Row]
    asks: list[_Row]
    timestamp: int
    type: Literal["snapshot", "change"] | None = None
    prev_change_id: int | None = None


class _Trade(Struct, gc=False):
    instrument_name: str
    direction: TakerSide
    price: Any
    amount: Any
    trade_id: str
    timestamp: int


class _Params(Struct, gc=False):
    channel: str
    data: _Book | list[_Trade]


class _Notification(Struct, gc=False):
    params: _Params


_decode: Callable[[str | bytes], _Notification] = decoder(_Notification)
_NAMES = {Channel.BOOK: "book", Channel.TRADES: "trades"}
_CHANNELS = {"book": Channel.BOOK, "trades": Channel.TRADES}


def _levels(rows: list[_Row]) -> list[Level]:
    return [
        (literal(row.first), literal(row.second)) if row.third is None else (literal(row.second), literal(row.third))
        for row in rows
    ]


class Deribit(Scheme):
    protocol = "deribit.v2"
    exchange = "DERIBIT"
    websocket = dict.fromkeys(Channel, "wss://www.deribit.com/ws/api/v2")
    rest = "https://www.deribit.com"
    instruments_paths = ("/api/v2/public/get_instruments?currency=any&expired=false",)
    limits = Limits(
        markets_per_connection=250,
        symbols_per_message=50,
        messages_per_second=2.0,
        connects=20,
        connects_seconds=60.0,
        silence_seconds=40.0,
        rest_weight_per_minute=60,
    )
    sync = seeded_in_stream(follows=names_previous)
    exchange_us = staticmethod(milliseconds_us)
    ping_seconds = 15.0

    def __init__(self) -> None:
        self._id = 0
        self._requested: dict[int, list[str]] = {}
        """Channels asked for, by request, until answered."""

    def ping(self) -> str:
        return self._call("public/test", {})

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for batch in batches(symbols, self.limits.symbols_per_message):
            names = [f"{_NAMES[channel]}.{symbol}.100ms" for symbol in batch for channel in channels]
            requests.append(self._call(f"public/{verb}", {"channels": names}))
            if verb == "subscribe":
                self._requested[self._id] = names
        return requests

    def _call(self, method: str, params: dict[str, Any]) -> str:
        self._id += 1
        return message({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            data = _decode(frame).params.data
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(data, _Book):
            bids, asks, previous = _levels(data.bids), _levels(data.asks), data.prev_change_id
            if previous and data.type != "snapshot":
                markets[data.instrument_name].delta(bids, asks, None, data.change_id, previous, None, data.timestamp)
            else:
                markets[data.instrument_name].snapshot(bids, asks, data.change_id, exchange_time=data.timestamp)
        else:
            for trade in data:
                price, size = literal(trade.price), literal(trade.amount)
                markets[trade.instrument_name].trade(trade.direction, price, size, trade.trade_id, trade.timestamp)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"id": number, "result": list(accepted)}:
                for name in self._requested.pop(number, ()):
                    kind, _, symbol = name.removesuffix(".100ms").partition(".")
                    if name in accepted:
                        markets.subscribed(symbol, _CHANNELS[kind])
                    else:
                        markets.refused(symbol, f"{name} is not among the channels accepted")
            case {"error": error}:
                reason = f"{error.get('message', 'no reason given')} ({error.get('code')})"
                names = self._requested.pop(content.get("id", 0), [])
                refused = {name.removesuffix(".100ms").partition(".")[2]: None for name in names}
                for each in refused or (None,):
                    markets.refused(each, reason)
            case {"id": _, "result": _} | {"method": "heartbeat"}:
                pass
            case {"params": {"channel": str(name)}} if name.startswith(("book.", "trades.")):
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"params": {"channel": str(name)}}:
                markets.unknown(name.partition(".")[0])
            case {"method": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without id and method")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [instrument for body in bodies for instrument in instruments(body)]
