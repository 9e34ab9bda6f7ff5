"""The marker of tests that need a real Apache Kafka, and the figures of the outages in the closing lines of the run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Report = Callable[[str], None]
_FIGURES: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "apache_kafka: starts a real Apache Kafka by tools/kafka (Java, Maven)")


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Take a line of figures, shown at the end of the run."""

    def take(line: str) -> None:
        _FIGURES.append(f"{request.node.name}: {line}")

    return take


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from kafka_brokers import USED

    if USED:
        terminalreporter.section("kafka")
        terminalreporter.line("tests against " + ", ".join(f"{name}: {count}" for name, count in USED.items()))
        for line in _FIGURES:
            terminalreporter.line(line)
