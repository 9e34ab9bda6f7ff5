"""The story that compose.yaml promises: three nodes, Kafka, thirty markets from a file; a node is killed, another one
is cut off, and all are restarted one by one. What is asserted is what stands in Kafka."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import broker_image
import pytest
import trio
from composed import NODES, Composed, Watched, grpcurl, level4, metric, name, now_us, watching
from covering import Stream
from podman import ROOT, Podman

from level4.client import Integrity
from level4.model import FeedState, Position, Spread

MARKETS = [
    *[("KRAKEN", "SPOT", base, "USD") for base in ("BTC", "ETH", "SOL", "DOGE", "XRP", "ADA")],
    *[("BINANCE", "SPOT", base, "USDT") for base in ("BTC", "ETH", "SOL", "DOGE", "XRP", "ADA")],
    *[("BITSTAMP", "SPOT", base, "USD") for base in ("BTC", "ETH", "SOL")],
    *[("COINBASE", "SPOT", base, "USD") for base in ("BTC", "ETH", "SOL", "DOGE", "XRP")],
    *[("OKX", "SPOT", base, "USDT") for base in ("BTC", "ETH", "SOL", "DOGE", "XRP")],
    *[("BYBIT", "SPOT", base, "USDT") for base in ("BTC", "ETH", "SOL", "DOGE", "XRP")],
]
IDS = set(range(1, len(MARKETS) + 1))
LIVE_SECONDS, TAKEOVER_SECONDS, HEAL_SECONDS = 60.0, 15.0, 30.0
UNCOVERED_SECONDS = 2.0
IDLE_SECONDS = 10.0
APART_SECONDS = 20.0
FAILOVERS = "level4_failover_seconds_count"
KILLED_SECONDS = 40.0
"""How long is waited for what must have happened long before: the figure is judged, not the patience."""


def test_a_consumers_view_of_hosts_and_holes() -> None:
    def record(node: str, epoch: int, seq: int, at: float, state: FeedState = FeedState.LIVE) -> Spread:
        return Spread(
            1, "KRAKEN", "SPOT", "BTC/USD", state, "bid", "1", "1", "2", "1", "1.5", epoch, seq, None, int(at * 1e6),
            int(at * 1e6), node,
        )  # fmt: skip

    stream = Stream()
    for one in (
        record("a", 10, 1, 1.0), record("a", 10, 2, 2.0), record("b", 20, 1, 5.0), record("a", 10, 3, 5.5),
        record("b", 20, 1, 5.0), record("b", 20, 2, 6.0, FeedState.GAP), record("b", 20, 3, 6.5),
    ):  # fmt: skip
        stream.add(one)
    assert stream.uncovered(0) == [(2_000_000, 5_000_000), (6_000_000, 6_500_000)]
    assert stream.uncovered(5_500_000) == [(6_000_000, 6_500_000)]
    assert (len(stream.accepted), len(stream.late), stream.host) == (5, 1, "b")
    assert stream.first_live(2_000_000, "a") == 5_000_000


@pytest.fixture(scope="module")
def podman() -> Podman:
    return Podman.find()


@pytest.mark.slow
@pytest.mark.containers
async def test_three_nodes_share_thirty_markets_through_death_partition_and_upgrade(
    podman: Podman, tmp_path: Path, report: Callable[[str], None]
) -> None:
    def tell(what: str, figure: float) -> None:
        report(f"{what}: {figure:.2f}")
        print(f"{what}: {figure:.2f}", flush=True)

    began = time.monotonic()
    broker = broker_image.build(podman, tmp_path)
    podman.build("localhost/level4")
    tell("both images built after s", time.monotonic() - began)
    tell("image MB", json.loads(podman("image", "inspect", "localhost/level4"))[0]["Size"] / 1e6)
    tell("of it the base image MB", json.loads(podman("image", "inspect", broker_image.BASE))[0]["Size"] / 1e6)
    report(f"broker: {broker}")
    up = time.monotonic()
    with Composed(podman, ROOT).up() as cluster:
        async with watching(broker_image.endpoint(podman, name("kafka"), broker)) as kafka:
            story = _Story(cluster, kafka, tell, tmp_path)
            await story.begin(up)
            await story.idle()
            await story.thirty_markets()
            await story.death()
            await story.partition()
            await story.rolling_restart()
            story.account()
    tell("all of it s", time.monotonic() - began)


class _Story:
    def __init__(self, cluster: Composed, kafka: Watched, tell: Callable[[str, float], None], folder: Path) -> None:
        self._cluster = cluster
        self._kafka = kafka
        self._tell = tell
        self._folder = folder

    async def begin(self, up: float) -> None:
        """All nodes are ready, tell addresses that others can dial, and a market starts by grpcurl."""
        await self._ready()
        self._tell("up to three nodes READY s", time.monotonic() - up)
        for node in NODES:
            told = {one["name"]: one["address"].rpartition(":")[0] for one in grpcurl(node, "ListNodes")["nodes"]}
            addresses = {ipaddress.ip_address(host) for host in told.values()}
            assert len(addresses) == len(NODES), told
            assert all(address.is_private and not address.is_loopback for address in addresses), told
        findings = {one["check"]: one for one in self._cluster.doctor("node2")}
        assert not [one for one in findings.values() if one["verdict"] == "fail"], findings
        for node in NODES:
            assert "full-size datagrams pass both ways" in findings[f"member {node}"]["text"]
        asked = time.monotonic()
        reply = grpcurl("node1", "StartMarket", {"market": self._message(1)})
        assert reply["node"]["name"] in NODES, reply
        await self._kafka.until("market 1 LIVE", lambda: 1 in self._kafka.hosts(), LIVE_SECONDS)
        self._tell("StartMarket to first LIVE in Kafka s", time.monotonic() - asked)
        self._tell("up to first LIVE in Kafka s", time.monotonic() - up)
        assert grpcurl("node2", "StopMarket", {"market": {"id": 1}})

    async def idle(self) -> None:
        before = self._cluster.usage("node3")
        await trio.sleep(IDLE_SECONDS)
        after = self._cluster.usage("node3")
        self._tell("idle RSS MB", after[0])
        self._tell("idle CPU %", 100 * (after[1] - before[1]) / IDLE_SECONDS)

    async def thirty_markets(self) -> None:
        path = self._folder / "markets.toml"
        keys = ("id", "exchange", "type", "base", "quote")
        rows = [dict(zip(keys, (number, *market), strict=True)) for number, market in enumerate(MARKETS, 1)]
        path.write_text("\n".join("[[market]]\n" + "".join(f"{k} = {v!r}\n" for k, v in row.items()) for row in rows))
        asked = time.monotonic()
        level4("node2", "market", "apply", "--yes", str(path))
        await self._all_live(LIVE_SECONDS)
        self._tell("thirty markets applied to all LIVE s", time.monotonic() - asked)
        assert "nothing to change" in level4("node3", "market", "apply", "--yes", str(path))
        await trio.sleep(IDLE_SECONDS)
        before = {node: self._cluster.usage(node) for node in NODES}
        await trio.sleep(IDLE_SECONDS)
        after = {node: self._cluster.usage(node) for node in NODES}
        self._tell("RSS MB of a node with its markets", max(one[0] for one in after.values()))
        used = [after[node][1] - before[node][1] for node in NODES]
        self._tell("CPU % of all three nodes with thirty markets", 100 * sum(used) / IDLE_SECONDS)

    async def death(self) -> None:
        """`podman kill`: its markets are LIVE elsewhere in time, each of them once; it comes back and is given some."""
        victim, lost = self._fullest()
        killed = now_us()
        self._cluster.kill(victim)
        await self._elsewhere(victim, lost, KILLED_SECONDS)
        took = self._taken_after(victim, lost, killed)
        self._tell(f"podman kill of a node with {len(lost)} markets: all LIVE elsewhere after s", took)
        assert took < TAKEOVER_SECONDS
        await self._one_host_each(5.0)
        counted = sum(metric(self._cluster.metrics(node), FAILOVERS) for node in NODES if node != victim)
        assert counted == len(lost), f"{counted} failovers in the metrics"
        self._cluster.start(victim)
        await self._ready()
        await self._given_markets(victim, by="node1")

    async def partition(self) -> None:
        """A node is cut off from everything and comes back, with another address perhaps."""
        cut, lost = self._fullest()
        began = now_us()
        self._cluster.disconnect(cut)
        await self._elsewhere(cut, lost, KILLED_SECONDS)
        took = self._taken_after(cut, lost, began)
        self._tell(f"network disconnect of a node with {len(lost)} markets: all LIVE elsewhere after s", took)
        assert took < 2 * TAKEOVER_SECONDS
        await trio.sleep(max(0.0, APART_SECONDS - (now_us() - began) / 1e6))
        back = time.monotonic()
        self._cluster.reconnect(cut)
        await self._ready()
        self._tell("network connect to three nodes READY everywhere s", time.monotonic() - back)
        await self._one_host_each(5.0)
        late = [one for stream in self._kafka.streams.values() for one in stream.late if one.node == cut]
        self._tell("records of the node that was cut off that consumers drop", len(late))
        others = [node for node in NODES if node != cut]
        await self._given_markets(cut, by=others[0])

    async def rolling_restart(self) -> None:
        began = now_us()
        for node in NODES:
            level4(node, "market", "drain", node)
            await trio.to_thread.run_sync(self._cluster.restart, node)
            await self._ready()
            await self._all_live(LIVE_SECONDS)
        self._tell("rolling restart of three nodes s", (now_us() - began) / 1e6)
        spans = {
            market: max((end - start for start, end in stream.uncovered(began)), default=0) / 1e6
            for market, stream in self._kafka.streams.items()
            if market in IDS
        }
        moved = sum(len(stream.hosts(began)) > 1 for stream in self._kafka.streams.values())
        self._tell("markets that changed hosts meanwhile", moved)
        self._tell("longest time that a market was uncovered s", max(spans.values()))
        assert moved >= len(IDS) // 2
        assert max(spans.values()) < UNCOVERED_SECONDS, spans
        self._whole(began)

    def account(self) -> None:
        """Nothing is missing within any epoch, of all that was ever published."""
        integrity = Integrity()
        for event in self._kafka.events:
            integrity.check_event(event)
        lost = {stream: account.lost for stream, account in integrity.accounts.items() if account.lost}
        print(f"{sum(account.records for account in integrity.accounts.values()):,} records, "
              f"{sum(account.duplicates for account in integrity.accounts.values())} duplicates, "
              f"{sum(account.old_host for account in integrity.accounts.values())} of old hosts, lost: {lost or 0}")
        assert not lost

    def _whole(self, began: int) -> None:
        """Hosts that followed each other meanwhile say where the one before ended."""
        for market, stream in self._kafka.streams.items():
            before: Spread | None = None
            for event in stream.accepted:
                if before is not None and event.epoch != before.epoch and event.published_us > began:
                    assert event.follows == Position(before.epoch, before.seq), (market, before, event)
                before = event

    # looking

    def _message(self, number: int) -> dict[str, object]:
        exchange, kind, base, quote = MARKETS[number - 1]
        return {"id": number, "exchange_name": exchange, "type": kind, "base_symbol": base, "quote_symbol": quote}

    def _fullest(self) -> tuple[str, set[int]]:
        """The node with most markets, and which."""
        hosts = self._kafka.hosts()
        fullest = max(NODES, key=lambda node: list(hosts.values()).count(node))
        markets = {market for market, node in hosts.items() if node == fullest}
        assert len(markets) > 2, hosts
        return fullest, markets

    def _taken_after(self, gone: str, lost: set[int], since: int) -> float:
        """Seconds from then until the last of these markets was LIVE on another node."""
        streams = self._kafka.streams
        firsts = [streams[market].first_live(since, gone) for market in lost]
        assert None not in firsts
        return max(first - since for first in firsts if first is not None) / 1e6

    async def _elsewhere(self, gone: str, lost: set[int], seconds: float) -> None:
        def done() -> bool:
            hosts = self._kafka.hosts()
            return all(hosts.get(market, gone) != gone for market in lost)

        await self._kafka.until(f"markets {sorted(lost)} on others than {gone}", done, seconds)

    async def _all_live(self, seconds: float) -> None:
        await self._kafka.until("all markets LIVE", lambda: set(self._kafka.hosts()) >= IDS, seconds)

    async def _given_markets(self, node: str, by: str) -> None:
        """A node that has none is given some; it is called for that, so its address is the right one."""
        level4(by, "rebalance")
        await self._kafka.until(f"markets on {node}", lambda: node in self._kafka.hosts().values(), LIVE_SECONDS)
        await self._all_live(LIVE_SECONDS)

    async def _one_host_each(self, seconds: float) -> None:
        """For so long each market has records of one node and one term."""
        since = now_us()
        await trio.sleep(seconds)
        await self._all_live(LIVE_SECONDS)
        several = {
            market: hosts
            for market, stream in self._kafka.streams.items()
            if len(hosts := stream.hosts(since)) > 1
        }
        assert not several, several

    async def _ready(self) -> None:
        """Each node sees all three, all of them ready."""

        def done() -> bool:
            views = [grpcurl(node, "ListNodes").get("nodes", []) for node in NODES]
            return all({one["name"] for one in view if one["state"] == "READY"} == {*NODES} for view in views)

        seconds = 0.0
        while not await trio.to_thread.run_sync(done):
            seconds += 0.5
            assert seconds < 2 * HEAL_SECONDS, partial(grpcurl, "node1", "ListNodes")()
            await trio.sleep(0.5)
