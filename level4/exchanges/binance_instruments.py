"""Instruments of Binance: `exchangeInfo` of spot, USD-M, COIN-M and options (2026-08).

* Symbols have no separator: meaning comes from the assets that the list names. Tick and lot stand in filters.
* Perpetuals carry a dummy delivery date (2100-12-25); one that is being delisted may carry a real one.
* COIN-M counts contracts of `contractSize` USD, options contracts of `unit` of the base; the others the base itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from level4.exchanges.wire import decoder, literal, spot, unified, utc_date
from level4.model import Instrument, MarketType
from level4.model.decimals import plain

_NEVER = 4133404800000
"""The delivery date of perpetuals."""


class _Filter(Struct, rename="camel"):
    """Of `exchangeInfo`: where tick and lot stand."""

    filter_type: str
    tick_size: str | None = None
    step_size: str | None = None


class _Symbol(Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter] = []


class _ExchangeInfo(Struct):
    symbols: list[_Symbol]


def _steps(filters: list[_Filter]) -> tuple[str | None, str | None]:
    """Tick and lot."""
    tick = next((entry.tick_size for entry in filters if entry.filter_type == "PRICE_FILTER"), None)
    lot = next((entry.step_size for entry in filters if entry.filter_type == "LOT_SIZE"), None)
    return tick, lot


class _Contract(Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    delivery_date: int
    contract_type: str = ""
    status: str = ""
    contract_status: str = ""
    contract_size: Any = None
    filters: list[_Filter] = []


class _Contracts(Struct):
    symbols: list[_Contract]


class _Option(Struct, rename="camel"):
    symbol: str
    underlying: str
    side: str
    strike_price: str
    expiry_date: int
    quote_asset: str
    unit: Any = 1
    status: str = "TRADING"
    filters: list[_Filter] = []


class _Underlying(Struct, rename="camel"):
    underlying: str
    base_asset: str
    settle_asset: str


class _Options(Struct, rename="camel"):
    option_contracts: list[_Underlying]
    option_symbols: list[_Option]


_decode_info: Callable[[bytes], _ExchangeInfo] = decoder(_ExchangeInfo)
_decode_contracts: Callable[[bytes], _Contracts] = decoder(_Contracts)
_decode_options: Callable[[bytes], _Options] = decoder(_Options)


def instruments(body: bytes) -> list[Instrument]:
    """Spot."""
    found = []
    for listed in _decode_info(body).symbols:
        base, quote, traded = listed.base_asset, listed.quote_asset, listed.status == "TRADING"
        found.append(spot("BINANCE", base, quote, listed.symbol, *_steps(listed.filters), active=traded))
    return found


def contracts(body: bytes, *, inverse: bool) -> list[Instrument]:
    """Perpetuals and dated futures, of USD-M or (inverse) COIN-M."""
    return [_contract(listed, inverse=inverse) for listed in _decode_contracts(body).symbols]


def options(body: bytes) -> list[Instrument]:
    listing = _decode_options(body)
    underlyings = {each.underlying: each for each in listing.option_contracts}
    return [
        _option(listed, underlyings[listed.underlying])
        for listed in listing.option_symbols
        if listed.underlying in underlyings
    ]


def _contract(listed: _Contract, *, inverse: bool) -> Instrument:
    perpetual = listed.contract_type.endswith("PERPETUAL") or listed.delivery_date >= _NEVER
    expiry = None if perpetual else utc_date(listed.delivery_date)
    linear = MarketType.PERP if perpetual else MarketType.FUTURE
    tick, lot = _steps(listed.filters)
    return Instrument(
        exchange="BINANCE",
        type=MarketType.INVERSE if inverse else linear,
        symbol=unified(listed.base_asset, listed.quote_asset, listed.margin_asset, expiry),
        native_symbol=listed.symbol,
        base=listed.base_asset,
        quote=listed.quote_asset,
        settle=listed.margin_asset,
        expiry=expiry,
        tick=tick,
        lot=lot,
        contract_size=literal(listed.contract_size) if inverse else None,
        size_unit="contracts" if inverse else "base",
        trade_kind="aggregate",
        active=(listed.contract_status or listed.status) == "TRADING",
    )


def _option(listed: _Option, underlying: _Underlying) -> Instrument:
    base, quote, settle = underlying.base_asset, listed.quote_asset, underlying.settle_asset
    expiry, strike, right = utc_date(listed.expiry_date), plain(listed.strike_price), listed.side[:1]
    tick, lot = _steps(listed.filters)
    return Instrument(
        exchange="BINANCE",
        type=MarketType.OPTION,
        symbol=unified(base, quote, settle, expiry, strike, right),
        native_symbol=listed.symbol,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        strike=strike,
        right=right,
        tick=tick,
        lot=lot,
        contract_size=literal(listed.unit),
        size_unit="contracts",
        active=listed.status == "TRADING",
    )
