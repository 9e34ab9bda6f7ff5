"""How people write down what they mean: a market's type, the terms of a contract, a market's name.

    kraken:BTC/USD   binance:BTC/USDT:USDT   deribit:BTC/USD:BTC-261225-60000-C     the CCXT unified symbol
    kraken:XBT/USD   binance:BTCUSDT         deribit:BTC-25DEC26                    the exchange's own
    KRAKEN.SPOT:BTC-USD                      KRAKEN:SPOT:BTC/USD                    base and quote, with the type

A name is read here, not understood: what its symbol means is only known from the exchange's own list.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Final

from level4.model.decimals import plain
from level4.model.errors import ConfigError
from level4.model.instrument import MarketType

NAME_FORMS: Final = (
    "EXCHANGE:SYMBOL or EXCHANGE.TYPE:SYMBOL, such as kraken:BTC/USD, binance:BTC/USDT:USDT, KRAKEN.SPOT:BTC-USD"
)
_TYPE_WORDS: Final = {
    **{kind.value: kind for kind in MarketType},
    "FUTURES": MarketType.FUTURE,
    "OPTIONS": MarketType.OPTION,
    "PERPETUAL": MarketType.PERP,
}
_RIGHTS: Final = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}
_DATE: Final = re.compile(r"(\d{4}|\d{2})-?(\d{2})-?(\d{2})", re.ASCII).fullmatch
_SHOWN: Final = 64
"""Characters of a wrong word that an error repeats."""


class UnknownMarketError(ConfigError):
    """The exchange lists nothing of that name."""


@dataclass(frozen=True, slots=True)
class MarketName:
    """A market's name, read but not yet understood."""

    text: str
    exchange: str
    """Upper case."""
    type: MarketType | None
    symbol: str


@dataclass(frozen=True, slots=True)
class NamedMarket:
    """A market somebody asks for by its name, to be found in the exchange's list before it can be started."""

    id: int
    name: MarketName

    @property
    def exchange(self) -> str:
        return self.name.exchange

    @property
    def type(self) -> MarketType | None:
        return self.name.type

    def __str__(self) -> str:
        return f"{self.id}={self.name.text}"


def market_type(word: str) -> MarketType:
    """The type that a word means; lower case is taken. Raises ConfigError."""
    upper = word.strip().upper()
    kind = _TYPE_WORDS.get(upper)
    if kind is None:
        near = get_close_matches(upper, _TYPE_WORDS, n=1, cutoff=0.6)
        hint = f"did you mean {_TYPE_WORDS[near[0]]}? " if near else ""
        raise ConfigError(f"unknown market type {word[:_SHOWN]!r}; {hint}known: {', '.join(MarketType)}")
    return kind


def market_name(text: str) -> MarketName:
    """Raises ConfigError for what is no name at all."""
    exchange, colon, symbol = text.strip().partition(":")
    exchange, dot, kind = exchange.partition(".")
    if not colon or not exchange.strip() or not symbol.strip() or (dot and not kind):
        raise ConfigError(f"{text[:_SHOWN]!r} is not the name of a market: expected {NAME_FORMS}")
    first, _, rest = symbol.partition(":")
    if not dot and rest and first.strip().upper() in _TYPE_WORDS:
        kind, symbol = first, rest
    return MarketName(text.strip(), exchange.strip().upper(), market_type(kind) if kind else None, symbol.strip())


def contract_terms(kind: MarketType, expiry: str, strike: str, right: str) -> tuple[str | None, str | None, str | None]:
    """Expiry (ISO date), strike (plain decimal) and right (`C`, `P`) as requests have them; what is not given is empty.

    Raises ConfigError for what is no such term, for one that this type does not have and for one that it needs.
    """
    needs_expiry = kind in (MarketType.FUTURE, MarketType.OPTION)
    may_expire = needs_expiry or kind is MarketType.INVERSE
    is_option = kind is MarketType.OPTION
    return (
        _expiry(expiry) if _given("expiry", expiry, kind, needs_expiry, may_expire) else None,
        _strike(strike) if _given("strike", strike, kind, is_option, is_option) else None,
        _right(right) if _given("right", right, kind, is_option, is_option) else None,
    )


def _given(term: str, text: str, kind: MarketType, needed: bool, allowed: bool) -> bool:
    if text and not allowed:
        raise ConfigError(f"{kind} markets have no {term}, got {text[:_SHOWN]!r}; leave it empty")
    if not text and needed:
        raise ConfigError(f"{kind} markets need {term}, got nothing")
    return bool(text)


def _expiry(text: str) -> str:
    if (found := _DATE(text.strip())) is not None:
        year, month, day = (int(part) for part in found.groups())
        with suppress(ValueError):
            return date(year if year > 99 else 2000 + year, month, day).isoformat()
    raise ConfigError(f"expected expiry as 2026-12-25, got {text[:_SHOWN]!r}")


def _strike(text: str) -> str:
    try:
        strike = plain(text.strip())
    except ValueError:
        strike = ""
    if not strike or strike == "0" or strike.startswith("-"):
        raise ConfigError(f"expected strike as a positive decimal, got {text[:_SHOWN]!r}")
    return strike


def _right(text: str) -> str:
    right = _RIGHTS.get(text.strip().upper())
    if right is None:
        raise ConfigError(f"expected right C or P, got {text[:_SHOWN]!r}")
    return right
