"""The image, built and run by podman: it answers, publishes, is well, and ends in order. Prints what it costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable

import httpx
import pytest
import trio
from podman import IMAGE, STOP_SECONDS, Container, Podman
from prometheus_client.parser import text_string_to_metric_families

from level4.proto.level4_pb2 import Market
from level4.publish import EmbeddedBroker
from level4.rpc.client import connect
from level4.simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.containers]

MARKET = Market(id=17, exchange_name="KRAKEN", type="SPOT", base_symbol="BTC", quote_symbol="USD")
IDLE_SECONDS = 5.0


@pytest.fixture(scope="module")
def podman() -> Podman:
    found = Podman.find()
    found.build()
    return found


def grpcurl(port: int, *arguments: str) -> str:
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    program = shutil.which("grpcurl", path=path)
    assert program is not None, "it comes with the test extra"
    command = [program, "-plaintext", "-max-time", "5", f"127.0.0.1:{port}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def until_it_answers(port: int, seconds: float = 30.0) -> str:
    """The services of a node, once it answers."""
    deadline = time.monotonic() + seconds
    while not (services := grpcurl(port, "list")):
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.2)
    return services


def metric(text: str, name: str) -> float:
    [value] = [s.value for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return value


def test_with_nothing_but_a_name_and_kafka_it_serves_and_ends_in_order(podman: Podman) -> None:
    options = ("--publish=127.0.0.1::50051", "--env=HOSTNAME=node1", "--env=KAFKA_ENDPOINTS=127.0.0.1:9")
    with podman.container(*options) as node:
        port = node.port(50051)
        services = until_it_answers(port).split()
        assert {"level4.rpc.Control", "grpc.health.v1.Health"} <= set(services)
        nodes = json.loads(grpcurl(port, "level4.rpc.Control/ListNodes"))["nodes"]
        assert nodes[0]["name"] == "node1"
        [network] = json.loads(podman("inspect", node.name))[0]["NetworkSettings"]["Networks"].values()
        assert nodes[0]["address"] == f"{network['IPAddress']}:50051", "where others can call it"
        assert not [line for line in node.log() if "cannot" in str(line["event"])]
        assert any("is open" in str(line["event"]) for line in node.log())
        assert node.run("id", "-u") == "10001"
        assert not node.healthy(), "Kafka is away: it lives, and is not ready"
        node.run("level4", "probe", "--live")
        code, seconds = node.stop()
        assert (code, seconds < STOP_SECONDS) == (0, True), f"{code} after {seconds:.1f} s: {node.log()[-3:]}"


def test_without_a_network_it_says_that_nobody_can_reach_it(podman: Podman) -> None:
    with podman.container("--network=none", "--env=HOSTNAME=node1") as node:
        deadline = time.monotonic() + 30
        while not (said := [str(line["event"]) for line in node.log() if "cannot" in str(line["event"])]):
            assert time.monotonic() < deadline, node.log()
            time.sleep(0.2)
        assert "LEVEL4_GOSSIP_ADVERTISE" in said[0]
        assert "LEVEL4_RPC_ADVERTISE" in " ".join(said)


def test_a_signal_in_its_first_moments_is_not_lost(podman: Podman) -> None:
    for pause in (0.0, 0.2, 0.5):  # while it imports, while it builds itself, while it starts
        with podman.container("--env=HOSTNAME=node1") as node:
            node.until_it_takes_signals()
            time.sleep(pause)
            code, seconds = node.stop()
            assert seconds < STOP_SECONDS
            assert code in (0, 143)


async def test_it_publishes_and_what_it_costs(podman: Podman, report: Callable[[str], None]) -> None:
    with EmbeddedBroker() as broker:
        async with trio.open_nursery() as nursery:
            simulator = await nursery.start(Simulator(rate=20).serve, "127.0.0.1", 0)
            ports = {"RPC_PORT": 50951, "LEVEL4_HTTP_PORT": 9951}
            env = ports | {
                "HOSTNAME": "node1",
                "KAFKA_ENDPOINTS": broker.endpoint,
                "LEVEL4_SIMULATOR": f"127.0.0.1:{simulator}",
                "LEVEL4_CLUSTER": "the-image-under-test",
                "LEVEL4_GOSSIP_HOST": "127.0.0.1",
                "LEVEL4_GOSSIP_PORT": 0,
                "LEVEL4_MULTICAST": "false",
            }
            options = ["--network=host", *(f"--env={name}={value}" for name, value in env.items())]
            began = time.monotonic()
            with podman.container(*options) as node:
                costs = await _costs(node, ports, began)
            nursery.cancel_scope.cancel()
    costs["image MB"] = json.loads(podman("image", "inspect", IMAGE))[0]["Size"] / 1e6
    for name, value in costs.items():
        report(f"{name}: {value:.3f}")


async def _costs(node: Container, ports: dict[str, int], began: float) -> dict[str, float]:
    costs: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['LEVEL4_HTTP_PORT']}") as http:
        with trio.fail_after(60):
            while not await _ready(http):  # noqa: ASYNC110 - another process becomes ready
                await trio.sleep(0.1)
        costs["ready after s"] = time.monotonic() - began
        assert await trio.to_thread.run_sync(node.healthy)
        before = (await http.get("/metrics")).text
        await trio.sleep(IDLE_SECONDS)
        after = (await http.get("/metrics")).text
        costs["idle RSS MB"] = metric(after, "process_resident_memory_bytes") / 1e6
        used = metric(after, "process_cpu_seconds_total") - metric(before, "process_cpu_seconds_total")
        costs["idle CPU %"] = 100 * used / IDLE_SECONDS
        asked = time.monotonic()
        async with connect("127.0.0.1", ports["RPC_PORT"]) as control:
            await control.start_market(MARKET, wait_live=True)
            assert await control.is_market_online(MARKET)
        costs["StartMarket to LIVE s"] = time.monotonic() - asked
        costs["start to first LIVE s"] = costs["ready after s"] + costs["StartMarket to LIVE s"]
        with trio.fail_after(30):
            while metric((await http.get("/metrics")).text, "level4_kafka_acked_total") < 5:  # noqa: ASYNC110
                await trio.sleep(0.1)
    code, seconds = await trio.to_thread.run_sync(node.stop)
    costs["SIGTERM to exit s"] = seconds
    assert (code, seconds < STOP_SECONDS) == (0, True)
    return costs


async def _ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def test_the_image_says_what_it_is(podman: Podman) -> None:
    [image] = json.loads(podman("image", "inspect", IMAGE))
    labels = image["Labels"]
    assert labels["org.opencontainers.image.title"] == "level4"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image["Config"]["User"] == "10001:10001"
    assert image["Healthcheck"]["Test"] == ["CMD", "level4", "probe"]
