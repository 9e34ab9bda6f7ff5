"""compose.yaml, run by podman-compose as an operator runs it, and what Kafka tells of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from covering import Stream
from podman import ROOT, Podman
from prometheus_client.parser import text_string_to_metric_families

from level4.client import AsyncReader
from level4.model import Event, Spread

NODES = ("node1", "node2", "node3")
PORTS = {"node1": 50051, "node2": 50052, "node3": 50053}
PROJECT = "level4-scenario"
UP_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Composed:
    """The services of compose.yaml with its profile `demo`: the nodes' exchanges are the simulator."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self._podman = podman
        self._folder = folder

    def __call__(self, *arguments: str, seconds: float = UP_SECONDS) -> str:
        command = ["podman-compose", "--project-name", PROJECT, "--profile", "demo", *arguments]
        where = ["env", "-C", str(self._folder)]
        return self._podman.run(*where, *command, seconds=seconds, LEVEL4_SIMULATOR="simulator:9500")

    @contextmanager
    def up(self) -> Iterator[Composed]:
        self("down", "--volumes")
        try:
            self("up", "--detach")
            yield self
        except BaseException:
            for node in NODES:
                print(f"--- the last words of {node}\n{self._podman('logs', '--tail=15', name(node), check=False)}")
            raise
        finally:
            self("down", "--volumes", "--timeout", "10")

    def pid(self, node: str) -> int:
        return self._podman.pid(name(node))

    def usage(self, node: str) -> tuple[float, float]:
        """Resident megabytes, and seconds of CPU used so far."""
        process = Path(f"/proc/{self.pid(node)}")
        [resident] = [line.split()[1] for line in (process / "status").read_text().splitlines() if "VmRSS" in line]
        fields = (process / "stat").read_text().rpartition(") ")[2].split()
        return int(resident) / 1000, (int(fields[11]) + int(fields[12])) / _TICKS

    def metrics(self, node: str) -> str:
        """What Prometheus would read. The port is not published; this machine is on the containers' network, too."""
        return httpx.get(f"http://{address(self._podman, node)}:9464/metrics", trust_env=False).text

    def doctor(self, node: str) -> list[dict[str, str]]:
        """What `level4 doctor` finds in a node's container."""
        told = self._podman("exec", name(node), "level4", "doctor", "--json", "--exchange", "kraken", check=False)
        findings: list[dict[str, str]] = json.loads(told)
        return findings

    # what is done to it

    def kill(self, node: str) -> None:
        self._podman("kill", "--signal=KILL", name(node))

    def start(self, node: str) -> None:
        self._podman("start", name(node))

    def restart(self, node: str) -> None:
        """As compose does it: SIGTERM, time to hand over, and up again."""
        self("restart", "--timeout", "12", node)

    def disconnect(self, node: str) -> None:
        self._podman("network", "disconnect", f"{PROJECT}_default", name(node))

    def reconnect(self, node: str) -> None:
        self._podman("network", "connect", "--alias", "level4", "--alias", node, f"{PROJECT}_default", name(node))


def address(podman: Podman, service: str) -> str:
    [network] = json.loads(podman("inspect", name(service)))[0]["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def metric(text: str, wanted: str) -> float:
    [value] = [s.value for family in text_string_to_metric_families(text) for s in family.samples if s.name == wanted]
    return value


def name(service: str) -> str:
    return f"{PROJECT}_{service}_1"


def grpcurl(node: str, call: str, message: object = None) -> Any:
    """What it answers; an empty dictionary when it does not."""
    program = shutil.which("grpcurl", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert program is not None, "it comes with the test extra"
    said = [] if message is None else ["-d", json.dumps(message)]
    command = [program, "-plaintext", "-max-time", "20", *said, f"127.0.0.1:{PORTS[node]}"]
    command.append(f"level4.rpc.Control/{call}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def level4(node: str, *arguments: str) -> str:
    """A command on this machine, against a node's published port."""
    command = [sys.executable, "-m", "level4", *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LEVEL4_")}
    env |= {"RPC_PORT": str(PORTS[node]), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env=env)
    assert done.returncode == 0, f"level4 {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


class Watched:
    """Everything in Kafka since the beginning."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.streams: dict[int, Stream] = defaultdict(Stream)
        """By market id."""

    def add(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Spread):
            self.streams[event.market_id].add(event)

    def hosts(self) -> dict[int, str]:
        """Market → who publishes it LIVE."""
        return {market: stream.host for market, stream in self.streams.items() if stream.host is not None}

    async def until(self, what: str, done: Callable[[], bool], seconds: float) -> float:
        """Seconds that it took."""
        began = trio.current_time()
        while not done():
            assert trio.current_time() - began < seconds, f"not within {seconds:g} s: {what}; LIVE are {self.hosts()}"
            await trio.sleep(0.2)
        return trio.current_time() - began


@asynccontextmanager
async def watching(endpoint: str) -> AsyncIterator[Watched]:
    watched = Watched()

    async def read(reader: AsyncReader) -> None:
        async for record in reader:
            watched.add(record.event)

    reader = AsyncReader([endpoint], start="beginning", patience=60.0, options={"fetch_max_wait_ms": 50})
    async with reader, trio.open_nursery() as nursery:
        nursery.start_soon(read, reader)
        yield watched
        nursery.cancel_scope.cancel()


def now_us() -> int:
    return time.time_ns() // 1000
