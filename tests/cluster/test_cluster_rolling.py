"""A rolling restart under load: each node in turn is told to end, hands its markets over, and comes back.

A consumer that keeps to the rules sees every market all the time, and every spread stream without a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio
from cluster_rig import Cluster, cluster, crowd, hosts, started, until_nodes

from level4.client import Integrity
from level4.client.integrity import Account
from level4.model import FeedState, Spread
from level4.proto.level4_pb2 import Node

pytestmark = pytest.mark.broker

NODES = ("a", "b", "c")
RATE = 50
"""Book updates of each market a second."""
LONGEST_GAP_SECONDS = 2.0


@pytest.mark.parametrize("markets", [6, pytest.param(24, marks=pytest.mark.slow)])
async def test_a_rolling_restart_leaves_no_market_unseen(
    tmp_path: Path, markets: int, report: Callable[[str], None]
) -> None:
    ids = set(range(1, markets + 1))
    env = {"LEVEL4_SPREAD_TRIGGER": "size", "MAX_DATA_FEEDS": str(markets)}
    async with cluster(tmp_path, rate=RATE, trade_rate=2) as it:
        await it.start_all(*NODES, **env)
        await started(it.clients["a"], *crowd(markets))
        await it.rig.until(it.all_live(ids, NODES))
        seen = len(it.rig.events)
        moved = 0
        for name in NODES:
            moved += len(hosts(await it.clients[name].list_markets()).get(name, ()))
            began = trio.current_time()
            assert await it.end(name) == 0
            report(f"{name} ended after {trio.current_time() - began:.1f} s")
            await it.start(name, **env)
            for client in it.clients.values():
                await until_nodes(client, all_ready)
            assert it.all_live(ids, NODES)([])
        judge(it, seen, ids, moved, report)


def judge(it: Cluster, seen: int, ids: set[int], moved: int, report: Callable[[str], None]) -> None:
    integrity = Integrity()
    last: dict[int, float] = {}
    worst = dict.fromkeys(ids, 0.0)
    for number, (event, at) in enumerate(zip(it.rig.events, it.rig.read_at, strict=True)):
        verdict = integrity.check_event(event)
        if isinstance(event, Spread) and verdict.fresh and event.state is FeedState.LIVE:
            if number >= seen:
                worst[event.market_id] = max(worst[event.market_id], at - last[event.market_id])
            last[event.market_id] = at
    end = it.rig.read_at[-1]
    worst = {n: max(gap, end - last[n]) for n, gap in worst.items()}
    report(f"worst gap of each market, ms: { {n: round(1000 * gap) for n, gap in worst.items()} }")
    spreads = [integrity.accounts[n, "level4.spread", None] for n in ids]
    trades = [account for (n, topic, _), account in integrity.accounts.items() if topic == "level4.timesales"]
    report(f"{moved} handovers; spread {told(spreads)}; timesales {told(trades)}")
    assert max(worst.values()) < LONGEST_GAP_SECONDS, worst
    assert sum(account.epochs - 1 for account in spreads) == moved
    assert [(account.lost, account.unknown) for account in spreads] == [(0, 0)] * len(ids)
    assert sum(account.lost for account in trades) == 0


def told(accounts: Sequence[Account]) -> str:
    unknown, epochs = sum(one.unknown for one in accounts), sum(one.epochs - 1 for one in accounts)
    return f"{sum(one.records for one in accounts)} records, {epochs - unknown} of {epochs} epochs follow proven"


def all_ready(nodes: list[Node]) -> bool:
    return {one.name for one in nodes if one.state == "READY"} == set(NODES)
