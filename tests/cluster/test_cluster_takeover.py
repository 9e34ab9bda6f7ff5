"""A node dies, sleeps or leaves: its markets live elsewhere, none lost, none twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from cluster_rig import accepted, cluster, hosts, live_on, market, started, terms, until_markets

from level4.model import Event, FeedState, Position, Spread, Status
from level4.model.events import RUNS_PER_TERM
from level4.rpc.errors import DeadlineExceededError, NodeUnavailableError
from level4.rpc.peers import Peers
from level4.rpc.security import Credentials

pytestmark = pytest.mark.broker

Report = Callable[[str], None]


async def test_markets_of_a_killed_node_live_on_others_within_ten_seconds(tmp_path: Path, report: Report) -> None:
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
        report(f"takeover of {len(lost)} of {len(ids)} markets: {taken:.1f} s")
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


@pytest.mark.parametrize("asleep", [0.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_a_node_that_slept_gives_way_and_publishes_nothing_that_counts(tmp_path: Path, asleep: float) -> None:
    """It sleeps until its markets live elsewhere, and for so many seconds at least."""
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", "c")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        placed = hosts(await it.clients["a"].list_markets())
        sleeper = max(placed, key=lambda name: len(placed[name]))
        await it.rig.until(lambda events: live_on(events, sleeper) == placed[sleeper])
        process = it.nodes[sleeper].process
        process.send_signal(signal.SIGSTOP)
        enough = trio.current_time() + asleep
        try:
            others = [name for name in it.nodes if name != sleeper]
            await it.rig.until(
                lambda events: placed[sleeper] <= set().union(*(live_on(events, name) for name in others)), 20
            )
            await trio.sleep_until(enough)
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


async def test_markets_of_a_node_that_ends_in_order_live_elsewhere_at_once(tmp_path: Path, report: Report) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        placed = hosts(await it.clients["a"].list_markets())
        assert set(placed) <= {"a", "b"}
        await it.rig.until(lambda events: live_on(events, "a") == placed.get("a", set()))
        began = trio.current_time()
        assert await it.nodes["a"].stop() == 0
        await it.rig.until(lambda events: live_on(events, "b") == {1, 2, 3, 4}, 15)
        report(f"{len(placed.get('a', ()))} markets handed over in {trio.current_time() - began:.1f} s")
        for n in placed.get("a", ()):
            stream = [event for event in it.rig.events if isinstance(event, Spread) and event.market_id == n]
            last = next(event for event in reversed(stream) if event.node == "a")
            first = next(event for event in stream if event.node == "b")
            assert first.follows == Position(last.epoch, last.seq)


async def test_a_released_market_that_nobody_claims_goes_on_where_it_was(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        client = await it.start("a")
        await started(client, market(1))
        await it.rig.until(lambda events: live_on(events, "a") == {1})
        (node,) = await client.list_nodes()
        before = max(terms(it.rig.events, 1))
        peers = Peers(Credentials())
        async with trio.open_nursery() as nursery:
            await nursery.start(peers.run)
            answer = await peers.release(node.address, 1, "nobody", 4)
            nursery.cancel_scope.cancel()
        assert answer.spread_epoch // RUNS_PER_TERM == before
        await it.rig.until(lambda events: max(terms(events, 1)) > before and live_on(events, "a") == {1}, 15)
        ended = [e for e in it.rig.events if isinstance(e, Spread) and e.epoch == answer.spread_epoch][-1]
        assert ended.seq == answer.spread_seq


@pytest.mark.slow
async def test_a_market_whose_next_host_dies_while_it_moves_goes_on(tmp_path: Path) -> None:
    async with cluster(tmp_path, rate=5) as it:
        await it.start_all("a", "b")
        client = it.clients["a"]
        await started(client, market(1))
        (one,) = await client.list_markets()
        target = "b" if one.node == "a" else "a"
        await it.rig.until(lambda events: live_on(events, one.node) == {1})
        it.nodes[target].process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises((NodeUnavailableError, DeadlineExceededError)), trio.fail_after(60):
                await it.clients[one.node].move_market(one, target)
        finally:
            it.nodes[target].process.send_signal(signal.SIGCONT)
        seen = len(it.rig.events)
        await it.rig.until(lambda events: one.node in {e.node for e in events[seen:] if isinstance(e, Spread)})


async def test_without_room_a_market_waits_until_there_is_some(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", MAX_DATA_FEEDS="2")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        await it.kill("b")
        listed = await until_markets(it.clients["a"], lambda markets: sum(not m.node for m in markets) == 2)
        assert all("room" in one.reason for one in listed if not one.node)
        await it.start("d", MAX_DATA_FEEDS="2")
        await it.rig.until(lambda events: len(live_on(events, "d")) == 2)


@pytest.mark.slow
async def test_sigterm_hands_twenty_five_markets_over_within_eight_seconds(tmp_path: Path, report: Report) -> None:
    async with cluster(tmp_path) as it:
        client = await it.start("a")
        await started(client, *(market(n) for n in range(1, 26)))
        await it.start_all("b")
        await it.rig.until(lambda events: len(live_on(events, "a")) == 25, 30)
        began = trio.current_time()
        assert await it.nodes["a"].stop() == 0
        ended = trio.current_time() - began
        await it.rig.until(lambda events: len(live_on(events, "b")) == 25, 20)
        spreads = [event for event in it.rig.events if isinstance(event, Spread)]
        firsts = {event.market_id: event for event in reversed(spreads) if event.node == "b"}
        whole = sum(first.follows is not None for first in firsts.values())
        report(f"ended after {ended:.1f} s, {whole} of 25 without a hole, all LIVE {trio.current_time() - began:.1f} s")
        assert ended < 8
        assert whole == 25


async def test_after_all_nodes_died_each_takes_back_what_it_had(tmp_path: Path, report: Report) -> None:
    """Nobody else may have the markets, and nobody has to be silent: they come back with their nodes."""
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", "c")
        ids = set(range(1, 13))
        await started(it.clients["a"], *(market(n) for n in ids))
        await it.rig.until(it.all_live(ids, "abc"))
        placed = hosts(await it.clients["a"].list_markets())
        before = {n: terms(it.rig.events, n) for n in ids}
        for name in "abc":
            await it.kill(name)
        seen = len(it.rig.events)
        began = trio.current_time()
        for name in "abc":
            await it.start(name)
        await it.rig.until(lambda events: live_since(events, seen) == ids)
        report(
            f"{len(ids)} markets of 3 nodes LIVE again {trio.current_time() - began:.1f} s after the first was started"
        )
        assert hosts(await it.clients["a"].list_markets()) == placed
        for n in ids:
            (newest,) = (name for term, name in terms(it.rig.events, n).items() if term not in before[n])
            assert n in placed[newest]


def live_since(events: list[Event], seen: int) -> set[int]:
    return {e.market_id for e in events[seen:] if isinstance(e, Spread) and e.state is FeedState.LIVE}


@pytest.mark.slow
async def test_after_all_nodes_died_one_that_nobody_knew_takes_everything(tmp_path: Path, report: Report) -> None:
    """Gossip has never met the dead, so that they are silent for 30 s has to do."""
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b")
        await started(it.clients["a"], *(market(n) for n in range(1, 5)))
        await it.rig.until(lambda events: {e.market_id for e in accepted(events)} == {1, 2, 3, 4})
        await it.kill("a")
        await it.kill("b")
        await it.start("c")
        began = trio.current_time()
        await it.rig.until(lambda events: live_on(events, "c") == {1, 2, 3, 4}, 60)
        report(f"taken after {trio.current_time() - began:.1f} s")
        assert trio.current_time() - began > 25
