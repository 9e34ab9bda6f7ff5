"""From what people write in a request to a `MarketRequest`, with messages that help when it cannot be one.

Pure: what is known is an argument. Every failure is INVALID_ARGUMENT and says what was expected, what came, and what
comes nearest to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date
from difflib import get_close_matches
from typing import Final

from level4.model import MarketRequest, MarketType
from level4.model.decimals import plain
from level4.proto.level4_pb2 import Market
from level4.rpc.errors import InvalidArgumentError

_TYPE_WORDS: Final = {
    **{market_type.value: market_type for market_type in MarketType},
    "FUTURES": MarketType.FUTURE,
    "OPTIONS": MarketType.OPTION,
    "PERPETUAL": MarketType.PERP,
}
_RIGHTS: Final = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}
_DATE: Final = re.compile(r"(\d{4}|\d{2})-?(\d{2})-?(\d{2})", re.ASCII).fullmatch
_SHOWN: Final = 12
"""How many known words a message lists."""
_WORD_CHARACTERS: Final = 64
"""No symbol of an exchange is longer."""


def market_request(market: Market, exchanges: Mapping[str, Collection[MarketType]], market_id: int) -> MarketRequest:
    """The market these fields name, under `market_id`. Raises InvalidArgumentError."""
    exchange = market.exchange_name.strip().upper()
    if exchange not in exchanges:
        raise unknown("exchange", market.exchange_name, exchanges)
    kind = _market_type(market.type)
    if kind not in exchanges[exchange]:
        has = ", ".join(sorted(exchanges[exchange]))
        raise InvalidArgumentError(f"{exchange} has no {kind} markets here; it has {has or 'none'}")
    base, quote = _symbol("base_symbol", market.base_symbol), _symbol("quote_symbol", market.quote_symbol)
    needs_expiry = kind in (MarketType.FUTURE, MarketType.OPTION)
    may_expire = needs_expiry or kind is MarketType.INVERSE
    is_option = kind is MarketType.OPTION
    return MarketRequest(
        id=market_id,
        exchange=exchange,
        type=kind,
        base=base,
        quote=quote,
        expiry=_expiry(market.expiry) if _given("expiry", market.expiry, kind, needs_expiry, may_expire) else None,
        strike=_strike(market.strike) if _given("strike", market.strike, kind, is_option, is_option) else None,
        right=_right(market.right) if _given("right", market.right, kind, is_option, is_option) else None,
    )


def unknown(what: str, got: str, known: Iterable[str]) -> InvalidArgumentError:
    """The error for a word that is not among the known ones; names the nearest, else what is known."""
    words = sorted(known)
    near = get_close_matches(got.strip().upper(), words, n=3, cutoff=0.6)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        hint = f"known: {', '.join(words[:_SHOWN]) or 'none'}{more}"
    said = f"unknown {what} {got[:_WORD_CHARACTERS]!r}" if got.strip() else f"expected the {what}, got nothing"
    return InvalidArgumentError(f"{said}; {hint}")


def next_free(taken: Collection[int], highest: int) -> int | None:
    """The lowest market id from 1 to `highest` that is not taken."""
    return next((candidate for candidate in range(1, highest + 1) if candidate not in taken), None)


def _market_type(text: str) -> MarketType:
    kind = _TYPE_WORDS.get(text.strip().upper())
    if kind is None:
        raise unknown("type", text, [market_type.value for market_type in MarketType])
    return kind


def _symbol(field: str, text: str) -> str:
    symbol = text.strip()
    if not symbol or len(symbol) > _WORD_CHARACTERS or any(not c.isprintable() or c.isspace() for c in symbol):
        got = text[:_WORD_CHARACTERS]
        raise InvalidArgumentError(f"expected {field} as the exchange names it (BTC, USD), got {got!r}")
    return symbol


def _given(field: str, text: str, kind: MarketType, needed: bool, allowed: bool) -> bool:
    if text and not allowed:
        raise InvalidArgumentError(f"{kind} markets have no {field}, got {text[:_WORD_CHARACTERS]!r}; leave it empty")
    if not text and needed:
        raise InvalidArgumentError(f"{kind} markets need {field}, got nothing")
    return bool(text)


def _expiry(text: str) -> str:
    if (found := _DATE(text.strip())) is not None:
        year, month, day = (int(part) for part in found.groups())
        with suppress(ValueError):
            return date(year if year > 99 else 2000 + year, month, day).isoformat()
    raise InvalidArgumentError(f"expected expiry as 2026-12-25, got {text[:_WORD_CHARACTERS]!r}")


def _strike(text: str) -> str:
    try:
        strike = plain(text.strip())
    except ValueError:
        strike = ""
    if not strike or strike == "0" or strike.startswith("-"):
        raise InvalidArgumentError(f"expected strike as a positive decimal, got {text[:_WORD_CHARACTERS]!r}")
    return strike


def _right(text: str) -> str:
    right = _RIGHTS.get(text.strip().upper())
    if right is None:
        raise InvalidArgumentError(f"expected right C or P, got {text[:_WORD_CHARACTERS]!r}")
    return right
