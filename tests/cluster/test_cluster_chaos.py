"""Nodes are killed, ended, put to sleep and started again, and markets moved, at random and at once; the seed is told.

Whatever happened: no two nodes ever publish in one epoch, no record of an epoch that goes on is missing, and in the end
every market is LIVE on one node, the same for all.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import trio
from cluster_rig import Cluster, cluster, crowd, started, until_markets, until_nodes

from level4.client import Integrity
from level4.model import TOPIC_OF, Event, Level4Error
from level4.proto.level4_pb2 import Market
from level4.rpc.errors import InternalError, OtherError

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NODES = ("a", "b", "c", "d")
IDS = set(range(1, 13))
ROUNDS = 12


@pytest.mark.parametrize("seed", [int(os.environ.get("CLUSTER_TEST_SEED", "1"))])
async def test_whatever_happens_a_market_has_one_host(tmp_path: Path, seed: int, report: Callable[[str], None]) -> None:
    random = Random(seed)
    async with trio.open_nursery() as background, cluster(tmp_path, rate=10) as it:
        await it.start_all(*NODES)
        await started(it.clients["a"], *crowd(len(IDS)))
        await it.rig.until(it.all_live(IDS, NODES))
        did = []
        for _ in range(ROUNDS):
            over = trio.Event()
            background.start_soon(move_about, it, random, over)
            did.append(await strike(it, random))
            await over.wait()
            await trio.sleep(random.uniform(0, 2))
        for client in it.clients.values():
            await until_nodes(client, lambda nodes: {one.name for one in nodes if one.state == "READY"} == set(NODES))
        await it.rig.until(it.all_live(IDS, NODES), 60)
        owners = {one.id: one.node for one in await it.clients["a"].list_markets()}
        for client in it.clients.values():
            await until_markets(client, lambda ms: {m.id: m.node for m in ms if m.state == "LIVE"} == owners)
        assert owners.keys() == IDS
        report(f"seed {seed}: {', '.join(did)}; {judged(it.rig.events)}")


async def strike(it: Cluster, random: Random) -> str:
    name = random.choice(NODES)
    what = random.choice(("kill", "end", "sleep"))
    seconds = random.uniform(0.5, 7)
    if what == "sleep":
        process = it.nodes[name].process
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        return f"{name} slept {seconds:.1f} s"
    if what == "kill":
        await it.kill(name)
    else:
        assert await it.end(name) == 0
    await trio.sleep(seconds)
    await it.start(name)
    return f"{name} {what} and back after {seconds:.1f} s"


async def move_about(it: Cluster, random: Random, over: trio.Event) -> None:
    """Ask for something that may well fail, because the nodes it needs are struck meanwhile."""
    asked, source, market_id = random.choice(sorted(it.clients)), random.choice(NODES), random.choice(sorted(IDS))
    client, what = it.clients[asked], random.choice(("move", "drain", "rebalance"))
    with trio.move_on_after(20):
        try:
            if what == "move":
                await client.move_market(Market(id=market_id), random.choice(("", source)))
            elif what == "drain":
                await client.drain_node(source)
            else:
                await client.rebalance()
        except Level4Error as error:
            assert not isinstance(error, (InternalError, OtherError)), error  # noqa: PT017 - others are to be expected
    over.set()


def judged(events: list[Event]) -> str:
    nodes: dict[tuple[int, str, int], set[str]] = defaultdict(set)
    integrity = Integrity()
    for event in events:
        integrity.check_event(event)
        if event.market_id is not None:
            nodes[event.market_id, TOPIC_OF[type(event)], event.epoch].add(event.node)
    assert not {where: names for where, names in nodes.items() if len(names) > 1}, "two hosts in one epoch"
    accounts = [account for stream, account in integrity.accounts.items() if stream[0] is not None]
    assert sum(account.lost for account in accounts) == 0
    late, epochs = sum(account.old_host for account in accounts), sum(account.epochs for account in accounts)
    return f"{len(events)} events, {epochs} epochs, {late} late records of former hosts, {len(hosts_of(nodes))} hosts"


def hosts_of(nodes: dict[tuple[int, str, int], set[str]]) -> set[str]:
    return set().union(*nodes.values())
