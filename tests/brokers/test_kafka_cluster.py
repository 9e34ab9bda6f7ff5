"""Three brokers of Apache Kafka, three copies of everything, two of which must be in step: leaders die and hang.

One broker is the controller and lives; each of the others leads a third of the partitions until it is killed or frozen.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka_brokers import USED, ApacheKafka, fetch_apache_kafka, free_ports
from kafka_load import Load, consume, publishing, settings, until

from level4.model import SPREAD, TIMESALES
from level4.publish import Layout

pytestmark = [pytest.mark.apache_kafka, pytest.mark.slow]

SETTINGS = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "replica.lag.time.max.ms": "3000",
    "offsets.topic.replication.factor": "3",
}


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[ApacheKafka]]:
    had, what = fetch_apache_kafka()
    if not had:
        pytest.skip(f"no Apache Kafka: {what}")
    USED[f"three brokers of Apache Kafka {what}"] += 1
    (controller,) = free_ports(1)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    with ExitStack() as stack:
        running = []
        for number in (1, 2, 3):
            changes = SETTINGS | {
                "node.id": str(number),
                "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                "listeners": f"PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{controller}",
            }
            if number > 1:
                changes |= {"process.roles": "broker", "listeners": "PLAINTEXT://127.0.0.1:{port}"}
            extra = [f"--set={name}={value}" for name, value in changes.items()]
            broker = ApacheKafka(tmp_path / f"broker{number}", (f"--cluster={cluster}", *extra))
            running.append(stack.enter_context(broker))
        yield running


def leaders(endpoint: str) -> list[int]:
    """Who leads the partitions of the spreads."""
    admin = KafkaAdminClient(bootstrap_servers=endpoint)
    try:
        (topic,) = admin.describe_topics([SPREAD])
        return [partition["leader_id"] for partition in topic["partitions"]]
    finally:
        admin.close()


async def test_leaders_are_killed_and_frozen_under_load_and_each_event_is_there_once(
    brokers: list[ApacheKafka], report: Callable[[str], None]
) -> None:
    first, second, third = brokers
    layout = Layout(partitions=24, replication_factor=3, configs={"min.insync.replicas": "2"})
    async with publishing(settings(first.endpoint, layout=layout, request_timeout_ms=2_000)) as publisher:
        load = Load(publisher, 500)
        await load.run(2)
        assert await publisher.drain(60) == 0
        led = await trio.to_thread.run_sync(leaders, first.endpoint)
        assert set(led) == {1, 2, 3}
        second.kill()
        await load.run(6)
        assert await publisher.drain(60) == 0
        led = await trio.to_thread.run_sync(leaders, first.endpoint)
        assert set(led) == {1, 3}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, second.start)
            await load.run(4)
        third.freeze()
        await load.run(8)
        third.thaw()
        await load.run(3)
        assert await publisher.drain(60) == 0
        await until(lambda: publisher.ready)
        stats = publisher.stats
        assert (stats.coalesced, stats.trades_dropped, stats.refused) == (0, 0, 0)
    arrived = await trio.to_thread.run_sync(consume, first.endpoint, load.markets)
    spreads, trades = arrived[SPREAD], arrived[TIMESALES]
    report(
        f"{load.put:,} events, {spreads.lost + trades.lost} lost, {spreads.duplicates + trades.duplicates} duplicates, "
        f"{stats.reconnects} producers replaced, latency p50 {1e3 * (stats.latency.p50 or 0):.1f} ms, {load.memory}"
    )
    assert spreads.records + trades.records == load.put
    assert (spreads.lost, trades.lost, spreads.unknown, trades.unknown) == (0, 0, 0, 0)
    assert (spreads.duplicates, trades.duplicates, stats.reconnects) == (0, 0, 0)
