"""What Hyperliquid lists (`spotMeta`, `allPerpMetas`, asked by POST; tick and lot size page, 2026; a probe of 2026-09).

* `allPerpMetas` has one universe for each dex, the exchange's own first, then those of others, whose names begin with
  theirs (`xyz:SP500`). A perpetual is quoted and settled in its dex's collateral, mostly USDC; its oracle may be in
  another dollar. Names unify as elsewhere: upper case, `-` for the colon.
* Tokens are told by `index`. A spot market's decimals are those of its base.
* Sizes count the named asset (`kPEPE`: thousands). A price has at most five significant digits, any number when it is
  whole, and 6 (spot: 8) less `szDecimals` decimals: the tick listed here is the finest, and coarser for higher prices.
* `isDelisted` is there only when true; spot has no such mark. Outcome markets (`#…`) are in neither list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from level4.exchanges.wire import decoder, step, unified
from level4.model import Instrument, MarketType

_SPOT_DECIMALS: Final = 8
_PERPETUAL_DECIMALS: Final = 6


class _Token(Struct, rename="camel"):
    name: str
    index: int
    sz_decimals: int


class _Pair(Struct):
    name: str
    tokens: tuple[int, int]


class _Spot(Struct):
    tokens: list[_Token]
    universe: list[_Pair]


class _Perpetual(Struct, rename="camel"):
    name: str
    sz_decimals: int
    is_delisted: bool = False


class _Dex(Struct, rename="camel"):
    universe: list[_Perpetual]
    collateral_token: int = 0


_decode_spot: Callable[[bytes], _Spot] = decoder(_Spot)
_decode_dexs: Callable[[bytes], list[_Dex]] = decoder(list[_Dex])


def instruments(spot_meta: bytes, perp_metas: bytes) -> list[Instrument]:
    """All that is listed; what is made of a token that is not, is left out."""
    spot, dexs = _decode_spot(spot_meta), _decode_dexs(perp_metas)
    tokens = {token.index: token for token in spot.tokens}
    return [*_pairs(spot.universe, tokens), *(each for dex in dexs for each in _perpetuals(dex, tokens))]


def _pairs(universe: list[_Pair], tokens: dict[int, _Token]) -> Iterator[Instrument]:
    for pair in universe:
        base, quote = (tokens.get(index) for index in pair.tokens)
        if base is not None and quote is not None:
            names = _unified(base.name), _unified(quote.name)
            yield Instrument(
                exchange="HYPERLIQUID",
                type=MarketType.SPOT,
                symbol=unified(*names),
                native_symbol=pair.name,
                base=names[0],
                quote=names[1],
                tick=step(max(0, _SPOT_DECIMALS - base.sz_decimals)),
                lot=step(base.sz_decimals),
            )


def _perpetuals(dex: _Dex, tokens: dict[int, _Token]) -> Iterator[Instrument]:
    token = tokens.get(dex.collateral_token)
    if token is None:
        return
    collateral = _unified(token.name)
    for listed in dex.universe:
        base = _unified(listed.name)
        yield Instrument(
            exchange="HYPERLIQUID",
            type=MarketType.PERP,
            symbol=unified(base, collateral, collateral),
            native_symbol=listed.name,
            base=base,
            quote=collateral,
            settle=collateral,
            tick=step(max(0, _PERPETUAL_DECIMALS - listed.sz_decimals)),
            lot=step(listed.sz_decimals),
            active=not listed.is_delisted,
        )


def _unified(name: str) -> str:
    return name.upper().replace(":", "-")
