"""The ownership log on a Kafka that really compacts it: whoever reads late, or slept, knows what everybody knows.

The topic is made with settings that let Kafka compact at once what a node's own topic keeps for an hour; it does so
while two nodes claim, lose, stop and write again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
import trio
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from kafka_load import until
from kafka_secured import SecuredKafka

from level4.cluster.ledger import Ledger, LostError
from level4.model import MarketRequest, MarketType, UnavailableError
from level4.placement import Entry, NodeRecord, Ownership, Writer
from level4.publish import KafkaSettings, LogRecord, LogSettings, OwnershipLog

pytestmark = pytest.mark.apache_kafka

TOPIC = "level4.markets"
MARKETS = range(1, 13)
AT_ONCE = {
    "cleanup.policy": "compact",
    "segment.ms": "200",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "200",
    "delete.retention.ms": "0",
}


class Follower:
    """A node's knowledge of the log, read by the log's own client. It can stop reading and go on."""

    def __init__(self, settings: LogSettings) -> None:
        self.known = Ownership()
        self.states: dict[int, dict[int, Entry]] = {}
        """All valid records, after each record read."""
        self.log = OwnershipLog(settings, self.deliver)

    def deliver(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self.known.apply(record.offset, record.key, record.value, record.names)
            self.known.check()
            self.states[record.offset] = dict(self.known.markets())

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.log.run)
            yield
            nursery.cancel_scope.cancel()

    async def has_read(self, offset: int) -> None:
        await until(lambda: self.known.last_offset >= offset)


def make_topic(endpoint: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=endpoint)
    try:
        admin.create_topics({TOPIC: {"num_partitions": 1, "replication_factor": 1, "configs": AT_ONCE}})
        admin.wait_for_topics([TOPIC])
    finally:
        admin.close()


def still_there(endpoint: str) -> list[tuple[int, str]]:
    """Offset and key of all records that Kafka still has."""
    consumer = KafkaConsumer(bootstrap_servers=endpoint, consumer_timeout_ms=500)
    try:
        place = TopicPartition(TOPIC, 0)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        return [(record.offset, (record.key or b"").decode()) for record in consumer]
    finally:
        consumer.close()


def market(market_id: int) -> MarketRequest:
    return MarketRequest(market_id, "KRAKEN", MarketType.SPOT, "BTC", "USD")


async def churn(ledgers: list[Ledger], random: Random, turns: int) -> int:
    """Claims, rivals' claims at the same moment, stops; how many claims were second."""
    lost = 0

    async def take(ledger: Ledger, market_id: int) -> None:
        nonlocal lost
        try:
            await ledger.claim(market(market_id))
        except LostError:
            lost += 1

    for _ in range(turns):
        market_id = random.choice(MARKETS)
        if random.random() < 0.2:
            with suppress(UnavailableError):  # it gives up when records that are written again come first five times
                await random.choice(ledgers).stop(market_id, "a test")
        async with trio.open_nursery() as nursery:
            for ledger in ledgers:
                nursery.start_soon(take, ledger, market_id)
    return lost


async def repaired(ledgers: list[Ledger]) -> None:
    """Until all that must be written again after void records has been: then nobody need doubt anything."""
    for ledger in ledgers:
        await ledger.read_to_end()
    await until(lambda: not any(ledger.known.all_overwritten() for ledger in ledgers))
    await ledgers[0].read_to_end()


async def test_who_reads_after_a_compaction_or_slept_through_it_knows_the_same(
    apache: SecuredKafka, report: Callable[[str], None]
) -> None:
    await trio.to_thread.run_sync(make_topic, apache.admin)
    settings = LogSettings(KafkaSettings((apache.admin,)))
    random = Random(4)
    ledgers = [
        Ledger(
            Writer(name, 1),
            lambda deliver: OwnershipLog(settings, deliver),
            about=lambda mark: NodeRecord(by=mark),
            changed=lambda ids: None,
        )
        for name in ("node1", "node2")
    ]
    always, sleeper, late = (Follower(settings) for _ in range(3))
    async with trio.open_nursery() as nursery:
        for ledger in ledgers:
            await nursery.start(ledger.run)
        async with always.reading():
            async with sleeper.reading():
                for ledger in ledgers:
                    with trio.fail_after(30):
                        await ledger.wait_caught_up()
                lost = await churn(ledgers, random, 30)
                await sleeper.has_read(always.known.last_offset)
            slept_at = sleeper.known.last_offset
            lost += await churn(ledgers, random, 60)
            awake = always.known.last_offset
            with trio.fail_after(60):
                while True:  # node records come every second, so that segments end
                    kept = await trio.to_thread.run_sync(still_there, apache.admin)
                    old = Counter(key for offset, key in kept if offset <= awake)
                    if max(old.values(), default=1) == 1:
                        break
                    await trio.sleep(0.2)
            gone = awake + 1 - sum(old.values())
            assert gone > awake / 2
            assert not any(slept_at < offset <= slept_at + 10 for offset, _ in kept), "the sleeper has missed records"
            async with sleeper.reading(), late.reading():
                for turns in (0, 15):  # and they judge alike what comes from here on
                    lost += await churn(ledgers, random, turns)
                    await repaired(ledgers)
                    end = ledgers[0].known.last_offset
                    for reader in (sleeper, late):
                        await reader.has_read(end)
                        reached = reader.known.last_offset
                        await always.has_read(reached)
                        assert reader.states[reached] == always.states[reached]
                        assert len(reader.states[reached]) == len(MARKETS)
        nursery.cancel_scope.cancel()
    assert lost > 20
    assert always.known.void > 0
    assert len(late.states) < len(always.states) / 2
    report(
        f"{gone} of {awake + 1} records compacted away, {lost} claims were second; who came late read "
        f"{len(late.states)} records, who slept missed {len(always.states) - len(sleeper.states)}"
    )
