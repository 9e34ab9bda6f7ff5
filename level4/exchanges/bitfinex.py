"""Bitfinex: spot and perpetuals, WebSocket v2 (docs.bitfinex.com, ws-general, ws-public-books, ws-websocket-checksum,
2025-09; read 2026-11).

* Symbols are `t` and the pair: two codes of three letters without separator, others with a colon. Codes are Bitfinex's
  own (`UST` is USDT): the exchange's map is used, over a list of the known ones. Legs of perpetuals end in `F0`, which
  goes before the map is asked. All perpetuals are linear, their size in base. Test pairs are not listed.
* Everything is an array `[channel, payload, number, time]`; the channel's id is told by its ack and is the only route.
  Number and time are there when the answer to `conf` says so, whatever was asked for.
* The number rises by one with every array of the **connection**, heartbeats included (1669 of 1669 steps in a
  recording of 2021-04, no break in probes of 2026-09). A break cannot be blamed on a channel: it ends all books.
* Book P0 is the full precision, 250 levels the most there are; the server keeps the window. A list of rows is a
  snapshot, a single row an update; `[]` is an empty snapshot. Count 0 deletes, and then the amount (±1) is only the
  side. `cs` proves the top 25 every 2.5 s, from the number texts as received, so exponents are kept in the book.
* Trades come as `te` and 50 ms later as `tu`: the first of an id counts. The sign of the amount is the taker's side.
  The list after subscribing is history.
* 20 connections a minute; 25 channels on each; `hb` on every channel every 15 s. An unsubscription needs the channel's
  id: before its ack there is none, and what then still comes for the symbol is dropped by the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import ValidationError

from level4.book import BitfinexChecksum, seeded_in_stream
from level4.exchanges.bitfinex_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, MarketSink, Notice

TIMESTAMP: Final = 32768
SEQUENCE: Final = 65536
CHECKSUM: Final = 131072
_REMEMBERED = 1000
"""Trade ids kept for each channel: a `tu` follows its `te` at once."""


_decode: Callable[[str | bytes], list[Any]] = decoder(list[Any])
_NAMES = {
    Channel.BOOK: {"channel": "book", "prec": "P0", "freq": "F0", "len": "250"},
    Channel.TRADES: {"channel": "trades"},
}
_NOTICES = {20051: Notice.RECONNECT, 20060: Notice.MAINTENANCE, 20061: Notice.ONLINE}


def _text(number: Any) -> str:
    """A number as received: the checksum is made of it."""
    if type(number) is str and number:
        return number
    return str(_integer(number))


def _integer(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"expected a number, got {str(number)[:60]!r}")
    return number


class Bitfinex(Scheme):
    protocol = "bitfinex.v2"
    exchange = "BITFINEX"
    websocket = {
        Channel.BOOK: "wss://api-pub.bitfinex.com/ws/2",
        Channel.TRADES: "wss://api-pub.bitfinex.com/ws/2",
    }
    rest = "https://api-pub.bitfinex.com"
    instruments_paths = (
        "/v2/conf/pub:list:pair:exchange",
        "/v2/conf/pub:list:pair:futures",
        "/v2/conf/pub:map:currency:sym",
    )
    limits = Limits(
        markets_per_connection=12,
        symbols_per_message=1,
        messages_per_second=15.0,
        connects=15,
        connects_seconds=60.0,
        silence_seconds=35.0,
        rest_weight_per_minute=90,
    )
    sync = seeded_in_stream(checksum=BitfinexChecksum, connection_sequence=True)
    exchange_us = staticmethod(milliseconds_us)

    def __init__(self) -> None:
        self._flags = 0
        self._channels: dict[int, tuple[str, str]] = {}
        """Channel id → name, symbol."""
        self._trades: dict[int, dict[Any, None]] = {}
        """Channel id → ids of the last trades."""

    def greeting(self) -> list[str]:
        return [message({"event": "conf", "flags": TIMESTAMP | SEQUENCE | CHECKSUM})]

    def subscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        return [
            message({"event": "subscribe", "symbol": symbol, **_NAMES[channel]})
            for symbol in symbols
            for channel in channels
        ]

    def unsubscribe(self, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        names = {(_NAMES[channel]["channel"], symbol) for channel in channels for symbol in symbols}
        return [
            message({"event": "unsubscribe", "chanId": number})
            for number, name in self._channels.items()
            if name in names
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            data = _decode(frame)
        except ValidationError:
            self._event(frame, markets)
            return
        if len(data) < 2 + bool(self._flags):
            raise ValueError(f"expected [channel, payload, …], got {data}")
        flags, time = self._flags, None
        if flags & TIMESTAMP:
            time = _integer(data.pop())
        if flags & SEQUENCE:
            markets.sequence(_integer(data[-1]))
        channel, body, *rest = data
        name, symbol = self._channels.get(_integer(channel), ("an array of an unknown channel", ""))
        if name == "book":
            market = markets[symbol]
            if isinstance(body, list):
                _apply(market, body, time)
            elif body == "hb":
                market.heartbeat()
            elif body == "cs":
                if flags & CHECKSUM:
                    market.delta([], [], checksum=_integer(_columns(rest, 1)[0]), exchange_time=time)
            else:
                markets.unknown(f"book {body}")
        elif body == "hb":
            pass
        elif name == "trades":
            if body in ("te", "tu"):
                self._trade(channel, markets[symbol], _columns(rest, 1)[0])
            elif not isinstance(body, list):  # a list is history
                markets.unknown(f"trades {body}")
        else:
            markets.unknown(name)

    def _trade(self, channel: int, market: MarketSink, trade: Any) -> None:
        number, time, amount, price = _columns(trade, 4)
        _integer(number)
        known = self._trades[channel]
        if number in known:
            return
        known[number] = None
        if len(known) > _REMEMBERED:
            del known[next(iter(known))]
        size = _text(amount)
        market.trade("sell" if size[0] == "-" else "buy", _text(price), size.lstrip("-"), str(number), time)

    def _event(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "conf", "status": "OK", "flags": int(flags)}:
                self._flags = flags
            case {"event": "conf"}:
                self._flags = 0
            case {"event": "subscribed", "chanId": int(number), "channel": str(name)}:
                symbol = str(content.get("symbol", ""))
                if name == "trades" or (name == "book" and content.get("prec") != "R0"):
                    markets.subscribed(symbol, Channel.BOOK if name == "book" else Channel.TRADES)
                else:
                    name += " of another kind" if name == "book" else ""
                self._channels[number] = name, symbol
                self._trades[number] = {}
            case {"event": "unsubscribed", "chanId": int(number)}:
                self._channels.pop(number, None)
                self._trades.pop(number, None)
            case {"event": "error", "code": 10301 | 10400}:
                pass  # subscribed already, or not at all: as wished
            case {"event": "error"}:
                markets.refused(content.get("symbol"), f"{content.get('msg')} (code {content.get('code')})")
            case {"event": "info", "code": int(code)}:
                if code in _NOTICES:
                    markets.notice(_NOTICES[code], f"the exchange says: {content.get('msg')} (code {code})")
                else:
                    markets.unknown(f"info {code}")
            case {"event": "info", "platform": {"status": 0}}:
                markets.notice(Notice.MAINTENANCE, "the exchange says: platform status 0")
            case {"event": "info" | "pong"}:
                pass
            case {"event": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without event")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(bodies)


def _columns(row: Any, count: int) -> list[Any]:
    """The first columns of a row: more may be added."""
    if type(row) is not list or len(row) < count:
        raise ValueError(f"expected a row of {count} columns, got {str(row)[:60]}")
    return row[:count]


def _apply(market: MarketSink, body: list[Any], time: Any) -> None:
    """One row changes, a list of rows replaces the book."""
    if body and not isinstance(body[0], list):
        price, count, amount = _columns(body, 3)
        size = _text(amount)
        bid = size[0] != "-"
        level = [(_text(price), (size if bid else size[1:]) if count else "0")]
        market.delta(level if bid else [], [] if bid else level, None, None, None, None, time)
        return
    bids: list[Level] = []
    asks: list[Level] = []
    for row in body:
        price, count, amount = _columns(row, 3)
        size = _text(amount)
        (asks if size[0] == "-" else bids).append((_text(price), size.lstrip("-") if count else "0"))
    market.snapshot(bids, asks, exchange_time=time)
