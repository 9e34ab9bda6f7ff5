"""Bitstamp spot, WebSocket v2 (bitstamp.net/websocket/v2 and /api, as read by third parties 2026-09; a recording of
2022-01).

* Symbols are lower case without separator; base and quote come from the list. The channel's name after its prefix is
  all that tells the market. **An unknown market is acknowledged and then silent.**
* `BitstampDiff`: `diff_order_book_`, the whole depth, seeded by REST. `microtimestamp` orders the channel and joins the
  two; there are no numbers and no checksum, so a lost diff cannot be seen.
* `BitstampTop`: `order_book_`, the 100 best levels whole in every message, about ten times a second. It heals itself,
  and comes more often than the diffs; live books use it, because REST was seen (2026-08) to hold asks that the diffs
  never take back, and a book made of both stayed crossed. The first frame comes with the next change, so REST gives
  the first book; what is not newer than the last message is left out.
* Trades: `type` 0 buy, 1 sell, the taker's side (agrees with the newer order id on 10 of 10 trades recorded); texts are
  `price_str` and `amount_str`, the numbers are floats. Nothing old comes on subscribing.
* One channel a message (client frames stay under 512 bytes), 1024 channels a connection. `bts:heartbeat` every 20 s:
  quiet books say nothing for 50 s. `bts:request_reconnect` means to do so within seconds. 10,000 REST requests in ten
  minutes. A connection may grow 90 days old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal
from urllib.parse import quote, urlsplit

from msgspec import Struct, ValidationError

from level4.book import seeded_by_rest
from level4.book.rules import newer, unproven
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, message, microseconds_us, spot, step
from level4.model import Instrument, Level, Markets, Notice


class _Data(Struct, gc=False):
    """Of a book or of a trade; acks have neither."""

    microtimestamp: str = ""
    bids: list[Level] = []
    asks: list[Level] = []
    id: int = 0
    type: Literal[0, 1] | None = None
    price_str: str = ""
    amount_str: str = ""


class _Frame(Struct, gc=False):
    event: str
    channel: str
    data: _Data


class _Snapshot(Struct, gc=False):
    timestamp: str
    bids: list[Level]
    asks: list[Level]
    microtimestamp: str | None = None


class _Listed(Struct):
    market_symbol: str
    base_currency: str
    counter_currency: str
    base_decimals: int
    counter_decimals: int
    trading: str = "Enabled"
    market_type: str = "SPOT"


_decode: Callable[[str | bytes], _Frame] = decoder(_Frame)
_decode_snapshot: Callable[[str | bytes], _Snapshot] = decoder(_Snapshot)
_decode_listed: Callable[[bytes], list[_Listed]] = decoder(list[_Listed])
_TRADES = "live_trades_"


class BitstampDiff(Scheme):
    protocol = "bitstamp.v2"
    exchange = "BITSTAMP"
    websocket = {Channel.BOOK: "wss://ws.bitstamp.net", Channel.TRADES: "wss://ws.bitstamp.net"}
    rest = "https://www.bitstamp.net"
    instruments_paths = ("/api/v2/markets/",)
    limits = Limits(
        markets_per_connection=100,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=30,
        connects_seconds=60.0,
        silence_seconds=60.0,
        rest_weight_per_minute=750,
    )
    sync = seeded_by_rest(joins=newer, follows=unproven)
    ping_seconds = 20.0
    exchange_us = staticmethod(microseconds_us)
    book: ClassVar[str] = "diff_order_book_"
    """What the name of the book's channel begins with."""

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        names = {Channel.BOOK: self.book, Channel.TRADES: _TRADES}
        return [
            message({"event": f"bts:{verb}", "data": {"channel": names[channel] + symbol}})
            for symbol in symbols
            for channel in channels
        ]

    def ping(self) -> str:
        return message({"event": "bts:heartbeat"})

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        event, name, data = content.event, content.channel, content.data
        if event == "data" and name.startswith(self.book):
            self._apply(name[len(self.book) :], int(data.microtimestamp), data, markets)
        elif event == "trade" and name.startswith(_TRADES):
            if data.type is None:
                raise ValueError("expected a trade with its type, got none")
            side: Literal["sell", "buy"] = "sell" if data.type else "buy"
            markets[name[len(_TRADES) :]].trade(
                side, data.price_str, data.amount_str, str(data.id), data.microtimestamp
            )
        else:
            self._decode_other(frame, markets)

    def _apply(self, symbol: str, time: int, data: _Data, markets: Markets) -> None:
        markets[symbol].delta(data.bids, data.asks, None, time, None, None, time)

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "bts:subscription_succeeded", "channel": str(name)}:
                for channel, prefix in ((Channel.BOOK, self.book), (Channel.TRADES, _TRADES)):
                    if name.startswith(prefix):
                        markets.subscribed(name.removeprefix(prefix), channel)
            case {"event": "bts:unsubscription_succeeded" | "bts:heartbeat"}:
                pass
            case {"event": "bts:request_reconnect"}:
                markets.notice(Notice.RECONNECT, "the exchange says: request reconnect")
            case {"event": "bts:error"}:
                named = [part for part in (self.book, _TRADES) if str(content.get("channel")).startswith(part)]
                symbol = str(content["channel"]).removeprefix(named[0]) if named else None
                markets.refused(symbol, str((content.get("data") or {}).get("message", "no reason given")))
            case {"event": "data" | "trade", "channel": str(name)} if name.startswith((self.book, _TRADES)):
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"event": str(event), "channel": str(name)}:
                markets.unknown(f"{event} {name.rpartition('_')[0]}")
            case _:
                markets.unknown("a message without event and channel")

    def snapshot_path(self, symbol: str, levels: int | None = None) -> str:
        return f"/api/v2/order_book/{quote(symbol)}/?group=1"

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        snapshot = _decode_snapshot(body)
        time = int(snapshot.microtimestamp or 0) or int(snapshot.timestamp) * 1_000_000
        markets[symbol].snapshot(snapshot.bids, snapshot.asks, time, None, time)

    @staticmethod
    def snapshot_symbol(url: str) -> str | None:
        *_, kind, symbol = ("", *urlsplit(url).path.rstrip("/").split("/"))
        return symbol if kind == "order_book" else None

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [
            spot(
                cls.exchange,
                listed.base_currency,
                listed.counter_currency,
                listed.market_symbol,
                step(listed.counter_decimals),
                step(listed.base_decimals),
                active=listed.trading == "Enabled",
            )
            for listed in _decode_listed(bodies[0])
            if listed.market_type == "SPOT"
        ]


class BitstampTop(BitstampDiff):
    protocol = "bitstamp.v2.top"
    sync = seeded_by_rest(joins=unproven, follows=unproven)
    heals = True
    book = "order_book_"

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}

    def _apply(self, symbol: str, time: int, data: _Data, markets: Markets) -> None:
        if time > self._newest.get(symbol, 0):
            self._newest[symbol] = time
            markets[symbol].snapshot(data.bids, data.asks, time, None, time)

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        snapshot = _decode_snapshot(body)
        data = _Data(snapshot.microtimestamp or "", snapshot.bids, snapshot.asks)
        self._apply(symbol, int(data.microtimestamp or 0) or int(snapshot.timestamp) * 1_000_000, data, markets)
