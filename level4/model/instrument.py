"""What can be traded, as an exchange lists it, and which of it a user asked for.

Meaning is never parsed out of a symbol: an `Instrument` comes from the exchange's own list, and a request is
matched against its fields. `symbol` is the CCXT unified symbol (`BTC/USD`, `BTC/USDT:USDT`, …), `native_symbol` the
exchange's own spelling in its data frames. Numbers are exact decimal texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MarketType(StrEnum):
    """`PERP`: linear or quanto perpetual. `INVERSE`: settled in the base currency, perpetual or dated."""

    SPOT = "SPOT"
    PERP = "PERP"
    FUTURE = "FUTURE"
    INVERSE = "INVERSE"
    OPTION = "OPTION"


@dataclass(frozen=True, slots=True)
class Instrument:
    exchange: str
    """Upper case: `KRAKEN`."""
    type: MarketType | None
    """None only in a replay without an instrument list."""
    symbol: str
    native_symbol: str
    base: str = ""
    quote: str = ""
    settle: str | None = None
    expiry: str | None = None
    """ISO date (UTC) of dated contracts."""
    strike: str | None = None
    right: str | None = None
    """`C` or `P`."""
    tick: str | None = None
    """Smallest price step, in quote currency."""
    lot: str | None = None
    """Smallest size step, in `size_unit`."""
    contract_size: str | None = None
    size_unit: str = "base"
    """What a published size counts: `base`, `quote` or `contracts`."""
    trade_kind: str = "fill"
    """`fill`: one event per match; `aggregate`: the exchange merges fills of one order at one price."""
    active: bool = True
    """False when the exchange lists it but does not trade it now."""


@dataclass(frozen=True, slots=True)
class MarketRequest:
    """A market somebody asks for: `id` is the market id and the Kafka partition."""

    id: int
    exchange: str
    type: MarketType
    base: str
    quote: str
    expiry: str | None = None
    """ISO date (UTC); dated contracts and options."""
    strike: str | None = None
    right: str | None = None
    """`C` or `P`."""

    def __str__(self) -> str:
        terms = "".join(f"-{term}" for term in (self.expiry, self.strike, self.right) if term)
        return f"{self.id}={self.exchange}:{self.type}:{self.base}/{self.quote}{terms}"
