"""The derivatives a synthetic exchange lists beside spot: perpetuals of everything, futures and options of a few.

All dated contracts expire at the end of the quarter, 08:00 UTC. Options stand a few percent around the price of their
base, two strikes with a call and a put each, and cost a few percent of it, in dollars or in the coin itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Final

from level4.simulator.listing import Listed, listed, next_quarter

_DATED: Final = 2
_DATED_PART: Final = 4
"""There are futures and options of the first two bases, and of a quarter where there are many."""
_STRIKES: Final = (Decimal("0.95"), Decimal("1.05"))
_PREMIUM: Final = Decimal("0.03")
_OPTION_LOT: Final = Decimal(50)
"""What the smallest piece of an option stands for in dollars: sizes come out between one piece and a few thousand."""
MONTH_LETTERS: Final = {3: "H", 6: "M", 9: "U", 12: "Z"}
"""Of the months in which quarters end."""


class Kind(StrEnum):
    SPOT = "spot"
    PERPETUAL = "perpetual"
    FUTURE = "future"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Contract:
    kind: Kind
    facts: Listed
    """Base and quote; price and size as they are on the wire."""
    settle: str
    inverse: bool = False
    expiry: datetime | None = None
    strike: Decimal = Decimal(0)
    right: str = ""
    """`C` or `P`."""

    @property
    def expiry_ms(self) -> int:
        """0 when it never expires."""
        return int(self.expiry.timestamp()) * 1000 if self.expiry is not None else 0


def day(moment: datetime | None) -> str:
    """`25DEC26`, without a leading zero."""
    return "" if moment is None else f"{moment.day}{moment:%b%y}".upper()


def bases(symbols: Iterable[str]) -> list[str]:
    """The bases of the markets in dollars: those with derivatives."""
    found = [listed(symbol) for symbol in symbols]
    return [facts.base for facts in found if facts.quote in ("USD", "USDT")]


def spot(symbols: Iterable[str], quote: str) -> Iterator[Contract]:
    """All markets, those in dollars in the exchange's own kind of them."""
    for symbol in symbols:
        facts = listed(symbol)
        if facts.quote in ("USD", "USDT"):
            facts = listed(f"{facts.base}/{quote}")
        yield Contract(Kind.SPOT, facts, facts.quote)


def linear(symbols: Iterable[str], quote: str, settle: str | None = None) -> Iterator[Contract]:
    found = bases(symbols)
    for number, base in enumerate(found):
        facts = listed(f"{base}/{quote}")
        yield Contract(Kind.PERPETUAL, facts, settle or quote)
        if number < _dated(found):
            yield Contract(Kind.FUTURE, facts, settle or quote, expiry=_expiry())


def inverse(symbols: Iterable[str], dollars: Mapping[str, int], others: int) -> Iterator[Contract]:
    """Sizes are whole contracts of so many dollars, by base."""
    found = bases(symbols)
    for number, base in enumerate(found):
        facts = replace(listed(f"{base}/USD"), lot_decimals=0, lot_value=Decimal(dollars.get(base, others)))
        yield Contract(Kind.PERPETUAL, facts, base, inverse=True)
        if number < _dated(found):
            yield Contract(Kind.FUTURE, facts, base, inverse=True, expiry=_expiry())


def options(symbols: Iterable[str], quote: str, *, lot_decimals: int, in_coin: bool = False) -> Iterator[Contract]:
    """`in_coin`: priced and settled in the base."""
    found = bases(symbols)
    for base in found[: _dated(found)]:
        underlying = listed(f"{base}/USD").price
        price = _PREMIUM if in_coin else underlying * _PREMIUM
        decimals = 4 if in_coin else max(0, 2 - price.adjusted())
        facts = Listed(base, quote, round(price, decimals), decimals, lot_decimals, _OPTION_LOT)
        for factor in _STRIKES:
            strike = round(underlying * factor, 1 - (underlying * factor).adjusted())
            for right in "CP":
                yield Contract(
                    Kind.OPTION, facts, base if in_coin else quote, in_coin, _expiry(), plain(strike), right
                )


def plain(number: Decimal) -> Decimal:
    """Without an exponent above zero and without zeros behind the point."""
    return Decimal(format(number.normalize(), "f"))


def _dated(found: list[str]) -> int:
    return max(_DATED, len(found) // _DATED_PART)


def _expiry() -> datetime:
    return datetime.combine(next_quarter(datetime.now(UTC).date()), time(8), UTC)
