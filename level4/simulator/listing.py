"""The markets a synthetic exchange lists.

Names and prices are of the kind people know, so that demonstrations read well; beyond them any number of invented
ones can be generated. Tick and lot follow one rule for all: six significant digits of price, and a lot worth about
ten cents (exchanges with a fixed lot precision use their own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from level4.model import ConfigError

_PRICES: Final = {
    "BTC": Decimal(64000),
    "ETH": Decimal(3200),
    "SOL": Decimal(150),
    "XRP": Decimal(2),
    "ADA": Decimal("0.5"),
    "DOGE": Decimal("0.2"),
    "USD": Decimal(1),
    "USDT": Decimal(1),
    "USDC": Decimal(1),
    "EUR": Decimal("1.1"),
    "JPY": Decimal("0.0064"),
}
"""In dollars."""
DEFAULT_SYMBOLS: Final = ("BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD", "ADA/USD", "DOGE/USD")


@dataclass(frozen=True, slots=True)
class Listed:
    base: str
    quote: str
    price: Decimal
    """Where the random walk starts."""
    price_decimals: int
    lot_decimals: int
    lot_value: Decimal | None = None
    """What a lot is worth in dollars, where it is not its price: contracts."""

    @property
    def tick(self) -> Decimal:
        return Decimal(1).scaleb(-self.price_decimals)

    @property
    def lot(self) -> Decimal:
        return Decimal(1).scaleb(-self.lot_decimals)


def listed(symbol: str, lot_decimals: int | None = None) -> Listed:
    """A market by its `BASE/QUOTE` name. Raises ConfigError for a name of another shape."""
    base, slash, quote = symbol.upper().partition("/")
    if not slash or not base or not quote or "/" in quote:
        raise ConfigError(f"expected a symbol like BTC/USD for the simulator, got {symbol!r}")
    price = dollars(base) / dollars(quote)
    decimals = min(8, max(0, 5 - price.adjusted()))
    if lot_decimals is None:
        lot_decimals = min(8, max(0, dollars(base).adjusted() + 1))
    return Listed(base, quote, round(price, decimals), decimals, lot_decimals)


def symbols(count: int, names: Sequence[str] = DEFAULT_SYMBOLS) -> list[str]:
    """The named symbols, and generated ones up to `count`."""
    return [*names, *(f"SIM{number}/USD" for number in range(1, count - len(names) + 1))]


def next_quarter(today: date) -> date:
    """When this quarter's contracts expire: the last Friday of its last month. In the week before, the next one's."""
    month = (today.month + 2) // 3 * 3
    last = date(today.year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    friday = last - timedelta(days=(last.weekday() - 4) % 7)
    return friday if today + timedelta(days=7) <= friday else next_quarter(last + timedelta(days=1))


def dollars(code: str) -> Decimal:
    """Where the price of a currency starts; that of a code nobody knows follows from its letters."""
    return _PRICES.get(code) or Decimal(10 + sum(map(ord, code)) * 37 % 990)
