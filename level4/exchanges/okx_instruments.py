"""Instruments of OKX v5 (`/api/v5/public/instruments`, 2026).

* One shape for all types; base and quote of derivatives stand in `uly`, and fields may be empty until shortly before
  the listing: such a row is left out. Options are listed for one underlying a request.
* Sizes: spot in base, all others in contracts of `ctVal` × `ctMult` (of the base coin; inverse: of USD).
* The second option family (`BTC-USD_UM-…`) has the same underlying and settles in another currency.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from level4.exchanges.wire import decoder, unified, utc_date
from level4.model import Instrument, MarketType
from level4.model.decimals import plain


class _Listed(Struct, rename="camel"):
    inst_type: str
    inst_id: str
    state: str
    tick_sz: str = ""
    lot_sz: str = ""
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    uly: str = ""
    ct_type: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    exp_time: str = ""
    stk: str = ""
    opt_type: str = ""


class _Listing(Struct):
    data: list[_Listed] = []


_decode_listing: Callable[[bytes], _Listing] = decoder(_Listing)
_DATED = {"FUTURES", "OPTION"}


def instruments(body: bytes) -> list[Instrument]:
    """What one answer lists, of whatever type."""
    return [
        _instrument(listed)
        for listed in _decode_listing(body).data
        if listed.inst_type == "SPOT"
        or ("-" in listed.uly and listed.settle_ccy and (listed.exp_time or listed.inst_type not in _DATED))
    ]


def _type(listed: _Listed) -> MarketType:
    if listed.inst_type == "SPOT":
        return MarketType.SPOT
    if listed.inst_type == "OPTION":
        return MarketType.OPTION
    if listed.ct_type == "inverse":
        return MarketType.INVERSE
    return MarketType.FUTURE if listed.inst_type == "FUTURES" else MarketType.PERP


def _instrument(listed: _Listed) -> Instrument:
    kind = _type(listed)
    spot = kind is MarketType.SPOT
    base, quote = (listed.base_ccy, listed.quote_ccy) if spot else listed.uly.split("-", 1)
    settle = None if spot else listed.settle_ccy
    expiry = utc_date(int(listed.exp_time)) if listed.inst_type in _DATED else None
    strike, right = (plain(listed.stk), listed.opt_type) if kind is MarketType.OPTION else (None, None)
    sized = not spot and listed.ct_val and listed.ct_mult
    return Instrument(
        exchange="OKX",
        type=kind,
        symbol=unified(base, quote, settle, expiry, strike, right),
        native_symbol=listed.inst_id,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        strike=strike,
        right=right,
        tick=listed.tick_sz or None,
        lot=listed.lot_sz or None,
        contract_size=plain(str(Decimal(listed.ct_val) * Decimal(listed.ct_mult))) if sized else None,
        size_unit="base" if spot else "contracts",
        trade_kind="aggregate",
        active=listed.state == "live",
    )
