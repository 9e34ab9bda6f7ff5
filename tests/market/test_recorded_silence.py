"""Every recording with its own times and all timers running: a market of a living exchange is never called STALE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stage import Stage

from level4.exchanges import PROTOCOLS
from level4.model import MarketSink, Notice
from level4.recording import Recording

LONGEST_SILENCE = 3600.0
"""Seconds. Some files gather messages of years; what lies between is not a silence of one connection."""


class Recorded(dict[str, MarketSink]):
    """A recording's markets, each on a stage whose time is the recording's; probes are answered as the exchange would,
    which had the same book."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.scheme = PROTOCOLS[recording.header.protocol]()
        self.stages: dict[str, Stage] = {}
        self.now = self.looked = 0.0
        self.named: set[str] = set()
        """Symbols of the present frame."""

    def apply(self, event: Any) -> None:
        self.now = event.t / 1e9
        if self.now >= self.looked + 0.1:
            self.looked = self.now
            for stage in self.stages.values():
                stage.pass_time(min(LONGEST_SILENCE, max(0.0, self.now - stage.now)))
        try:
            if event.k == "send":
                self.scheme.sent(event.d, event.t)
            elif event.k == "recv":
                self.scheme.decode(event.frame(), event.t, self)
            elif event.k == "http" and (symbol := self.scheme.snapshot_symbol(event.url or "")) is not None:
                self.scheme.decode_snapshot(symbol, event.frame(), self)
        except Exception:
            pass  # broken frames are another test's
        for stage in [self.stages[symbol] for symbol in self.named]:
            stage.now = max(stage.now, self.now)
            stage.frame.clear()
            stage.market.settle(event.t, self.now)
        self.named.clear()

    def __getitem__(self, symbol: str) -> MarketSink:
        self.named.add(symbol)
        return super().__getitem__(symbol)

    def __missing__(self, symbol: str) -> MarketSink:
        stage = Stage(self.scheme.sync, exchange_us=self.scheme.exchange_us, now=self.now)
        stage.answer_probe = lambda: self._agree(stage)
        stage.begin()
        self.stages[symbol] = stage
        self[symbol] = stage.market
        return stage.market

    def _agree(self, stage: Stage) -> None:
        if self.scheme.sync.rest:
            stage.agree()
        else:  # a snapshot in the stream, of the very same rows
            stage.market.heartbeat()
            stage.settle()

    def subscribed(self, symbol: str, channel: str) -> None: ...

    def refused(self, symbol: str | None, reason: str) -> None: ...

    def notice(self, notice: Notice, text: str) -> None: ...

    def unknown(self, kind: str) -> None: ...

    def sequence(self, number: int) -> None: ...


def test_no_recorded_market_is_called_stale(recordings: Path) -> None:
    paths = [path for path in sorted(recordings.rglob("*.jsonl.gz")) if ".expected." not in path.name]
    lived = 0
    for path in paths:
        recording = Recording(path)
        if recording.header.protocol not in PROTOCOLS:
            continue
        recorded = Recorded(recording)
        for event in recording.events():
            recorded.apply(event)
        for symbol, stage in recorded.stages.items():
            assert stage.market.stats.stale == 0, f"{path.name} {symbol}"
            lived += "live" in stage.statuses()
    assert lived > 100
