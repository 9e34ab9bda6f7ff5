"""Number texts, fast: order keys, the test for zero, and what to do with texts that are no numbers.

Order keys are floats, but only to sort by: no published digit ever comes from one, and two prices that meet in one
float are told apart with Decimals (see `side.py`). msgspec's decoder reads a float in a third of `float(text)`'s time
and a joined list in a sixth; it refuses `.5`, `+1`, `01`, for which the slow way remains.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Final

import msgspec

from level4.model import Level

ZERO: Final = "0." + "0" * 40
"""Any plain spelling of zero sorts at or below this text and any positive plain decimal above it: one text comparison
tells a delete. A leading sign sorts below as well: less than nothing deletes too."""

_decode_one = msgspec.json.Decoder(float).decode
_decode_many = msgspec.json.Decoder(list[float]).decode


def number(text: str) -> float:
    """The order key of a price text. Raises ValueError when it is not a finite number."""
    try:
        return _decode_one(text)
    except msgspec.DecodeError:
        value = float(text)
        if not isfinite(value) or "_" in text:
            raise ValueError(f"expected a number, got {text[:60]!r}") from None
        return value


def numbers(texts: list[str]) -> list[float]:
    """The order keys of many texts. Raises ValueError when one is not a finite number."""
    try:
        values = _decode_many("[" + ",".join(texts) + "]")
    except msgspec.DecodeError:
        return [number(text) for text in texts]
    if len(values) != len(texts):
        raise ValueError("expected one number in each text")
    return values


def is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite() and "_" not in text
    except InvalidOperation:
        return False


def expect_delete(text: str) -> None:
    """A size that sorts at or below `ZERO` must be a number: `0.-10000` was seen, and is not a delete."""
    if text.strip("0.") and not is_number(text):
        raise ValueError(f"expected a size, got {text[:60]!r}")


def exact_levels(levels: list[Level]) -> dict[str, str]:
    """The book side that a snapshot's levels make, the slow and exact way: applied in order, by decimal price; a level
    whose price or size is not a number is skipped."""
    side: dict[Decimal, Level] = {}
    for price, size in levels:
        if is_number(price) and is_number(size):
            side.pop(Decimal(price), None)
            if Decimal(size) > 0:
                side[Decimal(price)] = (price, size)
    return dict(side.values())
