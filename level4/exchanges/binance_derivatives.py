"""Binance USD-M, COIN-M and options (developers.binance.com and the official connector, 2026-08).

* Book: diffs with `U`, `u` and `pu`, the `u` before; `U` says nothing. REST snapshot as on spot. Streams `depth5`,
  `depth10`, `depth20` are whole books in the same message: only the stream's name tells them apart.
* USD-M is split by route since 2026-04: the book comes on `/public`, `aggTrade` on `/market`. A stream on the wrong
  route is acknowledged and then silent. Options moved to `/public` in 2025-12, book and trades.
* COIN-M, routes contested: the documentation, the connector and most clients use no route, one report of 2026-05 got
  trades only on `/market`. Default: no route; the addresses can be overridden for each channel.
* USD-M, COIN-M trades: `aggTrade`, fills of 100 ms with one price and taker side, ids contiguous. The raw `trade` is
  undocumented, some call it silent (2026); decoded, not asked for. Retail fills count in `q` though their orders are
  in no book, so trades may print inside the spread. An `X` other than `MARKET` (insurance, ADL, block) is dropped.
* Options are often idle: the snapshot is the book until a first update proves or refutes it. Snapshots have at
  most 1000 levels a side, of weight 20 (50 levels: 2, of options 1).
* COIN-M counts contracts of `contractSize` USD. Perpetuals carry a dummy delivery date (2100-12-25); a perpetual that
  is being delisted may carry a real one.
* 10 incoming messages a second; 200 streams a connection (some pages say 1024); a cut after 24 hours. USD-M and COIN-M
  share 2400 REST weight a minute for one address; options have as much for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

from msgspec import Struct, ValidationError

from level4.book import seeded_by_rest
from level4.book.rules import binance_futures, binance_futures_joins
from level4.exchanges.binance import BinanceSpot, Depth, Payload
from level4.exchanges.binance_instruments import contracts, options
from level4.exchanges.scheme import Channel
from level4.exchanges.wire import decoder
from level4.model import Instrument, Markets


class _Named(Struct, gc=False):
    stream: str
    data: Payload


_decode_named: Callable[[str | bytes], _Named] = decoder(_Named)


class BinanceUsdm(BinanceSpot):
    protocol = "binance.usdm"
    websocket = {
        Channel.BOOK: "wss://fstream.binance.com/public/stream",
        Channel.TRADES: "wss://fstream.binance.com/market/stream",
    }
    rest = "https://fapi.binance.com"
    instruments_paths = ("/fapi/v1/exchangeInfo",)
    limits = replace(
        BinanceSpot.limits,
        markets_per_connection=100,
        messages_per_second=5.0,
        rest_weight_per_minute=1800,
        rest_budget="fapi.binance.com",
        snapshot_weight=20,
    )
    sync = seeded_by_rest(joins=binance_futures_joins, follows=binance_futures)
    streams = {Channel.BOOK: "@depth@100ms", Channel.TRADES: "@aggTrade"}
    depth_path = "/fapi/v1/depth"
    snapshot_levels = ((50, 2), (1000, 20))
    inverse: ClassVar[bool] = False

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        try:
            named = _decode_named(frame)
        except ValidationError:
            self.decode_other(frame, markets)
            return
        data = named.data
        if isinstance(data, Depth) and named.stream.partition("@depth")[2][:1].isdecimal():
            markets[data.s].snapshot(data.b, data.a, data.u, exchange_time=data.E)
        else:
            self.apply(data, markets)

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return contracts(bodies[0], inverse=cls.inverse)


class BinanceCoinm(BinanceUsdm):
    protocol = "binance.coinm"
    websocket = {
        Channel.BOOK: "wss://dstream.binance.com/stream",
        Channel.TRADES: "wss://dstream.binance.com/stream",
    }
    rest = "https://dapi.binance.com"
    instruments_paths = ("/dapi/v1/exchangeInfo",)
    depth_path = "/dapi/v1/depth"
    inverse = True


class BinanceOptions(BinanceUsdm):
    protocol = "binance.options"
    websocket = {
        Channel.BOOK: "wss://fstream.binance.com/public/stream",
        Channel.TRADES: "wss://fstream.binance.com/public/stream",
    }
    rest = "https://eapi.binance.com"
    instruments_paths = ("/eapi/v1/exchangeInfo",)
    limits = replace(BinanceUsdm.limits, rest_budget=None)
    contiguous_trade_ids = False  # block trades take ids too, and are not published
    streams = {Channel.BOOK: "@depth@100ms", Channel.TRADES: "@optionTrade"}
    depth_path = "/eapi/v1/depth"
    snapshot_levels = ((50, 1), (1000, 20))

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        return options(bodies[0])
