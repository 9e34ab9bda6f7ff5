"""The table of frame faults, printed at the end of the run, and what comes every few seconds, made to come often."""

from __future__ import annotations

import pytest
from tally import TABLE

from level4.simulator import bitfinex, bitflyer


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitfinex, "CHECKSUM_SECONDS", 0.1)
    monkeypatch.setattr(bitflyer, "SNAPSHOT_SECONDS", 0.2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.cells:
        terminalreporter.section("frame faults")
        for line in TABLE.lines():
            terminalreporter.line(line)
