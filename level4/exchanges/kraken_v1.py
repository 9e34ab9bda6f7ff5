"""Kraken spot, WebSocket v1: frozen, still served; long recordings speak it (docs.kraken.com, spot-websocket v1).

* Pairs are `wsname`s (`XBT/USD`). Data are arrays `[channelID, payload…, channelName, pair]`; the last two name the
  market, the channelID does not.
* Book: `as`/`bs` whole, without checksum; `a`/`b` updates, both sides may be two objects in one frame, the checksum
  `c` (quoted) in the last. Rows are `[price, volume, time]`, a fourth element `"r"` marks a republished level and
  changes nothing. Cut to the subscribed depth after each update; the channel name tells it (`book-1000`).
* Trades: `[price, volume, time, b|s, order type, misc]`, taker side, no id. A first array after the ack whose times
  precede it is history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import KRAKEN_CHECKSUM
from level4.exchanges.kraken import CHANNEL_OF, DEPTH, KrakenSpotV2, instruments_v1
from level4.exchanges.scheme import Channel, Scheme
from level4.exchanges.wire import any_json, batches, decoder, message, seconds_us
from level4.model import Instrument, Level, Markets, Notice


class _Row(Struct, gc=False, array_like=True):
    price: str
    size: str
    time: str


class _Part(Struct, gc=False, rename={"asks": "as", "bids": "bs"}):
    asks: list[_Row] | None = None
    bids: list[_Row] | None = None
    a: list[_Row] = []
    b: list[_Row] = []
    c: str | None = None


class _Sale(Struct, gc=False, array_like=True):
    price: str
    size: str
    time: str
    side: Literal["b", "s"]


class _Data(Struct, gc=False, array_like=True):
    """`[id, part, name, pair]`, `[id, part, part, name, pair]` or `[id, trades, "trade", pair]`."""

    channel_id: int
    body: _Part | list[Any]
    third: _Part | str
    fourth: str
    fifth: str | None = None


_decode: Callable[[str | bytes], _Data] = decoder(_Data)
_decode_sales: Callable[[str | bytes], tuple[int, list[_Sale], str, str]] = decoder(tuple[int, list[_Sale], str, str])


def _levels(rows: list[_Row]) -> list[Level]:
    return [(row.price, row.size) for row in rows]


class KrakenSpotV1(Scheme):
    protocol = "kraken.v1"
    exchange = "KRAKEN"
    websocket = {Channel.BOOK: "wss://ws.kraken.com", Channel.TRADES: "wss://ws.kraken.com"}
    rest = KrakenSpotV2.rest
    instruments_paths = KrakenSpotV2.instruments_paths
    limits = KrakenSpotV2.limits
    sync = KRAKEN_CHECKSUM
    exchange_us = staticmethod(seconds_us)

    def __init__(self) -> None:
        self._acked_us: dict[str, int] = {}
        """When a pair's trades were acknowledged, until its first trades came."""

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        names = {Channel.BOOK: {"name": "book", "depth": DEPTH}, Channel.TRADES: {"name": "trade"}}
        return [
            message({"event": verb, "pair": batch, "subscription": names[channel]})
            for batch in batches(symbols, self.limits.symbols_per_message)
            for channel in channels
        ]

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            data = _decode(frame)
        except ValidationError:
            self._decode_other(frame, received_ns, markets)
            return
        part, second = data.body, None
        if isinstance(data.third, _Part):
            second, name, pair = data.third, data.fourth, data.fifth or ""
        else:
            name, pair = data.third, data.fourth
        if not isinstance(part, _Part):
            if name == "trade":
                self._trades(frame, markets)
            else:
                markets.unknown(name)
        elif not name.startswith("book-"):
            markets.unknown(name)
        elif part.asks is not None or part.bids is not None:
            markets[pair].snapshot(_levels(part.bids or []), _levels(part.asks or []), depth=int(name[5:]))
        else:
            bids, asks, checksum = part.b, part.a, part.c
            if second is not None:
                bids, asks, checksum = bids + second.b, asks + second.a, second.c or checksum
            markets[pair].delta(
                _levels(bids),
                _levels(asks),
                None,
                None,
                None,
                None if checksum is None else int(checksum),
                max([row.time for row in bids + asks], default=None),
            )

    def _trades(self, frame: str | bytes, markets: Markets) -> None:
        _, sales, _, pair = _decode_sales(frame)
        acked_us = self._acked_us.pop(pair, 0)
        if acked_us and all((seconds_us(sale.time) or 0) < acked_us for sale in sales):
            return  # history
        market = markets[pair]
        for sale in sales:
            market.trade("buy" if sale.side == "b" else "sell", sale.price, sale.size, None, sale.time)

    def _decode_other(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"event": "heartbeat" | "pong"}:
                pass
            case {"event": "systemStatus", "status": str(status)}:
                if status == "maintenance":
                    markets.notice(Notice.MAINTENANCE, "the exchange says: maintenance")
                elif status == "online":
                    markets.notice(Notice.ONLINE, "the exchange says: online")
            case {
                "event": "subscriptionStatus",
                "status": "subscribed",
                "pair": str(pair),
                "subscription": {"name": str(name)},
            }:
                if name == "trade":
                    self._acked_us[pair] = received_ns // 1000
                markets.subscribed(pair, CHANNEL_OF.get(name, name))
            case {"event": "subscriptionStatus", "status": "error"}:
                markets.refused(content.get("pair"), str(content.get("errorMessage", "no reason given")))
            case {"event": "subscriptionStatus"}:
                pass
            case {"event": str(kind)}:
                markets.unknown(kind)
            case [int(), *_, str(name), str()]:
                if name == "trade" or name.startswith("book-"):
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown(name)
            case _:
                markets.unknown("a message without event")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments_v1(bodies[0])
