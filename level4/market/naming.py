"""Whose frame was it, when it cannot be decoded?"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def named(frame: str | bytes, symbols: Iterable[str], touched: Collection[str]) -> list[str]:
    """Which of a connection's native symbols a bad frame concerns: those it touched and those it names in quotes; if
    that is nobody, all, because then nobody knows whose data it was."""
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    everybody = list(symbols)
    return [symbol for symbol in everybody if symbol in touched or f'"{symbol}"' in text] or everybody
