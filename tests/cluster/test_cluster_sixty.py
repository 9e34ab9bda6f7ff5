"""Sixty markets of four exchanges on five real nodes under load: two are killed one after the other, and what they
hosted lives elsewhere within seconds, nothing lost, nothing twice, as a consumer sees it who keeps to the rules.

Told is what a user would ask: how long until the dead was known for dead, until its markets were LIVE again, and
what a node costs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import trio
from cluster_rig import Cluster, cluster, crowd, hosts, log_of, started, terms, until_markets
from kafka_brokers import ApacheKafka, fetch_apache_kafka

from level4.client import Integrity
from level4.model import TOPIC_OF, Event, Spread
from level4.publish.embedded import BrokerProcess

pytestmark = pytest.mark.slow

MARKETS = crowd(60)
IDS = {one.id for one in MARKETS}
RATE = 10
"""Book updates of each market a second."""
LIMIT_SECONDS = 10.0
WATCHED_SECONDS = 5.0


@pytest.mark.parametrize(
    ("profile", "kafka"),
    [
        pytest.param("local", "tansu", marks=pytest.mark.broker),
        pytest.param("feeds", "tansu", marks=pytest.mark.broker),
        pytest.param("feeds", "apache", marks=pytest.mark.apache_kafka),
    ],
)
async def test_five_nodes_lose_two_one_after_the_other(
    tmp_path: Path, profile: str, kafka: str, report: Callable[[str], None]
) -> None:
    broker = apache_kafka(tmp_path / "kafka") if kafka == "apache" else None
    async with cluster(tmp_path, rate=RATE, broker=broker) as it:
        await it.start_all("a", "b", "c", "d", "e", LEVEL4_SWIM_PROFILE=profile)
        await started(it.clients["a"], *MARKETS)
        await it.rig.until(it.all_live(IDS, set(it.nodes)), 60)
        report(f"{len(IDS)} markets, {RATE} updates a second each; {await costs(it)}")
        for _ in range(2):
            report(await lose_one(it))
        owners = hosts(await it.clients[min(it.clients)].list_markets())
        assert set(owners) <= set(it.nodes)
        assert sorted(n for held in owners.values() for n in held) == sorted(IDS), "each has one host"
        await trio.sleep(WATCHED_SECONDS)  # what must not happen (a second host) has no event to wait for
        judge(it.rig.events)


def apache_kafka(folder: Path) -> BrokerProcess:
    had, why = fetch_apache_kafka()
    if not had:
        pytest.skip(f"no Apache Kafka: {why}")
    folder.mkdir()
    return ApacheKafka(folder)


async def lose_one(it: Cluster) -> str:
    """Kill the node that hosts most, and wait until its markets live elsewhere; how long that took."""
    placed = hosts(await it.clients[min(it.clients)].list_markets())
    victim = max(sorted(placed), key=lambda name: len(placed[name]))
    lost = placed[victim]
    before = {n: max(terms(it.rig.events, n)) for n in IDS}
    seen, killed = len(it.rig.events), time.time()
    began = trio.current_time()
    await it.kill(victim)
    await it.rig.until(it.all_live(IDS, set(it.nodes)), 30)
    taken = trio.current_time() - began
    known = min(when(line) for child in it.nodes.values() for line in log_of(child) if failed(line, victim)) - killed
    first: dict[int, float] = {}
    for event in it.rig.events[seen:]:
        if isinstance(event, Spread) and event.market_id in lost and event.node != victim:
            first.setdefault(event.market_id, event.published_us / 1e6 - killed)
    assert max(first.values()) < LIMIT_SECONDS
    for n in IDS:
        after = [name for term, name in terms(it.rig.events, n).items() if term > before[n]]
        assert len(after) == (n in lost), (n, after)
    listed = await until_markets(it.clients[min(it.clients)], lambda all_: all(m.state == "LIVE" for m in all_))
    assert {one.id for one in listed} == IDS
    return (
        f"{len(lost)} markets of {len(placed)} nodes: known for dead after {known:.1f} s, "
        f"LIVE again after {min(first.values()):.1f} to {max(first.values()):.1f} s, all read after {taken:.1f} s"
    )


def judge(events: list[Event]) -> None:
    """Each stream's epochs only rise, no number is missing, and continuity breaks only where a host died."""
    integrity = Integrity()
    for event in events:
        integrity.check_event(event)
    for (market_id, topic, _), account in integrity.accounts.items():
        assert (account.old_host, account.duplicates, account.lost) == (0, 0, 0), (market_id, topic, account)
        if market_id is not None and topic == TOPIC_OF[Spread]:
            assert account.unknown == account.epochs - 1 == len(terms(events, market_id)) - 1


def failed(line: dict[str, object], victim: str) -> bool:
    return line["event"] == "node failed" and line["member"] == victim


def when(line: dict[str, object]) -> float:
    """Unix seconds of a log line."""
    return datetime.fromisoformat(str(line["timestamp"])).timestamp()


async def costs(it: Cluster) -> str:
    """What a node takes of a core, measured for some seconds."""

    def now() -> float:
        return sum(processor_seconds(child.process.pid) for child in it.nodes.values()) / len(it.nodes)

    before, seen = now(), len(it.rig.events)
    await trio.sleep(WATCHED_SECONDS)
    share, rate = (now() - before) / WATCHED_SECONDS, (len(it.rig.events) - seen) / WATCHED_SECONDS
    return f"a node takes {100 * share:.1f} % of a core, {rate:.0f} events a second are read"


def processor_seconds(pid: int) -> float:
    """User and system time of a process; not a number where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    fields = stat.read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
