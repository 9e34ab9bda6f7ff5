"""Brokers of several makers as child processes, each with data that outlives a kill -9.

Apache Kafka takes seconds to come up, so one serves all tests that ask for it, one after the other: each finds it
running and without topics of ours (`emptied`). What is quick to start is started for each test.
"""

from __future__ import annotations

import functools
import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from level4.model import UnavailableError
from level4.publish.embedded import BrokerProcess, EmbeddedBroker

USED: Counter[str] = Counter()
"""Brokers that the running test was given: for the closing lines of the run."""

TOOL = Path(__file__).parents[2] / "tools" / "kafka"


class ApacheKafka(BrokerProcess):
    """The real one, by tools/kafka. `folder`: its data and configuration; `extra`: more arguments of the tool."""

    def __init__(self, folder: Path, extra: tuple[str, ...] = ()) -> None:
        quick_to_start = {"KAFKA_HEAP_OPTS": "-Xms128m -Xmx256m -XX:TieredStopAtLevel=1"}
        super().__init__(seconds=60.0, environment=quick_to_start)
        self._patience = 60.0
        self._folder = folder
        self._extra = extra

    def _command(self) -> list[str]:
        serve = [sys.executable, str(TOOL), "serve", "--folder", str(self._folder), "--port", str(self.port)]
        return [*serve, *self._extra]


@functools.cache
def fetch_apache_kafka() -> tuple[bool, str]:
    """Whether Apache Kafka can be had on this machine (fetches it the first time), and its version or the reason."""
    done = subprocess.run([sys.executable, str(TOOL), "fetch"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return True, Path(done.stdout.strip()).name
    return False, done.stderr.strip().splitlines()[-1].removeprefix("tools/kafka: ")


class Noida(BrokerProcess):
    """noida-db's Kafka: it can add partitions, which Tansu cannot; killed, it may forget the last seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _command(self) -> list[str]:
        found = importlib.util.find_spec("noida_db")
        if found is None or found.origin is None:
            raise UnavailableError("noida-db is not installed")
        binary = str(Path(found.origin).parent / "noida-db")
        options = ["--data-dir", str(self._folder), "--only", "kafka", "--kafka-port", str(self.port)]
        return [binary, "start", *options]


class _ObjectStore(BrokerProcess):
    """An S3 server that keeps objects in memory: a process of its own, so they outlive the broker."""

    def __init__(self) -> None:
        super().__init__(seconds=60.0)
        self._patience = 60.0

    def _command(self) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]


@contextmanager
def durable_tansu() -> Iterator[EmbeddedBroker]:
    """Tansu whose data lies in a local S3 store."""
    with _ObjectStore() as store:
        url = f"http://{store.endpoint}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/tansu", method="PUT"), timeout=30).close()
        environment = {
            "AWS_ENDPOINT": url,
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with EmbeddedBroker(storage="s3://tansu/", environment=environment) as broker:
            yield broker


def emptied(broker: BrokerProcess) -> None:
    """Leave the broker as a new one, whatever the last test did to it: running, and without topics of ours."""
    if broker.pid:
        broker.thaw()
    broker.start()
    admin = KafkaAdminClient(bootstrap_servers=broker.endpoint)
    try:
        deadline = time.monotonic() + 30
        while ours := [name for name in admin.list_topics() if name.startswith("level4.")]:
            assert time.monotonic() < deadline, ours
            admin.delete_topics(ours, raise_errors=False)
    finally:
        admin.close()


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


APACHE = pytest.param("apache", marks=pytest.mark.apache_kafka)
TANSU = pytest.param("tansu", marks=pytest.mark.broker)
TANSU_IN_MEMORY = pytest.param("memory", marks=pytest.mark.broker)
TANSU_SLOW = pytest.param("tansu", marks=[pytest.mark.broker, pytest.mark.slow])
NOIDA = pytest.param("noida", marks=pytest.mark.broker)
