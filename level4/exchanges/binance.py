"""Binance spot, and the parts that Binance's other markets share (binance-spot-api-docs, web-socket-streams and
rest-api, 2026-07; also Binance.US).

* Native symbols have no separator: meaning comes from `baseAsset`, `quoteAsset` of exchangeInfo. Lower case in stream
  names.
* The combined endpoint `/stream` wraps payloads and names the stream. Acks carry only the request's id. **An unknown
  symbol is acknowledged and then silent.**
* Book: diffs every 100 ms with `U` and `u`, seeded by REST. Snapshots of at most 5000 levels (weight 5 for 100, 50 for
  1000, 250 for 5000); levels beyond are unknown until they change.
* Trades: `@trade`, one event per match, ids contiguous; `m` true: the buyer was the maker, so the taker sold.
  `aggTrade` is decoded as well. An `X` other than `MARKET` (insurance fund and the like) is not published.
* Nothing comes for an idle market, and the server's pings are no messages: ping frames of our own, which are allowed
  (they count as messages), prove the connection.
* At most 5 incoming messages a second, 300 connection attempts in 5 minutes, a cut after 24 hours, a ping frame every
  20 s. `serverShutdown` announces a restart. 6000 REST weight a minute for one address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar
from urllib.parse import quote

from msgspec import Struct, ValidationError, field

from level4.book import binance_spot, seeded_by_rest
from level4.exchanges.binance_instruments import instruments
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, message, milliseconds_us
from level4.model import Instrument, Level, Markets, Notice


class Depth(Struct, gc=False, tag_field="e", tag="depthUpdate"):
    E: int
    s: str
    U: int
    u: int
    b: list[Level]
    a: list[Level]
    pu: int | None = None
    """Futures and options: `u` of the update before."""


class Trade(Struct, gc=False, tag_field="e", tag="trade"):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    X: str = "MARKET"


class AggregateTrade(Struct, gc=False, tag_field="e", tag="aggTrade"):
    s: str
    a: int
    p: str
    q: str
    T: int
    m: bool


Payload = Depth | Trade | AggregateTrade


class _Wrapped(Struct, gc=False):
    data: Payload


class _Snapshot(Struct, gc=False, rename="camel"):
    last_update_id: int
    bids: list[Level]
    asks: list[Level]
    e: int | None = field(default=None, name="E")
    t: int | None = field(default=None, name="T")


_decode_wrapped: Callable[[str | bytes], _Wrapped] = decoder(_Wrapped)
_decode_payload: Callable[[str | bytes], Payload] = decoder(Payload)
_decode_snapshot: Callable[[str | bytes], _Snapshot] = decoder(_Snapshot)
_KINDS = {"depthUpdate", "trade", "aggTrade"}


class BinanceSpot(Scheme):
    protocol = "binance.spot"
    exchange = "BINANCE"
    websocket = {
        Channel.BOOK: "wss://stream.binance.com:9443/stream",
        Channel.TRADES: "wss://stream.binance.com:9443/stream",
    }
    rest = "https://api.binance.com"
    instruments_paths = ("/api/v3/exchangeInfo?permissions=SPOT&showPermissionSets=false",)
    limits = Limits(
        markets_per_connection=200,
        symbols_per_message=100,
        messages_per_second=2.0,
        connects=200,
        connects_seconds=300.0,
        silence_seconds=60.0,
        lifetime_seconds=24 * 3600.0,
        rest_weight_per_minute=4500,
        snapshot_weight=50,
        probe_weight=5,
    )
    sync = seeded_by_rest(joins=binance_spot, follows=binance_spot)
    contiguous_trade_ids = True
    exchange_us = staticmethod(milliseconds_us)
    ping_seconds = 25.0
    streams: ClassVar[dict[Channel, str]] = {Channel.BOOK: "@depth@100ms", Channel.TRADES: "@trade"}
    """What follows the symbol in a stream's name."""
    depth_path: ClassVar[str] = "/api/v3/depth"
    snapshot_levels: ClassVar[tuple[tuple[int, int], ...]] = ((100, 5), (1000, 50), (5000, 250))

    def __init__(self) -> None:
        self._id = 0
        self._requested: dict[int, tuple[Sequence[Channel], Sequence[str]]] = {}

    def ping(self) -> str | None:
        return None

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for batch in batches(symbols, self.limits.symbols_per_message):
            self._id += 1
            if verb == "subscribe":
                self._requested[self._id] = channels, batch
            streams = [symbol.lower() + self.streams[channel] for symbol in batch for channel in channels]
            requests.append(message({"method": verb.upper(), "params": streams, "id": self._id}))
        return requests

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            data: Payload = _decode_wrapped(frame).data
        except ValidationError:
            self.decode_other(frame, markets)
            return
        self.apply(data, markets)

    def apply(self, data: Payload, markets: Markets) -> None:
        if isinstance(data, Depth):
            markets[data.s].delta(data.b, data.a, data.U, data.u, data.pu, None, data.E)
        elif isinstance(data, Trade):
            if data.X == "MARKET":
                markets[data.s].trade("sell" if data.m else "buy", data.p, data.q, str(data.t), data.T)
        elif isinstance(data, AggregateTrade):
            markets[data.s].trade("sell" if data.m else "buy", data.p, data.q, str(data.a), data.T)

    def decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"result": None, "id": number}:
                channels, symbols = self._requested.pop(number, ((), ()))
                for symbol in symbols:
                    for channel in channels:
                        markets.subscribed(symbol, channel)
            case {"code": _, "msg": reason} | {"error": {"msg": reason}}:
                _, refused = self._requested.pop(content.get("id", 0), ((), ()))
                for name in refused or (None,):
                    markets.refused(name, str(reason))
            case {"e": "serverShutdown"} | {"data": {"e": "serverShutdown"}}:
                markets.notice(Notice.RECONNECT, "the exchange says: server shutdown")
            case {"e": str(kind)} if kind in _KINDS:
                self.apply(_decode_payload(frame), markets)  # not wrapped: the endpoint /ws
            case {"data": {"e": str(kind)}} if kind in _KINDS:
                _decode_wrapped(frame)  # of a known kind, but not its shape: raise
            case {"data": {"e": str(kind)}} | {"e": str(kind)}:
                markets.unknown(kind)
            case {"stream": str(name)}:
                markets.unknown(name.partition("@")[2] or name)
            case {"result": _}:
                pass
            case _:
                markets.unknown("a message without stream and event")

    def snapshot_path(self, symbol: str, levels: int | None = None) -> str:
        return f"{self.depth_path}?symbol={quote(symbol)}&limit={levels or 1000}"

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        snapshot = _decode_snapshot(body)
        time = snapshot.e or snapshot.t  # spot says neither, options only the second
        markets[symbol].snapshot(snapshot.bids, snapshot.asks, snapshot.last_update_id, exchange_time=time)

    def probe_path(self, symbol: str) -> str:
        return f"{self.depth_path}?symbol={quote(symbol)}&limit=10"

    def decode_probe(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        snapshot = _decode_snapshot(body)
        markets[symbol].snapshot(snapshot.bids, snapshot.asks, snapshot.last_update_id)

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return instruments(bodies[0])
