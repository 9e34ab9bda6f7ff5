"""Kraken spot, WebSocket v2 (docs.kraken.com, spot-websocket v2: book, trade, status; read 2026-11).

* Symbols are `BASE/QUOTE` in modern codes (`BTC/USD`). The REST list still speaks the old vocabulary: `wsname` is
  split at the slash and each leg renamed (`XBT` → `BTC`, `XDG` → `DOGE`); subscribing to `XBT/USD` is refused.
* Prices and quantities are JSON numbers whose texts enter the checksum, trailing zeros included.
* Book: snapshot in the stream, then updates, each with a CRC-32 over the top ten. There are no sequence numbers: the
  checksum is the proof. After each update the client cuts the book to the subscribed depth (that of the ack; 10 when
  there is none). Depth 1000: the checksum covers the top ten whatever the depth.
* Trades: `side` is the taker's; `trade_id` rises by one; a `snapshot` is history and is not published.
* About 150 connection attempts in 10 minutes for one address, then a ban of 10 minutes. A heartbeat comes every second
  once something is subscribed: 10 s of silence mean a dead connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from msgspec import Struct, ValidationError

from level4.book import KRAKEN_CHECKSUM
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, batches, decoder, iso_us, message, spot, step
from level4.model import Instrument, Level, Markets, Notice, TakerSide

DEPTH = 1000
CHANNEL_OF = {"book": Channel.BOOK, "trade": Channel.TRADES}
_MODERN = {"XBT": "BTC", "XDG": "DOGE"}


class _Quote(Struct, gc=False):
    price: Any
    qty: Any


class _Book(Struct, gc=False):
    symbol: str
    bids: list[_Quote]
    asks: list[_Quote]
    checksum: int
    timestamp: str | None = None


class _Trade(Struct, gc=False):
    symbol: str
    side: TakerSide
    price: Any
    qty: Any
    trade_id: int
    timestamp: str


class _Books(Struct, gc=False, tag_field="channel", tag="book"):
    type: Literal["update", "snapshot"]
    data: list[_Book]


class _Trades(Struct, gc=False, tag_field="channel", tag="trade"):
    type: Literal["update", "snapshot"]
    data: list[_Trade]


_decode: Callable[[str | bytes], _Books | _Trades] = decoder(_Books | _Trades)


def _levels(quotes: list[_Quote]) -> list[Level]:
    return [(str(quote.price), str(quote.qty)) for quote in quotes]


class KrakenSpotV2(Scheme):
    protocol = "kraken.v2"
    exchange = "KRAKEN"
    websocket = {Channel.BOOK: "wss://ws.kraken.com/v2", Channel.TRADES: "wss://ws.kraken.com/v2"}
    rest = "https://api.kraken.com"
    instruments_paths = ("/0/public/AssetPairs",)
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=50,
        messages_per_second=5.0,
        connects=100,
        connects_seconds=600.0,
        silence_seconds=10.0,
    )
    sync = KRAKEN_CHECKSUM
    contiguous_trade_ids = True
    exchange_us = staticmethod(iso_us)
    asset_class: ClassVar[str | None] = None
    """What the Unified WebSocket wants named in subscriptions."""

    def __init__(self) -> None:
        self._depths: dict[str, int] = {}

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for batch in batches(symbols, self.limits.symbols_per_message):
            for channel in channels:
                params: dict[str, Any] = {"channel": "trade", "symbol": batch}
                if channel is Channel.BOOK:
                    params = {"channel": "book", "symbol": batch, "depth": DEPTH}
                if self.asset_class is not None:
                    params["asset_class"] = self.asset_class
                if verb == "subscribe":
                    params["snapshot"] = channel is Channel.BOOK
                requests.append(message({"method": verb, "params": params}))
        return requests

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame)
        except ValidationError:
            self._decode_other(frame, markets)
            return
        if isinstance(content, _Books):
            if content.type == "update":
                for book in content.data:
                    markets[book.symbol].delta(
                        _levels(book.bids), _levels(book.asks), None, None, None, book.checksum, book.timestamp
                    )
            else:
                for book in content.data:
                    markets[book.symbol].snapshot(
                        _levels(book.bids),
                        _levels(book.asks),
                        None,
                        book.checksum,
                        book.timestamp,
                        self._depths.get(book.symbol, 10),
                    )
        elif content.type == "update":
            for trade in content.data:
                markets[trade.symbol].trade(
                    trade.side, str(trade.price), str(trade.qty), str(trade.trade_id), trade.timestamp
                )

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"channel": "heartbeat"} | {"method": "pong"}:
                pass
            case {"channel": "status", "data": [{"system": str(system)}, *_]}:
                if system == "maintenance":
                    markets.notice(Notice.MAINTENANCE, "the exchange says: maintenance")
                elif system == "online":
                    markets.notice(Notice.ONLINE, "the exchange says: online")
            case {"method": "subscribe", "success": True, "result": {"channel": str(channel), "symbol": str(symbol)}}:
                if channel == "book":
                    self._depths[symbol] = int(str(content["result"].get("depth", 10)))
                markets.subscribed(symbol, CHANNEL_OF.get(channel, channel))
            case {"method": "subscribe", "success": False}:
                markets.refused(content.get("symbol"), str(content.get("error", "no reason given")))
            case {"method": "unsubscribe"}:
                pass
            case {"channel": "book" | "trade"}:
                _decode(frame)  # of a known kind, but not its shape: raise
            case {"channel": str(kind)} | {"method": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without channel and method")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return [_instrument(pair, v1=False) for pair in _pairs(bodies[0])]


class AssetPair(Struct):
    """An entry of `GET /0/public/AssetPairs`, as far as it matters here."""

    pair_decimals: int
    lot_decimals: int
    wsname: str | None = None
    tick_size: str | None = None
    status: str = "online"


class _AssetPairs(Struct):
    result: dict[str, AssetPair]


_decode_pairs: Callable[[bytes], _AssetPairs] = decoder(_AssetPairs)


def _pairs(body: bytes) -> list[AssetPair]:
    """Without the dark pool (`.d`) and pairs that no WebSocket serves."""
    listed = _decode_pairs(body).result
    return [pair for key, pair in listed.items() if pair.wsname and "/" in pair.wsname and not key.endswith(".d")]


def _instrument(pair: AssetPair, *, v1: bool) -> Instrument:
    old = pair.wsname or ""
    base, quote = (_MODERN.get(leg, leg) for leg in old.split("/"))
    return spot(
        "KRAKEN",
        base,
        quote,
        old if v1 else f"{base}/{quote}",
        pair.tick_size or step(pair.pair_decimals),
        step(pair.lot_decimals),
        active=pair.status == "online",
    )


def instruments_v1(body: bytes) -> list[Instrument]:
    """The same list for the old protocol, whose native symbols are the `wsname`s."""
    return [_instrument(pair, v1=True) for pair in _pairs(body)]
