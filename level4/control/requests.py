"""From what people write in a request to a `MarketRequest`, with messages that help when it cannot be one.

Pure: what is known is an argument. Every failure is INVALID_ARGUMENT and says what was expected, what came, and what
comes nearest to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from level4.model import ConfigError, MarketRequest, MarketType
from level4.model.naming import contract_terms, market_type
from level4.proto.level4_pb2 import Market
from level4.rpc.errors import InvalidArgumentError

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
    try:
        expiry, strike, right = contract_terms(kind, market.expiry, market.strike, market.right)
    except ConfigError as error:
        raise InvalidArgumentError(str(error)) from None
    return MarketRequest(
        id=market_id,
        exchange=exchange,
        type=kind,
        base=base,
        quote=quote,
        expiry=expiry,
        strike=strike,
        right=right,
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
    try:
        return market_type(text)
    except ConfigError:
        raise unknown("type", text, [kind.value for kind in MarketType]) from None


def _symbol(field: str, text: str) -> str:
    symbol = text.strip()
    if not symbol or len(symbol) > _WORD_CHARACTERS or any(not c.isprintable() or c.isspace() for c in symbol):
        got = text[:_WORD_CHARACTERS]
        raise InvalidArgumentError(f"expected {field} as the exchange names it (BTC, USD), got {got!r}")
    return symbol
