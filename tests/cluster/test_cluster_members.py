"""Nodes find each other, tell of each other once, and keep strangers and doubles out."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from cluster_rig import cluster, market, started, until_markets, until_nodes
from running import Rig

from level4.cluster.meta import Meta, decode_meta, encode_meta
from level4.model import Status
from level4.publish import EmbeddedBroker
from level4.rpc.errors import FailedPreconditionError

pytestmark = pytest.mark.broker


def told(rig: Rig) -> list[tuple[str, str | None, str]]:
    return [(e.event, e.member, e.node) for e in rig.events if isinstance(e, Status) and e.event.startswith("node_")]


async def test_each_change_is_announced_once_by_the_lowest_named_node(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", "c", MAX_DATA_FEEDS="3")
        for client in it.clients.values():
            nodes = await client.list_nodes()
            assert {(n.name, n.max_active_markets) for n in nodes} == {("a", 3), ("b", 3), ("c", 3)}
            assert all(n.version and n.address.startswith("127.0.0.1:") for n in nodes)
        assert await it.nodes["b"].stop() == 0
        await it.rig.until(lambda events: len(told(it.rig)) >= 3)
        await it.kill("a")
        await it.rig.until(lambda events: len(told(it.rig)) >= 4)
        assert told(it.rig) == [
            ("node_joined", "b", "a"), ("node_joined", "c", "a"), ("node_left", "b", "a"), ("node_failed", "a", "c"),
        ]  # fmt: skip


async def test_of_two_nodes_of_one_name_the_younger_exits_and_names_the_other(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b")
        lines = it.nodes["b"].log.read_text()
        folder = tmp_path / "double"
        folder.mkdir()
        elsewhere = Rig(it.rig.simulator, it.rig.broker, it.rig.address, folder)
        async with elsewhere.node([], HOSTNAME="b", LEVEL4_SEEDS=it.seeds["a"]) as double:
            with trio.fail_after(20):
                assert await double.process.wait() == 4
            assert "expected the node name 'b' to be free" in double.tail()
        assert it.nodes["b"].process.returncode is None
        assert it.nodes["b"].log.read_text().startswith(lines)


async def test_a_node_that_was_killed_comes_back_under_its_name(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b")
        await started(it.clients["a"], market(1), market(2), market(3))
        await it.kill("b")
        client = await it.start("b")
        await until_markets(client, lambda markets: [m.id for m in markets if m.state == "LIVE"] == [1, 2, 3])
        for one in it.clients.values():
            await until_nodes(one, lambda nodes: {n.name for n in nodes if n.state == "READY"} == {"a", "b"})


async def test_a_node_on_another_kafka_gets_no_markets(tmp_path: Path) -> None:
    with EmbeddedBroker() as other:
        async with cluster(tmp_path) as it:
            await it.start_all("a", MAX_DATA_FEEDS="1")
            await it.start("z", KAFKA_ENDPOINTS=other.endpoint)
            await trio.sleep(2)  # what must not happen has no event to wait for
            client = it.clients["a"]
            await started(client, market(1))
            with pytest.raises(Exception, match="no node has room"):
                await client.start_market(market(2))


async def test_nodes_of_one_machine_meet_without_being_told(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        name = f"met-{it.rig.broker.port}"
        for node in ("a", "b"):
            await it.start(node, LEVEL4_MULTICAST="true", LEVEL4_SEEDS="", LEVEL4_CLUSTER=name)
        for client in it.clients.values():
            await until_nodes(client, lambda nodes: {n.name for n in nodes} == {"a", "b"})
        await started(it.clients["a"], market(1))
        (one,) = await until_markets(it.clients["b"], lambda markets: len(markets) == 1)
        with pytest.raises(FailedPreconditionError, match="already"):
            await it.clients["b"].move_market(one, one.node)


async def test_behind_tokens_and_keys_nodes_believe_each_other_and_no_stranger(tmp_path: Path) -> None:
    secrets = {"LEVEL4_TOKENS": "a-token-of-this-test", "LEVEL4_CLUSTER_KEYS": "ab" * 32, "MAX_DATA_FEEDS": "1"}
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", **secrets)
        await started(it.clients["a"], market(1), market(2))
        listed = await until_markets(it.clients["b"], lambda markets: [m.state for m in markets] == ["LIVE", "LIVE"])
        assert {one.node for one in listed} == {"a", "b"}
        stranger = await it.start("c", LEVEL4_CLUSTER_KEYS="cd" * 32, KAFKA_ENDPOINTS="127.0.0.1:1")
        await trio.sleep(2)  # what must not happen has no event to wait for
        assert [node.name for node in await stranger.list_nodes()] == ["c"]
        assert {node.name for node in await it.clients["a"].list_nodes()} == {"a", "b"}


def test_meta_fits_and_strangers_are_read_as_nothing() -> None:
    meta = Meta("[2001:db8::ffff]:65535", 10_000, 9_999, True, True, "10.20.30.dev400", "k" * 40, "e" * 32)
    assert decode_meta(encode_meta(meta)) == meta
    assert len(encode_meta(meta)) < 512
    assert decode_meta(encode_meta(Meta())[:-1] + b',"new":1}'.replace(b",", b"", 1)) == Meta()
    for data in (b"", b"2{}", b"1", b"1[]", b'1{"c":"x"}', b"1\xff"):
        assert decode_meta(data) is None
