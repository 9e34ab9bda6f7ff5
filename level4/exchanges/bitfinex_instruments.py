"""Instruments of Bitfinex v2 (`/v2/conf/pub:list:pair:…`, 2026): bare lists of pairs, without tick, lot and state.

A pair of six letters is cut in the middle, a longer one stands with a colon; `F0` marks the legs of a perpetual. Some
currencies have codes of Bitfinex's own; its map of them is fetched, and completed by those known to clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from level4.exchanges.wire import decoder, unified
from level4.model import Instrument, MarketType

_decode_lists: Callable[[bytes], list[list[Any]]] = decoder(list[list[Any]])
_CODES = {
    "ALG": "ALGO", "AMP": "AMPL", "ATO": "ATOM", "BCHABC": "XEC", "BCHN": "BCH", "DOG": "MDOGE", "DSH": "DASH",
    "EUT": "EURT", "IOT": "IOTA", "LUNA": "LUNC", "LUNA2": "LUNA", "MNA": "MANA", "QTM": "QTUM", "TSD": "TUSD",
    "UDC": "USDC", "UST": "USDT", "XCH": "XCHF",
}  # fmt: skip


def instruments(bodies: Sequence[bytes]) -> list[Instrument]:
    spot, futures, codes = (_decode_lists(body)[0] for body in bodies)
    names = _CODES | {code: name.upper() for code, name in codes}
    listed = [_instrument(pair, MarketType.SPOT, names) for pair in spot]
    listed += [_instrument(pair, MarketType.PERP, names) for pair in futures]
    return [instrument for instrument in listed if instrument is not None]


def _instrument(pair: str, type_: MarketType, names: dict[str, str]) -> Instrument | None:
    legs = pair.split(":") if ":" in pair else [pair[:3], pair[3:]]
    if len(legs) != 2 or pair == "AAABBB" or any(leg.startswith("TEST") for leg in legs):
        return None
    base, quote = (names.get(leg.removesuffix("F0"), leg.removesuffix("F0")) for leg in legs)
    settle = quote if type_ is MarketType.PERP else None
    return Instrument(
        exchange="BITFINEX",
        type=type_,
        symbol=unified(base, quote, settle),
        native_symbol=f"t{pair}",
        base=base,
        quote=quote,
        settle=settle,
        lot="0.00000001",
    )
