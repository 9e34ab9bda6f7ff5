"""bitFlyer Lightning: spot and the Crypto CFD `FX_BTC_JPY` (bf-lightning-api.readme.io, read 2026-11; a recording of
2021-12, a third party's probe of 2026-09).

* JSON-RPC. Two channels make a book: `lightning_board_snapshot_` sends it whole every five seconds for ever,
  `lightning_board_` the changes in between; both stay subscribed. Changes before the first whole book are ignored.
* Nothing is numbered and books bear no time. `mid_price` could test the top of a book, but the next whole book heals
  it within five seconds, and the touch was right on every change probed: it is not used.
* **Price 0 is not a level**: in an auction it tells of market orders.
* Trades: `side` is the taker's and empty in an auction; ids rise within a product. Nothing old comes on subscribing.
* Symbols: the list has no fields but code and type, so the code `BASE_QUOTE` is split; `FX_` marks the CFD, a perpetual
  with funding. Dated futures are history and not listed. Regions share one socket, their lists overlap.
* **An unknown product is acknowledged and then silent.** 500 REST requests in five minutes; pings come every 15 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct, ValidationError

from level4.book import seeded_in_stream
from level4.exchanges.scheme import Channel, Limits, Scheme
from level4.exchanges.wire import any_json, decoder, iso_us, literal, message, unified
from level4.model import Instrument, Level, Markets, MarketType, TakerSide


class _Level(Struct, gc=False):
    price: Any
    size: Any


class _Board(Struct, gc=False):
    bids: list[_Level]
    asks: list[_Level]


class _Execution(Struct, gc=False):
    id: int
    side: Literal["BUY", "SELL", ""]
    price: Any
    size: Any
    exec_date: str


class _Params(Struct, gc=False):
    channel: str
    message: _Board | list[_Execution]


class _Frame(Struct, gc=False):
    params: _Params


class _Market(Struct):
    product_code: str
    market_type: str = "Spot"


_decode: Callable[[str | bytes], _Frame] = decoder(_Frame)
_decode_markets: Callable[[bytes], list[_Market]] = decoder(list[_Market])
_SNAPSHOT, _BOARD, _TRADES = "lightning_board_snapshot_", "lightning_board_", "lightning_executions_"
_PREFIXES = {Channel.BOOK: (_SNAPSHOT, _BOARD), Channel.TRADES: (_TRADES,)}
_TAKERS: dict[str, TakerSide | None] = {"BUY": "buy", "SELL": "sell", "": None}
_ALREADY_SUBSCRIBED = -32009


def _levels(levels: list[_Level]) -> list[Level]:
    pairs = []
    for level in levels:
        price = literal(level.price)
        if price.strip("0."):
            pairs.append((price, literal(level.size)))
    return pairs


class Bitflyer(Scheme):
    protocol = "bitflyer.v1"
    exchange = "BITFLYER"
    websocket = {
        Channel.BOOK: "wss://ws.lightstream.bitflyer.com/json-rpc",
        Channel.TRADES: "wss://ws.lightstream.bitflyer.com/json-rpc",
    }
    rest = "https://api.bitflyer.com"
    instruments_paths = ("/v1/getmarkets", "/v1/getmarkets/usa", "/v1/getmarkets/eu")
    limits = Limits(
        markets_per_connection=50,
        symbols_per_message=1,
        messages_per_second=20.0,
        connects=12,
        connects_seconds=60.0,
        silence_seconds=45.0,
        rest_weight_per_minute=100,
    )
    sync = seeded_in_stream()
    exchange_us = staticmethod(iso_us)

    def __init__(self) -> None:
        self._id = 0
        self._requested: dict[int, tuple[str, Channel]] = {}

    def requests(self, verb: str, channels: Sequence[Channel], symbols: Sequence[str]) -> list[str]:
        requests = []
        for symbol in symbols:
            for channel in channels:
                for prefix in _PREFIXES[channel]:
                    self._id += 1
                    if verb == "subscribe":
                        self._requested[self._id] = symbol, channel
                    params = {"channel": prefix + symbol}
                    requests.append(message({"jsonrpc": "2.0", "method": verb, "params": params, "id": self._id}))
        return requests

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            content = _decode(frame).params
        except ValidationError:
            self._decode_other(frame, markets)
            return
        name, body = content.channel, content.message
        if isinstance(body, list):
            if not name.startswith(_TRADES):
                raise ValueError(f"expected a list on a channel of executions, got one on {name}")
            market = markets[name[len(_TRADES) :]]
            for execution in body:
                price, size = literal(execution.price), literal(execution.size)
                market.trade(_TAKERS[execution.side], price, size, str(execution.id), execution.exec_date)
        elif name.startswith(_SNAPSHOT):
            markets[name[len(_SNAPSHOT) :]].snapshot(_levels(body.bids), _levels(body.asks))
        elif name.startswith(_BOARD):
            markets[name[len(_BOARD) :]].delta(_levels(body.bids), _levels(body.asks))
        else:
            raise ValueError(f"expected a book on a channel of books, got one on {name}")

    def _decode_other(self, frame: str | bytes, markets: Markets) -> None:
        content = any_json(frame)
        match content:
            case {"result": _, "id": number}:
                asked = self._requested.pop(number, None)
                if asked is not None:
                    markets.subscribed(*asked)
            case {"error": {"code": code}}:
                asked = self._requested.pop(content.get("id") or 0, None)
                if code != _ALREADY_SUBSCRIBED:
                    reason = f"{content['error'].get('message')} (code {code})"
                    markets.refused(None if asked is None else asked[0], reason)
                elif asked is not None:
                    markets.subscribed(*asked)
            case {"params": {"channel": str(name)}}:
                if name.startswith((_BOARD, _TRADES)):
                    _decode(frame)  # of a known kind, but not its shape: raise
                markets.unknown("_".join(name.split("_")[:2]))
            case {"method": str(kind)}:
                markets.unknown(kind)
            case _:
                markets.unknown("a message without method")

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        listed = {market.product_code: market for body in bodies for market in _decode_markets(body)}
        return [_instrument(market) for market in listed.values() if market.market_type in ("Spot", "FX")]


def _instrument(market: _Market) -> Instrument:
    spot = market.market_type == "Spot"
    base, quote = market.product_code.removeprefix("FX_").split("_")
    settle = None if spot else quote
    return Instrument(
        exchange="BITFLYER",
        type=MarketType.SPOT if spot else MarketType.PERP,
        symbol=unified(base, quote, settle),
        native_symbol=market.product_code,
        base=base,
        quote=quote,
        settle=settle,
    )
