"""What a scheme says about frames, written down: the port `Markets` for tests of translation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from level4.exchanges import Scheme
from level4.model import Level, MarketSink, Notice, RawTime, TakerSide


class Heard(dict[str, MarketSink]):
    """`calls`: (native symbol, what, arguments that are not None) in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.unknowns: list[str] = []

    def __missing__(self, symbol: str) -> MarketSink:
        sink = self[symbol] = _Sink(symbol, self.calls)
        return sink

    def subscribed(self, symbol: str, channel: str) -> None:
        self.calls.append((symbol, "subscribed", str(channel)))

    def refused(self, symbol: str | None, reason: str) -> None:
        self.calls.append((symbol, "refused", reason))

    def notice(self, notice: Notice, text: str) -> None:
        self.calls.append((None, "notice", notice))

    def unknown(self, kind: str) -> None:
        self.unknowns.append(kind)

    def sequence(self, number: int) -> None:
        self.calls.append((None, "sequence", number))


class _Sink:
    def __init__(self, symbol: str, calls: list[tuple[Any, ...]]) -> None:
        self._symbol = symbol
        self._calls = calls

    def snapshot(
        self,
        bids: list[Level],
        asks: list[Level],
        last: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
        depth: int | None = None,
    ) -> None:
        numbers = {"last": last, "checksum": checksum, "time": exchange_time, "depth": depth}
        self._note("snapshot", bids, asks, numbers)

    def delta(
        self,
        bids: list[Level],
        asks: list[Level],
        first: int | None = None,
        last: int | None = None,
        previous: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
    ) -> None:
        numbers = {"first": first, "last": last, "previous": previous, "checksum": checksum, "time": exchange_time}
        self._note("delta", bids, asks, numbers)

    def rows(self, change: str, bids: list[Any], asks: list[Any], exchange_time: RawTime = None) -> None:
        self._note(change, bids, asks, {"time": exchange_time})

    def trade(
        self, side: TakerSide | None, price: str, size: str, trade_id: str | None, exchange_time: RawTime = None
    ) -> None:
        self._calls.append((self._symbol, "trade", side, price, size, trade_id, exchange_time))

    def last_trade(self, trade_id: str) -> None:
        self._calls.append((self._symbol, "last_trade", trade_id))

    def heartbeat(self) -> None:
        self._calls.append((self._symbol, "heartbeat"))

    def _note(self, what: str, bids: list[Level], asks: list[Level], numbers: dict[str, Any]) -> None:
        given = {name: number for name, number in numbers.items() if number is not None}
        self._calls.append((self._symbol, what, bids, asks, given))


def heard(scheme: Scheme, *frames: str | dict[str, Any] | list[Any], received_ns: int = 0) -> Heard:
    """What the scheme makes of these frames (given as text or as content)."""
    markets = Heard()
    for frame in frames:
        scheme.decode(frame if isinstance(frame, str) else json.dumps(frame), received_ns, markets)
    return markets


def sent(messages: list[str]) -> list[Any]:
    """Messages as content."""
    return [json.loads(text) for text in messages]


def listings(folder: Path) -> list[bytes]:
    """The bodies of a recorded listing of instruments, in order."""
    with gzip.open(folder / "instruments.json.gz") as file:
        return [json.dumps(response["body"]).encode() for response in json.load(file)["responses"]]
