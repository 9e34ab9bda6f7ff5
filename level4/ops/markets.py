"""The markets a user writes down: `17=KRAKEN:SPOT:BTC/USD` as a flag, a `[[market]]` table in the file.

People write lower case, `FUTURES` and `OPTIONS`; both are taken. A currency written all in lower case is put in
upper case, a mixed one (`kPEPE`) is kept: some exchanges mean it. Whether the exchange lists the market is asked later,
of the exchange's own list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from level4.model import ConfigError, MarketRequest, MarketType
from level4.ops.layers import DEFAULT, nearest

MARKETS_DOC: Final = (
    "Markets to start with the node: any number of `--market 17=KRAKEN:SPOT:BTC/USD` flags, and of `[[market]]` tables"
    " with id, exchange, type, base and quote in the file. Both together; each id once."
)
KEYS: Final = ("id", "exchange", "type", "base", "quote")
FORM: Final = "ID=EXCHANGE:TYPE:BASE/QUOTE, for example 17=KRAKEN:SPOT:BTC/USD"
_AS_WRITTEN: Final = {"FUTURES": MarketType.FUTURE, "OPTIONS": MarketType.OPTION}
_TYPES: Final = {kind.value: kind for kind in MarketType} | _AS_WRITTEN
_EXCHANGE = re.compile(r"[A-Z][A-Z0-9_]{0,31}", re.ASCII).fullmatch
_CURRENCY = re.compile(r"[^\s/:=,]{1,32}").fullmatch
_TEXT = re.compile(r"([^=]*)=([^:]*):([^:]*):([^/:]*)/([^/]*)").fullmatch


def parse_market(text: str, max_id: int = 1023, origin: str = "--market") -> MarketRequest:
    """The market of a text such as `17=KRAKEN:SPOT:BTC/USD`. Raises ConfigError."""
    parts = _TEXT(text.strip())
    if parts is None:
        raise ConfigError(f"{origin} {text!r}: not a market. Expected {FORM}.")
    return _market(*parts.groups(), max_id=max_id, where=f"{origin} {text!r}")


def market_of_table(table: object, max_id: int, where: str) -> MarketRequest:
    """The market of a `[[market]]` table with the keys id, exchange, type, base, quote. Raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table with {', '.join(KEYS)}, got {table!r}.")
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"{where}: there is no key {key!r}.{nearest(key, KEYS)} Allowed: {', '.join(KEYS)}.")
    for key in KEYS:
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing. Needed: {', '.join(KEYS)}.")
        if isinstance(table[key], bool) or not isinstance(table[key], int if key == "id" else str):
            raise ConfigError(f"{where}: {key}={table[key]!r} is not {'an integer' if key == 'id' else 'a text'}.")
    number, exchange, kind, base, quote = (str(table[key]) for key in KEYS)
    return _market(number, exchange, kind, base, quote, max_id=max_id, where=where)


def all_different(markets: Sequence[tuple[MarketRequest, str]]) -> tuple[MarketRequest, ...]:
    """The markets of (market, where it was written). Raises ConfigError when an id is given to two, naming both."""
    seen: dict[int, tuple[MarketRequest, str]] = {}
    for market, where in markets:
        if market.id in seen:
            other, there = seen[market.id]
            raise ConfigError(
                f"market id {market.id} is given twice: to {other} ({there}) and to {market} ({where})."
                " Give each market an id of its own."
            )
        seen[market.id] = (market, where)
    return tuple(market for market, _ in markets)


def _market(number: str, exchange: str, kind: str, base: str, quote: str, *, max_id: int, where: str) -> MarketRequest:
    number, exchange, kind = number.strip(), exchange.strip().upper(), kind.strip().upper()
    if not (number.isascii() and number.isdigit() and len(number) < 10 and 1 <= int(number) <= max_id):
        raise ConfigError(f"{where}: market id {number!r} is not an integer from 1 to {max_id} (LEVEL4_MAX_MARKET_ID).")
    if not _EXCHANGE(exchange):
        raise ConfigError(f"{where}: {exchange!r} is not the name of an exchange, such as KRAKEN.")
    if kind not in _TYPES:
        known = ", ".join(MarketType)
        raise ConfigError(f"{where}: there is no market type {kind!r}.{nearest(kind, _TYPES)} Allowed: {known}.")
    for currency, name in ((base, "base"), (quote, "quote")):
        if not _CURRENCY(currency.strip()):
            raise ConfigError(f"{where}: {currency!r} is not a {name} currency, such as BTC. Expected {FORM}.")
    return MarketRequest(int(number), exchange, _TYPES[kind], _currency(base), _currency(quote))


def _currency(text: str) -> str:
    text = text.strip()
    return text.upper() if text.islower() else text


def all_markets(
    tables: object, texts: Sequence[str], table_name: str, max_id: int
) -> tuple[tuple[MarketRequest, ...], str]:
    """The markets of the file's tables and of the flags, and where they came from. Raises ConfigError."""
    if not isinstance(tables, list):
        raise ConfigError(f"market (from {table_name}): expected [[market]] tables, got {tables!r}.")
    found = []
    for number, table in enumerate(tables, 1):
        where = f"{table_name}, [[market]] number {number}"
        found.append((market_of_table(table, max_id, where), where))
    found += [(parse_market(text, max_id), f"--market {text}") for text in texts]
    layers = [name for name, given in ((f"{table_name} [[market]]", tables), ("flag --market", texts)) if given]
    return all_different(found), " and ".join(layers) or DEFAULT
