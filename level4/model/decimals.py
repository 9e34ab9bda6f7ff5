"""Exact decimal texts: the one normal form that is published, and the mid price.

`plain` keeps the number and only rewrites its spelling: `0.10` → `0.1`, `1E+3` → `1000`, `5860832.0` → `5860832`.
Anything that is not a finite decimal number raises ValueError: it must never reach a consumer.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

_PLAIN = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII).fullmatch
_EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)
_MAX_DIGITS = 60
"""No exchange sends longer numbers; `1e999999` must not become a megabyte of zeros."""


def plain(text: str) -> str:
    """The plain spelling of a decimal text. Raises ValueError when it is not a number."""
    if _PLAIN(text):
        return text.rstrip("0").rstrip(".") if "." in text else text
    return _plain_slowly(text)


def _plain_slowly(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected a decimal number, got {text[:60]!r}") from None
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS or len(text) > 2 * _MAX_DIGITS or "_" in text:
        raise ValueError(f"expected a finite decimal number of at most {_MAX_DIGITS} digits, got {text[:60]!r}")
    if not number:
        return "0"
    spelled = format(number, "f")
    return spelled.rstrip("0").rstrip(".") if "." in spelled else spelled


def mid(bid: str, ask: str) -> str:
    """The exact middle of two plain decimal texts, as a plain decimal text."""
    total = _EXACT.add(Decimal(bid), Decimal(ask))
    return plain(format(_EXACT.multiply(total, Decimal("0.5")), "f"))


def same(one: str, other: str) -> bool:
    """Whether two texts spell the same number (`1.0`, `1.00`). Raises ValueError when one is not a number."""
    if one == other:
        return True
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        raise ValueError(f"expected two decimal numbers, got {one[:60]!r} and {other[:60]!r}") from None
