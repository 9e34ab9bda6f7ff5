"""The table of frame faults, printed at the end of the run, and what comes every few seconds, made to come often."""

from __future__ import annotations

import pytest
from tally import CELL, Table

from level4.simulator import bitfinex, bitflyer, hyperliquid


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitfinex, "CHECKSUM_SECONDS", 0.1)
    monkeypatch.setattr(bitflyer, "SNAPSHOT_SECONDS", 0.2)
    monkeypatch.setattr(hyperliquid, "FAST_SECONDS", 0.2)


_TABLE = Table()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        for name, value in report.user_properties:
            if name == CELL:
                _TABLE.add(str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _TABLE.cells:
        terminalreporter.section("frame faults")
        for line in _TABLE.lines():
            terminalreporter.line(line)
