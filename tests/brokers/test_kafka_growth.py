"""A market whose id lies beyond the topics: they grow where that is allowed and possible, on brokers that can."""

from __future__ import annotations

import pytest
import trio
from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.admin import ConfigResource, ConfigResourceType  # type: ignore[import-untyped]
from kafka_brokers import APACHE, NOIDA
from kafka_load import publishing, settings, spread, trade, until

from level4.client import Reader
from level4.model import SPREAD, STATUS, TIMESALES, ConfigError
from level4.publish import Layout
from level4.publish.embedded import BrokerProcess
from level4.publish.topics import count_partitions

on_brokers_that_grow = pytest.mark.parametrize("broker", [APACHE, NOIDA], indirect=True)


def partitions(endpoint: str) -> dict[str, int]:
    admin = KafkaAdminClient(bootstrap_servers=endpoint)
    try:
        return count_partitions(admin, [SPREAD, TIMESALES, STATUS])
    finally:
        admin.close()


def read_market(endpoint: str, market_id: int, expected: int) -> list[tuple[str, int, int]]:
    """(topic, partition, seq) of a market's records."""
    with Reader([endpoint], [SPREAD, TIMESALES], [market_id], "beginning", until_silent=1.0, patience=30) as reader:
        found = [(record.topic, record.market_id, record.event.seq) for record in reader]
    assert len(found) == expected
    return sorted(found)


@on_brokers_that_grow
async def test_market_70_on_topics_of_32_partitions_grows_them_and_is_published(broker: BrokerProcess) -> None:
    layout = Layout(partitions=32, max_market_id=99)
    async with publishing(settings(broker.endpoint, layout=layout)) as publisher:
        publisher.put(trade(1, 1))
        assert await publisher.drain(20) == 0
        assert set(publisher.partitions.values()) == {32}
        async with trio.open_nursery() as nursery:  # markets may be started at the same time
            nursery.start_soon(publisher.ensure_market, 70)
            nursery.start_soon(publisher.ensure_market, 71)
            nursery.start_soon(publisher.ensure_market, 31)
        assert set(publisher.partitions.values()) == {96}
        for n in range(1, 11):
            publisher.put(spread(70, n))
            publisher.put(trade(70, n))
            publisher.put(trade(1, 1 + n))
        assert await publisher.drain(20) == 0
        assert (publisher.stats.refused, publisher.stats.reconnects, publisher.stats.errors) == (0, 0, 0)
        with pytest.raises(ConfigError, match=r"market 100 .* past LEVEL4_MAX_MARKET_ID=99"):
            await publisher.ensure_market(100)
        await publisher.ensure_market(99)
    assert await trio.to_thread.run_sync(partitions, broker.endpoint) == {SPREAD: 100, TIMESALES: 100, STATUS: 100}
    found = await trio.to_thread.run_sync(read_market, broker.endpoint, 70, 20)
    assert found == [(topic, 70, seq) for topic in (SPREAD, TIMESALES) for seq in range(1, 11)]


@on_brokers_that_grow
async def test_where_topics_are_not_ours_to_change_the_market_is_refused(broker: BrokerProcess) -> None:
    async with publishing(settings(broker.endpoint, layout=Layout(partitions=32))) as maker:
        await until(lambda: maker.ready)
    async with publishing(settings(broker.endpoint, layout=Layout(create=False))) as publisher:
        with pytest.raises(ConfigError, match=r"needs partition 70, .* has 32 .*71 or more.*LEVEL4_CREATE_TOPICS=true"):
            await publisher.ensure_market(70)
        await publisher.ensure_market(31)
    assert await trio.to_thread.run_sync(partitions, broker.endpoint) == {SPREAD: 32, TIMESALES: 32, STATUS: 32}


@on_brokers_that_grow
async def test_topics_grown_by_somebody_else_are_found_without_a_change(broker: BrokerProcess) -> None:
    async with (
        publishing(settings(broker.endpoint, layout=Layout(partitions=32))) as one,
        publishing(settings(broker.endpoint, layout=Layout(create=False))) as other,
    ):
        await one.ensure_market(40)
        await other.ensure_market(40)
        other.put(trade(40, 1))
        assert await other.drain(20) == 0
        assert other.stats.refused == 0


@pytest.mark.parametrize("broker", [APACHE], indirect=True)
async def test_topics_are_made_with_the_retention_asked_for(broker: BrokerProcess) -> None:
    layout = Layout(partitions=4, retention_ms=3 * 86_400_000)
    async with publishing(settings(broker.endpoint, layout=layout)):
        pass
    assert await trio.to_thread.run_sync(retention, broker.endpoint, SPREAD) == str(3 * 86_400_000)


def retention(endpoint: str, topic: str) -> str:
    admin = KafkaAdminClient(bootstrap_servers=endpoint)
    try:
        described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return str(described["topic"][topic]["retention.ms"]["value"])
    finally:
        admin.close()
