"""Which brokers the tests ran against, in the closing lines of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

import pytest

BROKERS = "brokers"
"""The name under which the brokers that a test used come with its report."""
_USED: Counter[str] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    from kafka_brokers import USED  # late: kafka-python warns on import, and not before pytest passes it over

    report = yield
    report.user_properties += [(BROKERS, name) for name in USED.elements()]
    USED.clear()
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        _USED.update(str(name) for key, name in report.user_properties if key == BROKERS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _USED:
        terminalreporter.section("brokers")
        terminalreporter.line("tests against " + ", ".join(f"{name}: {count}" for name, count in _USED.items()))
