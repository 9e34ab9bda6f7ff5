"""Brokers for the tests, one Apache Kafka for all of them, and figures in the closing lines of the run.

kafka-python is imported late: it warns while it is imported, and the filters for that are not yet set here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kafka_secured import SecuredKafka

    from level4.publish.embedded import BrokerProcess

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


@pytest.fixture(scope="session")
def the_apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One for all tests, in whatever state the last one left it."""
    from kafka_brokers import fetch_apache_kafka
    from kafka_secured import secured_kafka

    had, what = fetch_apache_kafka()
    if not had:
        pytest.skip(f"no Apache Kafka: {what}")
    secured = secured_kafka(tmp_path_factory.mktemp("apache"))
    with secured.broker:
        yield secured


@pytest.fixture
def apache(the_apache_kafka: SecuredKafka) -> SecuredKafka:
    """A running Apache Kafka without topics of ours."""
    from kafka_brokers import USED, emptied, fetch_apache_kafka

    emptied(the_apache_kafka.broker)
    USED[f"Apache Kafka {fetch_apache_kafka()[1]}"] += 1
    return the_apache_kafka


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A running broker without topics of ours: `apache`, `tansu` (in an S3 store), `memory` (Tansu) or `noida`."""
    from kafka_brokers import USED, Noida, durable_tansu

    from level4.publish import EmbeddedBroker

    if request.param == "apache":
        yield request.getfixturevalue("apache").broker
    elif request.param == "tansu":
        USED["Tansu in an S3 store"] += 1
        with durable_tansu() as tansu:
            yield tansu
    elif request.param == "memory":
        USED["Tansu in memory"] += 1
        with EmbeddedBroker() as tansu:
            yield tansu
    else:
        USED["noida-db"] += 1
        with Noida(tmp_path / "noida") as noida:
            yield noida


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from kafka_brokers import USED

    if USED:
        terminalreporter.section("kafka")
        terminalreporter.line("tests against " + ", ".join(f"{name}: {count}" for name, count in USED.items()))
        for line in _FIGURES:
            terminalreporter.line(line)
