"""A node dies, sleeps or leaves: its markets live elsewhere, none lost, none twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio
from cluster_rig import accepted, cluster, hosts, live_on, market, started, terms, until_markets

from level4.model import FeedState, Spread, Status

pytestmark = pytest.mark.broker


async def test_markets_of_a_killed_node_live_on_others_within_ten_seconds(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", "c")
        ids = set(range(1, 7))
        await started(it.clients["a"], *(market(n) for n in ids))
        await it.rig.until(lambda events: {e.market_id for e in accepted(events)} == ids)
        placed = hosts(await it.clients["b"].list_markets())
        victim = max(placed, key=lambda name: len(placed[name]))
        lost = placed[victim]
        await it.rig.until(lambda events: live_on(events, victim) == lost)
        before = {n: max(terms(it.rig.events, n)) for n in ids}
        await it.kill(victim)
        killed = trio.current_time()
        others = sorted(it.nodes)
        await it.rig.until(lambda events: lost <= set().union(*(live_on(events, name) for name in others)), 20)
        taken = trio.current_time() - killed
        print(f"takeover of {len(lost)} of {len(ids)} markets: {taken:.1f} s")
        assert taken < 10
        survivor = it.clients[others[0]]
        listed = await until_markets(survivor, lambda markets: all(m.state == "LIVE" for m in markets))
        assert {one.id for one in listed} == ids
        for n in ids:
            claimed = terms(it.rig.events, n)
            after = [name for term, name in claimed.items() if term > before[n]]
            assert len(after) == (1 if n in lost else 0), (n, claimed)
        failed = [e for e in it.rig.events if isinstance(e, Status) and e.event == "node_failed"]
        assert [(e.member, e.node) for e in failed] == [(victim, others[0])]


async def test_a_node_that_slept_gives_way_and_publishes_nothing_that_counts(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", "c")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        placed = hosts(await it.clients["a"].list_markets())
        sleeper = max(placed, key=lambda name: len(placed[name]))
        await it.rig.until(lambda events: live_on(events, sleeper) == placed[sleeper])
        process = it.nodes[sleeper].process
        process.send_signal(signal.SIGSTOP)
        try:
            others = [name for name in it.nodes if name != sleeper]
            await it.rig.until(
                lambda events: placed[sleeper] <= set().union(*(live_on(events, name) for name in others)), 20
            )
            seen = len(accepted(it.rig.events))
        finally:
            process.send_signal(signal.SIGCONT)
        woken = trio.current_time()
        with trio.fail_after(10):
            while any(m.node == sleeper for m in await it.clients[sleeper].list_markets()):  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert trio.current_time() - woken < 2
        await trio.sleep(3)
        late = [event for event in accepted(it.rig.events)[seen:] if event.node == sleeper]
        assert not late
        assert not [e for e in it.rig.events if isinstance(e, Spread) and e.state is FeedState.STOPPED]


async def test_markets_of_a_node_that_ends_in_order_live_elsewhere_at_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        placed = hosts(await it.clients["a"].list_markets())
        assert set(placed) <= {"a", "b"}
        await it.rig.until(lambda events: live_on(events, "a") == placed.get("a", set()))
        began = trio.current_time()
        assert await it.nodes["a"].stop() == 0
        await it.rig.until(lambda events: live_on(events, "b") == {1, 2, 3, 4}, 15)
        print(f"handed over in {trio.current_time() - began:.1f} s")


async def test_without_room_a_market_waits_until_there_is_some(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", MAX_DATA_FEEDS="2")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        await it.kill("b")
        listed = await until_markets(it.clients["a"], lambda markets: sum(not m.node for m in markets) == 2)
        assert all("room" in one.reason for one in listed if not one.node)
        await it.start("d", MAX_DATA_FEEDS="2")
        await it.rig.until(lambda events: len(live_on(events, "d")) == 2)
