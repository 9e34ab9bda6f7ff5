"""Instruments of Deribit (`public/get_instruments`, API v2.1.1, 2026): all kinds in one list.

* `quote_currency` of an inverse option is the coin it is priced in, `counter_currency` the USD. Sizes (`amount`): USD
  for inverse perpetuals and futures, else the base coin. Lists before 2022 knew inverse instruments only, without
  `instrument_type` and `counter_currency`. Combos are not listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from level4.exchanges.wire import decoder, literal, unified, utc_date
from level4.model import Instrument, MarketType
from level4.model.decimals import plain


class _Listed(Struct):
    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    expiration_timestamp: int
    is_active: bool
    tick_size: Any
    contract_size: Any = None
    min_trade_amount: Any = None
    counter_currency: str | None = None
    settlement_currency: str | None = None
    settlement_period: str | None = None
    instrument_type: str = "reversed"
    strike: Any = None
    option_type: str = ""


class _Listing(Struct):
    result: list[_Listed]


_decode_listing: Callable[[bytes], _Listing] = decoder(_Listing)


def instruments(body: bytes) -> list[Instrument]:
    """What one answer lists, without combos."""
    listed = _decode_listing(body).result
    return [_instrument(each) for each in listed if each.kind in ("option", "future", "spot")]


def _instrument(listed: _Listed) -> Instrument:
    base, quote = listed.base_currency, listed.counter_currency or listed.quote_currency
    if listed.kind != "spot" and quote == base:
        quote = "USD"
    reversed_ = listed.instrument_type == "reversed"
    settle = None if listed.kind == "spot" else listed.settlement_currency or base
    dated = listed.kind != "spot" and listed.settlement_period != "perpetual"
    expiry = utc_date(listed.expiration_timestamp) if dated else None
    strike, right = None, None
    if listed.kind == "option":
        kind = MarketType.OPTION
        strike, right = plain(literal(listed.strike)), listed.option_type[:1].upper()
    elif listed.kind == "spot":
        kind = MarketType.SPOT
    elif reversed_:
        kind = MarketType.INVERSE
    else:
        kind = MarketType.FUTURE if dated else MarketType.PERP
    return Instrument(
        exchange="DERIBIT",
        type=kind,
        symbol=unified(base, quote, settle, expiry, strike, right),
        native_symbol=listed.instrument_name,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        strike=strike,
        right=right,
        tick=plain(literal(listed.tick_size)),
        lot=None if listed.min_trade_amount is None else plain(literal(listed.min_trade_amount)),
        contract_size=None if listed.contract_size is None else plain(literal(listed.contract_size)),
        size_unit="quote" if kind is MarketType.INVERSE else "base",
        active=listed.is_active,
    )
