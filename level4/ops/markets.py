"""The markets a user writes down: `17=kraken:BTC/USD` as a flag, a `[[market]]` table in the file.

A market is given by its name (as `level4 market start` takes it), or by type, base and quote with the terms of the
contract. The second is complete by itself; what a name means is asked of the exchange's own list when the node starts.
A currency written all in lower case is put in upper case, a mixed one (`kPEPE`) is kept: some exchanges mean it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from level4.model import ConfigError, MarketRequest
from level4.model.naming import MarketName, NamedMarket, contract_terms, market_name, market_type
from level4.ops.layers import DEFAULT, nearest

MARKETS_DOC: Final = (
    "Markets to start with the node: any number of `--market` flags, and of `[[market]]` tables in the file. Both"
    " together; each id once.\n\n"
    "A flag is `ID=MARKET`, where MARKET is what `level4 market start` takes: `17=kraken:BTC/USD`,"
    " `18=binance:BTC/USDT:USDT` and `19=deribit:BTC/USD:BTC-261225-60000-C` (unified symbols),"
    " `20=deribit:BTC-25DEC26` (the exchange's own), `21=KRAKEN.SPOT:BTC-USD`. A table has `id`, `exchange` and"
    " `symbol` (either kind; `type` may be added), or `id`, `exchange`, `type`, `base`, `quote` and the terms of the"
    " contract: `expiry` for FUTURE, OPTION and dated INVERSE, `strike` and `right` (`C`, `P`) for OPTION; as a flag:"
    " `22=DERIBIT:OPTION:BTC/USD-2026-12-25-60000-C`. `level4 instruments EXCHANGE TYPE` lists what there is. A symbol"
    " that the exchange does not list, or that may mean several markets, is reported with the nearest names; the other"
    " markets start all the same."
)
FLAG_HELP: Final = "A market, such as 17=kraken:BTC/USD or 18=deribit:BTC-25DEC26."
FORM: Final = "ID=MARKET, for example 17=kraken:BTC/USD"
_BY_SYMBOL: Final = ("id", "exchange", "symbol")
_BY_TERMS: Final = ("id", "exchange", "type", "base", "quote")
_CONTRACT: Final = ("expiry", "strike", "right")
KEYS: Final = ("id", "exchange", "symbol", "type", "base", "quote", *_CONTRACT)
_EXCHANGE = re.compile(r"[A-Z][A-Z0-9_]{0,31}", re.ASCII).fullmatch
_CURRENCY = re.compile(r"[^\s/:=,]{1,32}").fullmatch
_TERMS = re.compile(
    r"([^.:]*):([^:]*):([^/:]*)/([^/:]*?)(?:-(\d{4}-\d\d-\d\d)(?:-(\d[\d.]*)-([A-Za-z]+))?)?", re.ASCII
).fullmatch

WantedMarket = MarketRequest | NamedMarket


def parse_market(text: str, max_id: int = 1023, origin: str = "--market") -> WantedMarket:
    """The market of a text such as `17=KRAKEN:SPOT:BTC/USD`. Raises ConfigError."""
    where = f"{origin} {text!r}"
    number, equals, name = text.strip().partition("=")
    if not equals:
        raise ConfigError(f"{where}: not a market. Expected {FORM}.")
    market_id = _id(number, max_id, where)
    by_terms = _TERMS(name.strip())
    if by_terms is None:
        return _named(market_id, name, where)
    return _by_terms(market_id, *(group or "" for group in by_terms.groups()), where=where)


def market_of_table(table: object, max_id: int, where: str) -> WantedMarket:
    """The market of a `[[market]]` table. Raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table with {_ways()}, got {table!r}.")
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"{where}: there is no key {key!r}.{nearest(key, KEYS)} Allowed: {', '.join(KEYS)}.")
    by_symbol = "symbol" in table
    for key in _BY_SYMBOL if by_symbol else _BY_TERMS:
        if key not in table:
            raise ConfigError(f"{where}: {key} is missing. Needed: {_ways()}.")
    texts = {key: _text(key, table[key], where) for key in table}
    market_id = _id(texts["id"], max_id, where)
    if not by_symbol:
        terms = (texts.get(key, "") for key in (*_BY_TERMS[1:], *_CONTRACT))
        return _by_terms(market_id, *terms, where=where)
    for key in ("base", "quote", *_CONTRACT):
        if key in table:
            raise ConfigError(f"{where}: symbol={texts['symbol']!r} says all; {key} cannot be given with it.")
    kind = f".{texts['type']}" if "type" in texts else ""
    return _named(market_id, f"{texts['exchange']}{kind}:{texts['symbol']}", where)


def all_different(markets: Sequence[tuple[WantedMarket, str]]) -> tuple[WantedMarket, ...]:
    """The markets of (market, where it was written). Raises ConfigError when an id is given to two, naming both."""
    seen: dict[int, tuple[WantedMarket, str]] = {}
    for market, where in markets:
        if market.id in seen:
            other, there = seen[market.id]
            raise ConfigError(
                f"market id {market.id} is given twice: to {other} ({there}) and to {market} ({where})."
                " Give each market an id of its own."
            )
        seen[market.id] = (market, where)
    return tuple(market for market, _ in markets)


def all_markets(
    tables: object, texts: Sequence[str], table_name: str, max_id: int
) -> tuple[tuple[WantedMarket, ...], str]:
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


def _ways() -> str:
    return f"{', '.join(_BY_SYMBOL)}; or {', '.join(_BY_TERMS)}, and of dated contracts {', '.join(_CONTRACT)}"


def _text(key: str, value: object, where: str) -> str:
    """Of a key of a table. Numbers and dates of TOML are taken where they are exact."""
    if isinstance(value, bool) or not isinstance(value, int if key == "id" else int | str | date):
        kind = "an integer" if key == "id" else "a text"
        raise ConfigError(f"{where}: {key}={value!r} is not {kind}.")
    if isinstance(value, int) and key not in ("id", "strike"):
        raise ConfigError(f"{where}: {key}={value!r} is not a text.")
    if isinstance(value, date):
        if key != "expiry":
            raise ConfigError(f"{where}: {key}={value!s} is not a text.")
        return value.isoformat()[:10]
    return str(value).strip()


def _id(text: str, max_id: int, where: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= max_id):
        raise ConfigError(f"{where}: market id {text!r} is not an integer from 1 to {max_id} (LEVEL4_MAX_MARKET_ID).")
    return int(text)


def _exchange(text: str, where: str) -> str:
    exchange = text.strip().upper()
    if not _EXCHANGE(exchange):
        raise ConfigError(f"{where}: {exchange!r} is not the name of an exchange, such as KRAKEN.")
    return exchange


def _named(market_id: int, text: str, where: str) -> NamedMarket:
    try:
        name = market_name(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    exchange = _exchange(name.exchange, where)
    return NamedMarket(market_id, MarketName(name.text, exchange, name.type, name.symbol))


def _by_terms(
    market_id: int,
    exchange: str,
    kind: str,
    base: str,
    quote: str,
    expiry: str,
    strike: str,
    right: str,
    *,
    where: str,
) -> MarketRequest:
    exchange = _exchange(exchange, where)
    for currency, name in ((base, "base"), (quote, "quote")):
        if not _CURRENCY(currency.strip()):
            raise ConfigError(f"{where}: {currency!r} is not a {name} currency, such as BTC.")
    try:
        type_ = market_type(kind)
        terms = contract_terms(type_, expiry, strike, right)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return MarketRequest(market_id, exchange, type_, _currency(base), _currency(quote), *terms)


def _currency(text: str) -> str:
    text = text.strip()
    return text.upper() if text.islower() else text
