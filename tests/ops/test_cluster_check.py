"""What `level4 doctor` says of the cluster, against real gossip on loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from level4.cluster.gossip import Gossip, GossipSettings
from level4.cluster.meta import Meta, encode_meta
from level4.ops import cluster_check
from level4.ops.cluster_check import check_cluster
from level4.ops.cluster_metrics import cluster_metrics
from level4.ops.findings import Finding, Verdict
from level4.ops.http import serve_http
from level4.ops.metrics import Metrics
from level4.ops.settings import load
from level4.swim import LOCAL, Address

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
KEY, OTHER = "11" * 32, "22" * 32
Start = Callable[..., Awaitable[Gossip]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_check, "SECONDS", 1.5)


@asynccontextmanager
async def cluster(**shared: Any) -> AsyncIterator[Start]:
    async with trio.open_nursery() as nursery:

        async def start(name: str, kafka: str = "k", **settings: Any) -> Gossip:
            options: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "multicast_port": None, "config": LOCAL}
            meta = encode_meta(Meta(control="127.0.0.1:1", active=3, version="9.9", kafka=kafka))
            given = GossipSettings(name, **options | shared | settings)
            gossip = Gossip(given, on_event=lambda event: None, random=Random(name), meta=meta)
            await nursery.start(gossip.run)
            return gossip

        yield start
        nursery.cancel_scope.cancel()


async def both(start: Start, **settings: Any) -> tuple[Gossip, Gossip]:
    """Two nodes that know each other."""
    a = await start("a")
    b = await start("b", seeds=(at(a),), **settings)
    with trio.fail_after(10):
        while len(a.members()) < 2 or len(b.members()) < 2:  # noqa: ASYNC110 - packets
            await trio.sleep(0.01)
    return a, b


def at(gossip: Gossip) -> str:
    address = gossip.address
    assert address is not None
    return f"{address[0]}:{address[1]}"


async def examined(seed: str, **env: str) -> dict[str, Finding]:
    settings = load({"HOSTNAME": "c", "LEVEL4_SEEDS": seed, "LEVEL4_GOSSIP_PORT": "0", "RPC_PORT": "1"} | env)
    found = await check_cluster(settings, Random(1))
    return {finding.check: finding for finding in found}


@pytest.mark.parametrize("key", [None, KEY])
async def test_every_member_answers_in_full_size_and_nobody_has_joined(key: str | None) -> None:
    keys = {} if key is None else {"keys": (bytes.fromhex(key),)}
    async with cluster(**keys) as start:
        a, b = await both(start)
        found = await examined(at(a), **({} if key is None else {"LEVEL4_CLUSTER_KEYS": key}))
        assert [len(one.members()) for one in (a, b)] == [2, 2]
    assert {finding.verdict for finding in found.values()} == {OK}
    for name in ("member a", "member b"):
        assert "full-size datagrams pass both ways" in found[name].text
        assert "version 9.9, 3 markets" in found[name].text
    assert found["cluster"].text == f"level4, {'in clear' if key is None else 'sealed'}: a, b"


@pytest.mark.parametrize(
    ("theirs", "ours", "named"),
    [
        ({"keys": (bytes.fromhex(KEY),)}, {"LEVEL4_CLUSTER_KEYS": OTHER}, "LEVEL4_CLUSTER_KEYS"),
        ({"keys": (bytes.fromhex(KEY),)}, {}, "LEVEL4_CLUSTER_KEYS"),
        ({}, {"LEVEL4_CLUSTER_KEYS": KEY}, "LEVEL4_CLUSTER_KEYS"),
        ({"cluster": "theirs"}, {}, "LEVEL4_CLUSTER is"),
    ],
)
async def test_a_wrong_key_or_name_is_told_by_the_nodes_own_count(
    theirs: dict[str, Any], ours: dict[str, str], named: str
) -> None:
    async with cluster(**theirs) as start, trio.open_nursery() as nursery:
        a = await start("a")
        routes = {"/metrics": Metrics(cluster_metrics(a, {})).answer}
        port = await nursery.start(serve_http, routes, "127.0.0.1", 0)
        found = await examined(at(a), LEVEL4_HTTP_PORT=str(port), **ours)
        nursery.cancel_scope.cancel()
    finding = found[f"seed {at(a)}"]
    assert finding.verdict is FAIL
    assert named in finding.advice


async def test_nobody_there_is_a_warning_for_a_seed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        seed = f"127.0.0.1:{plain.getsockname()[1]}"
        silent = (await examined(seed))[f"seed {seed}"]
        assert (silent.verdict, "no answer" in silent.text, "firewall" in silent.advice) == (WARN, True, True)
    closed = (await examined(seed))[f"seed {seed}"]
    assert (closed.verdict, "nothing listens" in closed.text) == (WARN, True)


async def test_silence_where_calls_are_answered_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(*_: object) -> str:
        await trio.lowlevel.checkpoint()
        return "a"

    monkeypatch.setattr(cluster_check, "_answers_calls", answers)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.bind(("127.0.0.1", 0))
        seed = f"127.0.0.1:{plain.getsockname()[1]}"
        finding = (await examined(seed))[f"seed {seed}"]
    assert finding.verdict is FAIL
    assert "UDP is blocked" in finding.advice


async def relay(target: Address, largest: int, task_status: trio.TaskStatus[str]) -> None:
    """A path on which datagrams that are too large are lost."""
    outside, inside = (trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with outside, inside:
        await outside.bind(("127.0.0.1", 0))
        await inside.bind(("127.0.0.1", 0))
        asker: list[Any] = []

        async def there() -> None:
            while True:
                data, source = await outside.recvfrom(65_536)
                asker[:] = [source]
                if len(data) <= largest:
                    await inside.sendto(data, target)

        async def back() -> None:
            while True:
                data = await inside.recv(65_536)
                if len(data) <= largest:
                    await outside.sendto(data, asker[0])

        task_status.started(f"127.0.0.1:{outside.getsockname()[1]}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(there)
            nursery.start_soon(back)


async def test_a_path_that_drops_large_datagrams_fails() -> None:
    async with cluster() as start, trio.open_nursery() as nursery:
        a = await start("a")
        assert a.address is not None
        through = await nursery.start(partial(relay, a.address, 1000))
        found = await check_cluster(load({"LEVEL4_SEEDS": through, "LEVEL4_GOSSIP_PORT": "0"}), Random(1))
        nursery.cancel_scope.cancel()
    [failed] = [one for one in found if one.verdict is FAIL]
    assert (failed.check, "MTU" in failed.advice) == ("member a", True)
    assert "1400 bytes do not get there" in failed.text


async def test_a_name_that_is_held_and_nodes_that_do_not_fit_together() -> None:
    async with cluster() as start:
        a, _ = await both(start, kafka="another")
        found = await examined(at(a), HOSTNAME="b")
    assert (found["name"].verdict, found["cluster"].verdict) == (FAIL, FAIL)
    assert "different Kafka clusters: b on another; a on k" in found["cluster"].text


async def test_addresses_that_others_cannot_reach_fail() -> None:
    found = await examined("192.0.2.7:7946", LEVEL4_GOSSIP_HOST="127.0.0.1")
    assert found["advertised address"].verdict is FAIL
    found = await examined("no-such-host.invalid:7946")
    assert found["seeds"].verdict is FAIL
    found = {one.check: one for one in await check_cluster(load({"LEVEL4_GOSSIP_PORT": "0"}))}
    assert {one.verdict for one in found.values()} == {OK}
    assert "this machine only" in found["advertised address"].text
    found = await examined("127.0.0.1:1", LEVEL4_GOSSIP_ADVERTISE="no-such-host.invalid")
    assert "LEVEL4_GOSSIP_ADVERTISE" in found["advertised address"].text


async def test_a_node_of_this_name_that_runs_here_is_the_own_one(tmp_path: Path) -> None:
    async with cluster() as start:
        a = await start("a")
        assert a.address is not None
        env = {"HOSTNAME": "a", "LEVEL4_GOSSIP_PORT": str(a.address[1]), "LEVEL4_CACHE_DIR": str(tmp_path)}
        found = {one.check: one for one in await check_cluster(load(env))}
    assert "name" not in found
    assert found["member a"].verdict is OK
