"""Instruments of Bybit v5 (`/v5/market/instruments-info`, 2026-07).

* Every category answers in one shape. At most 1000 rows an answer, then a cursor to the next page; spot is not
  paginated. Options are listed for one base coin a request, the coins by `/v5/market/option-base-coins` (2026-09), and
  strikes stand only in names (`BTC-27MAR26-70000-P-USDT`).
* `deliveryTime` of a perpetual may be the time of its delisting: the contract type says what is dated.
* Sizes: base coin; inverse contracts are of 1 USD; an option is on one coin. Option quotes: `USD` with settlement in
  USDC (old family), `USDT` (new).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from level4.exchanges.wire import decoder, unified, utc_date
from level4.model import Instrument, MarketType
from level4.model.decimals import plain


class _PriceFilter(Struct, frozen=True, rename="camel"):
    tick_size: str | None = None


class _LotSizeFilter(Struct, frozen=True, rename="camel"):
    qty_step: str | None = None
    base_precision: str | None = None


class _Listed(Struct, rename="camel"):
    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    settle_coin: str = ""
    contract_type: str = ""
    delivery_time: str = "0"
    options_type: str = ""
    price_filter: _PriceFilter = _PriceFilter()
    lot_size_filter: _LotSizeFilter = _LotSizeFilter()


class _List(Struct, rename={"rows": "list", "cursor": "nextPageCursor"}):
    rows: list[_Listed] = []
    cursor: str = ""


class _Answer(Struct):
    result: _List


_decode_list: Callable[[bytes], _Answer] = decoder(_Answer)
_TYPES = {"LinearPerpetual": MarketType.PERP, "LinearFutures": MarketType.FUTURE}


class _Coin(Struct, rename="camel"):
    base_coin: str
    has_symbol: Any = 1


class _Coins(Struct, rename={"rows": "list"}):
    rows: list[_Coin]


class _CoinsAnswer(Struct):
    result: _Coins


_decode_coins: Callable[[bytes], _CoinsAnswer] = decoder(_CoinsAnswer)


def coins(body: bytes) -> list[str]:
    """Base coins that have options now."""
    return sorted({coin.base_coin for coin in _decode_coins(body).result.rows if str(coin.has_symbol) != "0"})


def next_page(path: str, body: bytes) -> str | None:
    """The path of the page after this one."""
    cursor = _decode_list(body).result.cursor
    return f"{path.partition('&cursor=')[0]}&cursor={quote(cursor)}" if cursor else None


def instruments(body: bytes) -> list[Instrument]:
    """What one answer lists, of whatever category."""
    return [_instrument(listed) for listed in _decode_list(body).result.rows]


def _instrument(listed: _Listed) -> Instrument:
    base, quote, settle = listed.base_coin, listed.quote_coin, listed.settle_coin or None
    kind, expiry, strike, right = MarketType.SPOT, None, None, None
    if listed.options_type:
        kind = MarketType.OPTION
        strike, right = plain(listed.symbol.split("-")[2]), listed.options_type[:1]
    elif listed.contract_type:
        kind = _TYPES.get(listed.contract_type, MarketType.INVERSE)
    else:
        settle = None
    if listed.options_type or listed.contract_type.endswith("Futures"):
        expiry = utc_date(int(listed.delivery_time))
    inverse = kind is MarketType.INVERSE
    return Instrument(
        exchange="BYBIT",
        type=kind,
        symbol=unified(base, quote, settle, expiry, strike, right),
        native_symbol=listed.symbol,
        base=base,
        quote=quote,
        settle=settle,
        expiry=expiry,
        strike=strike,
        right=right,
        tick=listed.price_filter.tick_size,
        lot=listed.lot_size_filter.qty_step or listed.lot_size_filter.base_precision,
        contract_size="1" if inverse else None,
        size_unit="contracts" if inverse else "base",
        active=listed.status == "Trading",
    )
