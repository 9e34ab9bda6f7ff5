"""Which protocols exist, and which of them serve a market: the table that everything else is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from level4.exchanges.binance import BinanceSpot
from level4.exchanges.binance_derivatives import BinanceCoinm, BinanceOptions, BinanceUsdm
from level4.exchanges.bitfinex import Bitfinex
from level4.exchanges.bitflyer import Bitflyer
from level4.exchanges.bitmex import Bitmex
from level4.exchanges.bitstamp import BitstampDiff, BitstampTop
from level4.exchanges.bybit import BybitInverse, BybitLinear, BybitOption, BybitSpot, BybitV5
from level4.exchanges.bybit_v2 import BybitV2
from level4.exchanges.coinbase import CoinbaseExchange
from level4.exchanges.coinbase_advanced import CoinbaseAdvanced
from level4.exchanges.deribit import Deribit
from level4.exchanges.gemini import Gemini
from level4.exchanges.gemini_v2 import GeminiV2
from level4.exchanges.hitbtc import Hitbtc
from level4.exchanges.hitbtc_v2 import HitbtcV2
from level4.exchanges.hyperliquid import Hyperliquid
from level4.exchanges.kraken import KrakenSpotV2
from level4.exchanges.kraken_futures import KrakenFuturesV1
from level4.exchanges.kraken_unified import KrakenFuturesV2
from level4.exchanges.kraken_v1 import KrakenSpotV1
from level4.exchanges.okx import Okx, OkxRest
from level4.exchanges.poloniex import Poloniex
from level4.exchanges.scheme import Scheme
from level4.model import ConfigError, MarketType

SchemeClass = type[Scheme]

PROTOCOLS: Final[dict[str, SchemeClass]] = {
    scheme.protocol: scheme
    for scheme in (
        BinanceCoinm,
        BinanceOptions,
        BinanceSpot,
        BinanceUsdm,
        Bitfinex,
        Bitflyer,
        Bitmex,
        BitstampDiff,
        BitstampTop,
        BybitInverse,
        BybitLinear,
        BybitOption,
        BybitSpot,
        BybitV2,
        BybitV5,
        CoinbaseAdvanced,
        CoinbaseExchange,
        Deribit,
        Gemini,
        GeminiV2,
        Hitbtc,
        HitbtcV2,
        Hyperliquid,
        KrakenFuturesV1,
        KrakenFuturesV2,
        KrakenSpotV1,
        KrakenSpotV2,
        Okx,
        OkxRest,
        Poloniex,
    )
}


@dataclass(frozen=True, slots=True)
class Venue:
    """One exchange's markets of one type, and the schemes of their book and trades (often the same)."""

    exchange: str
    type: MarketType
    book: SchemeClass
    trades: SchemeClass


VENUES: Final[dict[tuple[str, MarketType], Venue]] = {
    (venue.exchange, venue.type): venue
    for venue in (
        Venue("BINANCE", MarketType.SPOT, BinanceSpot, BinanceSpot),
        Venue("BINANCE", MarketType.PERP, BinanceUsdm, BinanceUsdm),
        Venue("BINANCE", MarketType.FUTURE, BinanceUsdm, BinanceUsdm),
        Venue("BINANCE", MarketType.INVERSE, BinanceCoinm, BinanceCoinm),
        Venue("BINANCE", MarketType.OPTION, BinanceOptions, BinanceOptions),
        Venue("BITFINEX", MarketType.SPOT, Bitfinex, Bitfinex),
        Venue("BITFINEX", MarketType.PERP, Bitfinex, Bitfinex),
        Venue("BITFLYER", MarketType.SPOT, Bitflyer, Bitflyer),
        Venue("BITFLYER", MarketType.PERP, Bitflyer, Bitflyer),
        Venue("BITMEX", MarketType.SPOT, Bitmex, Bitmex),
        Venue("BITMEX", MarketType.PERP, Bitmex, Bitmex),
        Venue("BITMEX", MarketType.FUTURE, Bitmex, Bitmex),
        Venue("BITMEX", MarketType.INVERSE, Bitmex, Bitmex),
        Venue("BITSTAMP", MarketType.SPOT, BitstampTop, BitstampTop),
        Venue("BYBIT", MarketType.SPOT, BybitSpot, BybitSpot),
        Venue("BYBIT", MarketType.PERP, BybitLinear, BybitLinear),
        Venue("BYBIT", MarketType.FUTURE, BybitLinear, BybitLinear),
        Venue("BYBIT", MarketType.INVERSE, BybitInverse, BybitInverse),
        Venue("BYBIT", MarketType.OPTION, BybitOption, BybitOption),
        Venue("COINBASE", MarketType.SPOT, CoinbaseAdvanced, CoinbaseExchange),
        Venue("DERIBIT", MarketType.SPOT, Deribit, Deribit),
        Venue("DERIBIT", MarketType.PERP, Deribit, Deribit),
        Venue("DERIBIT", MarketType.FUTURE, Deribit, Deribit),
        Venue("DERIBIT", MarketType.INVERSE, Deribit, Deribit),
        Venue("DERIBIT", MarketType.OPTION, Deribit, Deribit),
        Venue("GEMINI", MarketType.SPOT, Gemini, Gemini),
        Venue("HITBTC", MarketType.SPOT, Hitbtc, Hitbtc),
        Venue("HITBTC", MarketType.PERP, Hitbtc, Hitbtc),
        Venue("HYPERLIQUID", MarketType.SPOT, Hyperliquid, Hyperliquid),
        Venue("HYPERLIQUID", MarketType.PERP, Hyperliquid, Hyperliquid),
        Venue("KRAKEN", MarketType.SPOT, KrakenSpotV2, KrakenSpotV2),
        Venue("KRAKEN", MarketType.PERP, KrakenFuturesV1, KrakenFuturesV1),
        Venue("KRAKEN", MarketType.FUTURE, KrakenFuturesV1, KrakenFuturesV1),
        Venue("KRAKEN", MarketType.INVERSE, KrakenFuturesV1, KrakenFuturesV1),
        Venue("OKX", MarketType.SPOT, Okx, Okx),
        Venue("OKX", MarketType.PERP, Okx, Okx),
        Venue("OKX", MarketType.FUTURE, Okx, Okx),
        Venue("OKX", MarketType.INVERSE, Okx, Okx),
        Venue("OKX", MarketType.OPTION, Okx, Okx),
        Venue("POLONIEX", MarketType.SPOT, Poloniex, Poloniex),
    )
}


def venue(exchange: str, type_: MarketType, protocols: Mapping[str, str] | None = None) -> Venue:
    """The schemes for an exchange's markets of a type. `protocols` chooses others: `KRAKEN.SPOT` → `kraken.v1`.
    Raises ConfigError with what is known."""
    found = VENUES.get((exchange.upper(), type_))
    if found is None:
        exchanges = sorted({name for name, _ in VENUES})
        if exchange.upper() not in exchanges:
            near = get_close_matches(exchange.upper(), exchanges, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown exchange {exchange!r}: known are {', '.join(exchanges)}{hint}")
        types = [str(kind) for name, kind in VENUES if name == exchange.upper()]
        raise ConfigError(f"{exchange.upper()} has no {type_} markets here: known are {', '.join(types)}")
    chosen = (protocols or {}).get(f"{found.exchange}.{found.type}")
    if chosen is None:
        return found
    scheme = PROTOCOLS.get(chosen)
    if scheme is None or scheme.exchange != found.exchange or not scheme.websocket:
        own = [known for known in PROTOCOLS.values() if known.exchange == found.exchange]
        allowed = sorted(known.protocol for known in own if known.websocket)
        raise ConfigError(f"{found.exchange}.{found.type}: unknown protocol {chosen!r}: known are {', '.join(allowed)}")
    return Venue(found.exchange, found.type, scheme, scheme)
