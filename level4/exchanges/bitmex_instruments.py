"""Instruments of BitMEX (`/api/v1/instrument/active`, 2026).

* `XBT` is BTC; settlement currencies carry their unit (`XBt`, `USDt`). Month codes of symbols are not parsed.
* Sizes are contracts everywhere. One is `1 / underlyingToPositionMultiplier` of the base, or, inverse, a dollar; a
  quanto one (settled in a third currency) stands for no fixed amount, so that its contract size is not told.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec import Struct

from level4.exchanges.wire import decoder, literal, unified
from level4.model import Instrument, MarketType
from level4.model.decimals import plain

_SPOT, _DATED, _PERPETUAL = "IFXXXP", "FFCCSX", ("FFWCSX", "FFWCSF")
_CURRENCIES = {"XBT": "BTC", "XBt": "BTC", "USDt": "USDT", "Gwei": "ETH"}


class _Listed(Struct, rename="camel"):
    symbol: str
    typ: str
    underlying: str
    quote_currency: str
    state: str = ""
    settl_currency: str | None = None
    expiry: str | None = None
    is_inverse: bool = False
    is_quanto: bool = False
    tick_size: Any = None
    lot_size: Any = None
    underlying_to_position_multiplier: Any = None


_decode_listed: Callable[[bytes], list[_Listed]] = decoder(list[_Listed])


def instruments(body: bytes) -> list[Instrument]:
    """Those that can be traded; others are indices and prediction markets."""
    return [_instrument(listed) for listed in _decode_listed(body) if listed.typ in (_SPOT, _DATED, *_PERPETUAL)]


def _instrument(listed: _Listed) -> Instrument:
    base, quote = (_CURRENCIES.get(name, name) for name in (listed.underlying, listed.quote_currency))
    spot, dated = listed.typ == _SPOT, listed.typ == _DATED
    settle = None if spot else _CURRENCIES.get(listed.settl_currency or "", (listed.settl_currency or "").upper())
    expiry = listed.expiry[:10] if dated and listed.expiry else None
    type_ = MarketType.FUTURE if dated else MarketType.SPOT if spot else MarketType.PERP
    multiplier = listed.underlying_to_position_multiplier
    contract_size = None
    if listed.is_inverse:
        type_, contract_size = MarketType.INVERSE, "1"  # of the quote currency
    elif not listed.is_quanto and multiplier is not None and Decimal(str(multiplier)) > 0:
        contract_size = plain(str(1 / Decimal(str(multiplier))))
    return Instrument(
        exchange="BITMEX",
        type=type_,
        symbol=unified(base, quote, settle, expiry),
        native_symbol=listed.symbol,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        tick=None if listed.tick_size is None else literal(listed.tick_size),
        lot=None if listed.lot_size is None else literal(listed.lot_size),
        contract_size=contract_size,
        size_unit="contracts",
        active=listed.state == "Open",
    )
