"""`level4 doctor` and `level4 probe`: verdicts on what is really there, and on what a test can only pretend."""

from __future__ import annotations

import json
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner
from probing import Told, told_node

from level4.cli.main import main
from level4.ops import brokers
from level4.ops.brokers import check_kafka
from level4.ops.doctor import examine
from level4.ops.findings import Finding, Verdict
from level4.ops.http import Answer, serve_http
from level4.ops.machine import check_clock, check_descriptors, check_folder, kernel_clock
from level4.ops.settings import load
from level4.publish import EmbeddedBroker, KafkaSettings, Layout
from level4.simulator import Simulator

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
RIGHTS = ["WRITE", "READ", "DESCRIBE", "ALTER"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "SECONDS", 1.0)


def verdicts(findings: list[Finding], check: str) -> list[Verdict]:
    return [finding.verdict for finding in findings if finding.check.startswith(check)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.broker
async def test_where_everything_is_there_nothing_fails(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(Simulator().serve, "127.0.0.1", 0)
            env = {
                "KAFKA_ENDPOINTS": broker.endpoint,
                "LEVEL4_SIMULATOR": f"127.0.0.1:{port}",
                "LEVEL4_CACHE_DIR": str(tmp_path),
                "RPC_PORT": str(free_port()),
            }
            findings = await examine(load(env, {}, ["7=KRAKEN:SPOT:BTC/USD"]))
            nursery.cancel_scope.cancel()
    assert not [finding for finding in findings if finding.verdict is FAIL]
    assert {"settings", "descriptors", "control port", "kafka", "topic level4.markets", "topic level4.spread",
            "websocket kraken.v2", "rest kraken.v2"} <= {finding.check for finding in findings}  # fmt: skip


async def test_what_is_away_fails_and_says_what_to_do(tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            "KAFKA_ENDPOINTS": away,
            "LEVEL4_SIMULATOR": away,
            "LEVEL4_CACHE_DIR": str(tmp_path),
            "RPC_PORT": str(taken.getsockname()[1]),
            "LEVEL4_TLS_CA": str(tmp_path / "ca.pem"),
        }
        findings = await examine(load(env, {}, ["7=KRAKEN:SPOT:BTC/USD"]))
    for check in ("settings", "kafka", "control port", "websocket kraken.v2", "rest kraken.v2"):
        assert verdicts(findings, check) == [FAIL], check
    assert all(finding.advice for finding in findings if finding.check in ("kafka", "control port", "rest kraken.v2"))


async def test_the_http_port_is_free_a_nodes_or_somebody_elses(tmp_path: Path) -> None:
    env = {"KAFKA_ENDPOINTS": "127.0.0.1:1", "LEVEL4_SIMULATOR": "127.0.0.1:1", "LEVEL4_CACHE_DIR": str(tmp_path)}
    env |= {"RPC_PORT": "0", "LEVEL4_GOSSIP_PORT": "0"}
    free = free_port()
    found = await examine(load(env | {"LEVEL4_HTTP_PORT": str(free)}), ["kraken"])
    assert verdicts(found, "http port") == [OK]

    async def ready(_accept: str) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(b'{"node": "node1"}', status=503)

    for routes, verdict in (({"/readyz": ready}, OK), ({}, FAIL)):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_http, routes, "127.0.0.1", 0)
            found = await examine(load(env | {"LEVEL4_HTTP_PORT": str(port)}), ["kraken"])
            nursery.cancel_scope.cancel()
        assert verdicts(found, "http port") == [verdict]


async def test_exchanges_that_no_market_needs_only_warn(tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    env = {"KAFKA_ENDPOINTS": away, "LEVEL4_SIMULATOR": away, "LEVEL4_CACHE_DIR": str(tmp_path), "RPC_PORT": "0"}
    findings = await examine(load(env))
    assert len(verdicts(findings, "websocket")) > 10
    assert set(verdicts(findings, "websocket")) == {WARN}


class Admin:
    """What kafka-python's admin client would answer."""

    topics: list[dict[str, Any]]
    rights: list[str]

    def __init__(self, **_options: Any) -> None: ...

    def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [1], "cluster_id": "c", "authorized_operations": self.rights}

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [topic for topic in self.topics if topic["name"] in names]

    def close(self) -> None: ...


def topic(name: str, partitions: int, rights: list[str] = RIGHTS, leader: int = 1, error: int = 0) -> dict[str, Any]:
    each = [{"leader_id": leader}] * partitions
    return {"name": name, "error_code": error, "partitions": each, "authorized_operations": rights}


@pytest.mark.parametrize(
    ("there", "create", "rights", "check", "verdict"),
    [
        ([topic("level4.spread", 64)], True, ["CREATE"], "topic level4.spread", OK),
        ([topic("level4.spread", 5)], True, ["CREATE"], "topic level4.spread", WARN),
        ([topic("level4.spread", 5)], False, ["CREATE"], "topic level4.spread", FAIL),
        ([topic("level4.spread", 64, ["DESCRIBE"])], True, ["CREATE"], "topic level4.spread", FAIL),
        ([topic("level4.spread", 64, leader=-1)], True, ["CREATE"], "topic level4.spread", FAIL),
        ([topic("level4.markets", 1)], True, ["CREATE"], "topic level4.markets", OK),
        ([topic("level4.markets", 2)], True, ["CREATE"], "topic level4.markets", FAIL),
        ([topic("level4.markets", 1, ["WRITE"])], True, ["CREATE"], "topic level4.markets", FAIL),
        ([], True, ["CREATE"], "topic level4.spread", OK),
        ([topic("level4.spread", 0, ["DESCRIBE"], error=3)], True, ["CREATE"], "topic level4.spread", OK),
        ([topic("level4.spread", 0, ["CREATE"], error=3)], True, [], "topic level4.spread", OK),
        ([topic("level4.spread", 0, ["DESCRIBE"], error=3)], True, [], "topic level4.spread", FAIL),
        ([topic("level4.spread", 0, [], error=29)], True, [], "topic level4.spread", FAIL),
        ([topic("level4.spread", 5, ["WRITE", "READ"])], True, ["CREATE"], "topic level4.spread", FAIL),
        ([], False, ["CREATE"], "topic level4.spread", FAIL),
    ],
)
def test_topics(
    monkeypatch: pytest.MonkeyPatch,
    there: list[dict[str, Any]],
    create: bool,
    rights: list[str],
    check: str,
    verdict: Verdict,
) -> None:
    admin = type("WithThese", (Admin,), {"topics": there, "rights": rights})
    monkeypatch.setattr(brokers, "KafkaAdminClient", admin)
    findings = check_kafka(KafkaSettings(("kafka:9092",), Layout(create=create)), [7])
    assert verdicts(findings, check) == [verdict]


def test_the_clock() -> None:
    assert verdicts(check_clock([0.2, -0.3, 0.4], lambda: (True, 0.01)), "clock") == [OK, OK]
    assert verdicts(check_clock([3.2, 2.9, 0.1], lambda: (True, 0.01)), "clock") == [OK, FAIL]
    assert verdicts(check_clock([], lambda: (False, 16.0)), "clock") == [WARN]
    assert verdicts(check_clock([], lambda: None), "clock") == [WARN]
    told = kernel_clock()
    assert told is None or told[1] >= 0


def test_file_descriptors() -> None:
    assert check_descriptors(25, 1024).verdict is OK
    assert check_descriptors(100, 600).verdict is WARN
    assert check_descriptors(200, 600).verdict is FAIL
    assert check_descriptors(10_000, resource.RLIM_INFINITY).verdict is OK


def test_the_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_folder(tmp_path / "new" / "folder").verdict is OK
    assert check_folder(tmp_path / "file" / "folder").verdict is WARN


def test_doctor_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = f"127.0.0.1:{free_port()}"
    env = {"KAFKA_ENDPOINTS": away, "LEVEL4_SIMULATOR": away, "LEVEL4_CACHE_DIR": str(tmp_path), "RPC_PORT": "0"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(main, ["doctor", "--json", "--exchange", "kraken"])
    assert told.exit_code == 5
    assert {"check", "verdict", "text", "advice"} == set(json.loads(told.stdout)[0])
    shown = CliRunner().invoke(main, ["doctor", "--exchange", "kraken"])
    assert "fail  kafka: " in shown.stdout
    assert "→ KAFKA_ENDPOINTS" in shown.stdout
    monkeypatch.setenv("RPC_PORT", "many")
    assert CliRunner().invoke(main, ["doctor"]).exit_code == 2


@pytest.mark.parametrize("by", [Told.GRPC, Told.HTTP])
async def test_probe_says_what_the_node_says(by: Told) -> None:
    async with told_node(by) as node:
        assert await node.probe() == (1, "NOT_SERVING" if by is Told.GRPC else '{"ready": false}')
        assert (await node.probe("--live"))[0] == 0
        node.set_ready()
        assert await node.probe() == (0, "SERVING" if by is Told.GRPC else '{"ready": true}')


@pytest.mark.parametrize("by", [Told.GRPC, Told.HTTP])
async def test_probe_of_nobody_says_no(by: Told) -> None:
    async with told_node(by) as node:
        node.leave()
        for options in ((), ("--live",)):
            code, text = await node.probe(*options)
            assert code == 1
            assert f"127.0.0.1:{node.port}" in text
