"""What concerns a whole connection, pure: whose a bad frame was, and numbers that run over all frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from level4.model import Level, RawTime, Row, RowChange, TakerSide


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


class Dropping:
    """The sink of a market that is not ours, or was not asked for: takes everything, keeps nothing."""

    def snapshot(
        self,
        bids: list[Level],
        asks: list[Level],
        last: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
        depth: int | None = None,
    ) -> None: ...

    def delta(
        self,
        bids: list[Level],
        asks: list[Level],
        first: int | None = None,
        last: int | None = None,
        previous: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
    ) -> None: ...

    def rows(self, change: RowChange, bids: list[Row], asks: list[Row], exchange_time: RawTime = None) -> None: ...

    def trade(
        self, side: TakerSide | None, price: str, size: str, trade_id: str | None, exchange_time: RawTime = None
    ) -> None: ...

    def last_trade(self, trade_id: str) -> None: ...

    def heartbeat(self) -> None: ...
