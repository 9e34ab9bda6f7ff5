"""A cluster whose nodes call each other by mutual TLS and with tokens; who is of another authority is shut out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cluster_rig import Cluster, cluster, credentials_of, hosts, market, started, until_markets, until_nodes

from level4.proto.level4_pb2 import Node
from level4.rpc.client import connect
from level4.rpc.errors import NodeUnavailableError, UnauthenticatedError

pytestmark = pytest.mark.broker

NAME = "nodes.of.this.test"
"""In the certificate of each node: nodes are called by addresses, which no authority knows beforehand."""
TOKEN, NEXT_TOKEN = "a-token-of-this-test", "the-next-token-of-this-test"
NODES = ("a", "b", "c")
MORE = {"MAX_DATA_FEEDS": "4", "LEVEL4_PLACEMENT": "least_loaded"}


class Authority:
    """Certificates for nodes, and the settings that a node gets with one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.renew(TOKEN)

    def renew(self, token: str, *nodes: str) -> None:
        """Another authority, which issues new certificates, and another token."""
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self._folder / "ca.pem")
        (self._folder / "tokens").write_text(token)
        for node in nodes:
            self._issue(node)

    def _issue(self, node: str) -> Path:
        path = self._folder / f"{node}.pem"
        self._authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def settings(self, node: str) -> dict[str, str]:
        return {
            "LEVEL4_TLS_CA": str(self._folder / "ca.pem"),
            "LEVEL4_TLS_CERT": str(self._issue(node)),
            "LEVEL4_TLS_SERVER_NAME": NAME,
            "LEVEL4_TOKENS_FILE": str(self._folder / "tokens"),
            "LEVEL4_CLUSTER_KEYS": "ab" * 32,
        }


@asynccontextmanager
async def secured(folder: Path, ours: Authority) -> AsyncIterator[Cluster]:
    """Three nodes that host a market each, and know it."""
    async with cluster(folder) as it:
        for name in NODES:
            await it.start(name, **ours.settings(name), **MORE)
        for client in it.clients.values():
            await until_nodes(client, all_ready)
        await started(it.clients["a"], market(1), market(2), market(3))
        yield it


def all_ready(nodes: list[Node]) -> bool:
    return [node.name for node in nodes if node.state == "READY"] == list(NODES)


async def control_ports(it: Cluster) -> dict[str, int]:
    return {node.name: int(node.address.rpartition(":")[2]) for node in await it.clients["a"].list_nodes()}


async def all_see_all(it: Cluster, hosting: set[str]) -> None:
    """Each node is told the state of all markets, and their books."""
    for client in it.clients.values():
        listed = await until_markets(client, lambda markets: [m.state for m in markets] == ["LIVE"] * 3)
        assert hosts(listed).keys() == hosting
        for one in listed:
            async with client.watch_book(one, depth=1, interval_ms=50) as replies:
                async for reply in replies:
                    assert reply.bids
                    break


async def test_secured_nodes_answer_for_each_other_and_no_stranger_for_them(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    async with secured(tmp_path, ours) as it:
        a = it.clients["a"]
        await all_see_all(it, {"a", "b", "c"})
        placed = {one.id: one.node for one in await a.list_markets()}

        port = (await control_ports(it))["b"]
        stranger = theirs.settings("d")
        for shown, refusal in (
            (stranger, NodeUnavailableError),
            (ours.settings("guest") | {"LEVEL4_TOKENS_FILE": str(tmp_path / "wrong")}, UnauthenticatedError),
            ({"LEVEL4_TOKENS_FILE": stranger["LEVEL4_TOKENS_FILE"]}, NodeUnavailableError),
        ):
            (tmp_path / "wrong").write_text("another-token-of-this-test")
            async with connect("127.0.0.1", port, credentials=credentials_of(shown)) as guest:
                with pytest.raises(refusal):
                    await guest.list_nodes()

        d = await it.start("d", **stranger, **MORE)  # it has the gossip key, and a certificate of another authority
        await until_markets(d, lambda markets: len(markets) == 3)
        assert all("does not say" in one.reason for one in await d.list_markets())
        with pytest.raises(NodeUnavailableError):
            await d.move_market(market(1), "d")
        await until_nodes(a, lambda nodes: any(node.name == "d" and node.state == "READY" for node in nodes))
        reply = await a.start_market(market(4))  # the emptiest node cannot be called: another one takes it
        assert reply.node.name in NODES
        assert {one.id: one.node for one in await a.list_markets() if one.id != 4} == placed


async def test_certificates_and_tokens_change_under_running_nodes(tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    async with secured(tmp_path, ours) as it:
        await all_see_all(it, {"a", "b", "c"})
        ports = await control_ports(it)
        ours.renew(NEXT_TOKEN, *NODES)
        await it.end("b")
        again = {"RPC_PORT": str(ports["b"])}  # where the others know it, and have to connect anew
        await it.start("b", **ours.settings("b"), **MORE, **again)
        credentials = credentials_of(ours.settings("guest"))
        for name in ("a", "c"):
            guest = connect("127.0.0.1", ports[name], credentials=credentials)
            it.clients[name] = await it.stack.enter_async_context(guest)
        for client in it.clients.values():
            await until_nodes(client, all_ready)
        moved = await it.clients["a"].move_market(market(1), "b")
        assert moved.market.node == "b"
        await all_see_all(it, hosts(await it.clients["a"].list_markets()).keys() | {"b"})
