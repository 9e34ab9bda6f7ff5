"""Any node answers for the cluster: start, stop, list, watch, move, drain, rebalance."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from cluster_rig import accepted, cluster, hosts, live_on, market, started, terms, until_markets, until_nodes

from level4.client import Integrity
from level4.model import Event, FeedState, Position, Spread, Trade
from level4.proto.level4_pb2 import Market
from level4.rpc.client import ControlClient
from level4.rpc.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError, ResourceExhaustedError

pytestmark = pytest.mark.broker


def newest_state(events: list[Event], market_id: int) -> FeedState:
    return accepted([event for event in events if event.market_id == market_id])[-1].state


async def test_every_node_starts_lists_watches_and_stops_for_all(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", MAX_DATA_FEEDS="2")
        a, b = it.clients["a"], it.clients["b"]
        await started(a, market(1), market(2), market(3), market(4))
        with pytest.raises(ResourceExhaustedError, match="no node has room"):
            await a.start_market(market(5))
        for client in (a, b):
            listed = await until_markets(client, lambda markets: all(m.state == "LIVE" for m in markets))
            assert {name: len(ids) for name, ids in hosts(listed).items()} == {"a": 2, "b": 2}
            assert [await client.is_market_online(one) for one in listed] == [True] * 4
            for one in listed:
                async with client.watch_book(one, depth=3, interval_ms=50) as replies:
                    async for reply in replies:
                        assert reply.bids
                        break
        elsewhere = min(hosts(await a.list_markets())["b"])
        await a.stop_market(Market(id=elsewhere))
        await until_markets(b, lambda markets: elsewhere not in {m.id for m in markets})
        with pytest.raises(NotFoundError):
            await b.is_market_online(Market(id=elsewhere))
        await it.rig.until(lambda events: newest_state(events, elsewhere) is FeedState.STOPPED)


async def test_of_two_nodes_asked_at_once_to_start_one_id_one_does(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", MAX_DATA_FEEDS="200")
        await started(it.clients["a"], market(60))
        outcomes: dict[int, list[str]] = {}
        stopped: set[int] = set()

        async def start(client: ControlClient, one: Market) -> None:
            try:
                reply = await client.start_market(one)
                outcomes[one.id].append(reply.node.name)
            except AlreadyExistsError:
                outcomes[one.id].append("")

        for n in [*range(1, 51)] * 2:
            outcomes[n] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start, it.clients["a"], market(n, "BTC"))
                nursery.start_soon(start, it.clients["b"], market(n, "ETH" if n % 2 else "BTC"))
            assert sorted(map(bool, outcomes[n])) == [False, True], (n, outcomes[n])
            if n == 50 and not stopped:
                for m in range(1, 51):
                    await it.clients["b" if m % 2 else "a"].stop_market(Market(id=m))
                    stopped.add(m)
                for client in it.clients.values():
                    await until_markets(client, lambda markets: [one.id for one in markets] == [60])
        expected = {n: max(names) for n, names in outcomes.items()}
        for client in it.clients.values():  # what one node has read back the other reads a moment later
            await until_markets(client, lambda ms: {one.id: one.node for one in ms if one.id != 60} == expected)


async def test_a_market_moves_without_a_hole(tmp_path: Path) -> None:
    async with cluster(tmp_path, rate=20, trade_rate=10) as it:
        await it.start_all("a", "b")
        client = it.clients["a"]
        await started(client, market(1))
        source = (await client.list_markets())[0].node
        target = "b" if source == "a" else "a"
        await it.rig.until(lambda events: sum(isinstance(e, Trade) for e in events) > 5)
        await it.rig.until(lambda events: live_on(events, source) == {1})
        with pytest.raises(FailedPreconditionError):
            await client.move_market(Market(id=1), source)
        moved = await client.move_market(Market(id=1), target)
        assert (moved.market.node, moved.node.name) == (target, target)
        await it.rig.until(lambda events: live_on(events, target) == {1})
        await it.rig.until(lambda events: isinstance(events[-1], Trade) and events[-1].node == target)
        spreads = [e for e in it.rig.events if isinstance(e, Spread)]
        first = next(e for e in spreads if e.node == target)
        last = [e for e in spreads if e.node == source][-1]
        assert first.state is FeedState.LIVE
        assert first.follows == Position(last.epoch, last.seq)
        assert set(terms(it.rig.events, 1).values()) == {source, target}
        trades = [e for e in it.rig.events if isinstance(e, Trade)]
        ids = [int(e.trade_id or 0) for e in trades]
        assert ids == list(range(ids[0], ids[0] + len(ids))), "no trade is missing and none came twice"
        integrity = Integrity()
        for event in it.rig.events:
            integrity.check_event(event)
        assert sum(account.old_host for account in integrity.accounts.values()) == 0


async def test_a_full_node_is_relieved_and_an_empty_one_drained(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        client = await it.start("a")
        await until_nodes(client, lambda nodes: nodes[0].state == "READY")
        await started(client, *(market(n) for n in range(1, 7)))
        await it.start_all("b")
        planned = await client.rebalance(dry_run=True)
        assert [(m.source, m.target) for m in planned] == [("a", "b")] * 3
        moves = await it.clients["b"].rebalance()
        assert [m.error for m in moves] == [""] * 3
        # what the one node has read back the other reads a moment later
        await until_markets(client, lambda markets: sorted(map(len, hosts(markets).values())) == [3, 3])
        assert not await client.rebalance()
        drained = await client.drain_node("b")
        assert [(m.target, m.error) for m in drained] == [("a", "")] * 3
        await until_markets(client, lambda markets: set(hosts(markets)) == {"a"})
