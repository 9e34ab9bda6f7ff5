"""Brokers of several makers as child processes, each with data that outlives a kill -9."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from level4.model import UnavailableError
from level4.publish.embedded import BrokerProcess, EmbeddedBroker

USED: Counter[str] = Counter()
"""Brokers that the running test was given: for the closing lines of the run."""

TOOL = Path(__file__).parents[2] / "tools" / "kafka"


class ApacheKafka(BrokerProcess):
    """The real one, by tools/kafka. `folder`: its data and configuration; `extra`: more arguments of the tool."""

    def __init__(self, folder: Path, extra: tuple[str, ...] = ()) -> None:
        super().__init__(seconds=60.0)
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


@contextmanager
def broker_of(kind: str, folder: Path) -> Iterator[BrokerProcess]:
    """A running broker: `apache`, `tansu` (in an S3 store) or `noida`. Skips what cannot be had."""
    if kind == "tansu":
        USED["Tansu in an S3 store"] += 1
        with durable_tansu() as tansu:
            yield tansu
        return
    if kind == "apache":
        had, what = fetch_apache_kafka()
        if not had:
            pytest.skip(f"no Apache Kafka: {what}")
        USED[f"Apache Kafka {what}"] += 1
    else:
        USED["noida-db"] += 1
    with ApacheKafka(folder / "kafka") if kind == "apache" else Noida(folder / "noida") as broker:
        yield broker


APACHE = pytest.param("apache", marks=pytest.mark.apache_kafka)
TANSU = pytest.param("tansu", marks=pytest.mark.broker)
TANSU_SLOW = pytest.param("tansu", marks=[pytest.mark.broker, pytest.mark.slow])
NOIDA = pytest.param("noida", marks=pytest.mark.broker)
