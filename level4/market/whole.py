"""What concerns a whole connection, pure: whose a bad frame was, and numbers that run over all frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def named(frame: str | bytes, symbols: Iterable[str], touched: Collection[str]) -> list[str]:
    """Which of a connection's native symbols a bad frame concerns: those it touched and those it names in quotes; if
    that is nobody, all, because then nobody knows whose data it was."""
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    everybody = list(symbols)
    return [symbol for symbol in everybody if symbol in touched or f'"{symbol}"' in text] or everybody


class Succession:
    """A number that rises by one with every frame of a connection. The first may be any."""

    def __init__(self) -> None:
        self._expected: int | None = None

    def next(self, number: int) -> str | None:
        """Take the next number; what is wrong with it, if it is not the one expected. The succession goes on from
        there."""
        expected, self._expected = self._expected, number + 1
        if expected is None or number == expected:
            return None
        return f"expected number {expected} of the connection, got {number}"
