"""The lanes against a producer that acknowledges, fails and forgets at will: nothing lost, nothing overtakes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
)

from level4.model import STATUS, TIMESALES, Trade, UnavailableError
from level4.publish.encode import Record, encoder
from level4.publish.kafka import KafkaLink
from level4.publish.producer import Done


def record(market_id: int, seq: int) -> Record:
    trade = Trade(
        market_id=market_id,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        side=None,
        price="1",
        size="1",
        trade_id=None,
        epoch=1,
        seq=seq,
        exchange_us=None,
        received_us=1,
        published_us=1,
        node="n",
    )
    return encoder("json")(trade, 0.0)


class FakeBroker:
    """What is written survives its clients."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.log: dict[int, list[bytes]] = {}
        self.away = False
        self.clients: list[FakeClient] = []

    def connect(self) -> FakeClient:
        if self.away:
            raise UnavailableError("away")
        client = FakeClient(self)
        self.clients.append(client)
        return client


class FakeClient:
    """Completes records of a partition in order; what it does next is decided by the test."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.cluster_id = "fake"
        self.partitions = {TIMESALES: broker.partitions, STATUS: broker.partitions}
        self.metadata = broker.partitions
        self.pending: dict[int, deque[bytes]] = {}
        self.dones: dict[int, Done] = {}
        self.raises: Exception | None = None
        self.aborted = False
        self.broken: set[int] = set()

    def partition(self, topic: str, partition: int, done: Done) -> Callable[[Record], None]:
        self.dones[partition] = done

        def send(one: Record) -> None:
            if self.raises is not None:
                error, self.raises = self.raises, None
                raise error
            if partition >= self.metadata:
                raise ValueError(f"metadata lack partition {partition} of {topic}")
            if self.aborted:
                done(1, KafkaTimeoutError("aborted"))
            else:
                self.pending.setdefault(partition, deque()).append(one.value)

        return send

    def serve(self, seconds: float) -> None: ...

    def known(self, topic: str) -> int:
        return self.metadata

    def refresh(self) -> None:
        self.metadata = self.broker.partitions

    def wait_for(self, topic: str, partition: int, seconds: float) -> bool:
        self.refresh()
        return self.metadata > partition

    def acknowledge(self, partition: int, count: int) -> None:
        queue = self.pending.get(partition, deque())
        count = min(count, len(queue))
        if count and not self.aborted and partition not in self.broken:
            self.broker.log.setdefault(partition, []).extend(queue.popleft() for _ in range(count))
            self.dones[partition](count, None)

    def fail(self, partition: int, count: int, error: Exception, written: bool) -> None:
        """A batch of `count` records fails, perhaps written all the same. Nothing of the partition follows it."""
        written = written and partition not in self.broken
        self.broken.add(partition)
        queue = self.pending.get(partition, deque())
        values = [queue.popleft() for _ in range(min(count, len(queue)))]
        if written and values:
            self.broker.log.setdefault(partition, []).extend(values)
        if values:
            self.dones[partition](len(values), error)

    def abort(self) -> None:
        self.aborted = True

    def discard(self, seconds: float) -> None:
        self.abort()


def link_to(broker: FakeBroker) -> KafkaLink:
    link = KafkaLink(broker.connect)
    link.open()
    return link


def seen(values: list[bytes]) -> list[bytes]:
    """What a reader keeps: each record once, in the order of first appearance."""
    return list(dict.fromkeys(values))


def test_acknowledged_records_leave_their_lane_and_are_counted() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    link.send([record(1, 1), record(2, 1), record(1, 2)])
    assert link.outstanding == 3
    broker.clients[0].acknowledge(1, 2)
    assert link.collect().records == 2
    assert link.outstanding == 1
    broker.clients[0].acknowledge(2, 1)
    assert link.collect().records == 1
    assert (link.outstanding, link.outstanding_bytes) == (0, 0)
    assert link.collect().records == 0


def test_a_failure_stops_the_producer_at_once_and_everything_goes_again_in_order() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    records = [record(1, n) for n in range(1, 7)]
    link.send(records)
    client = broker.clients[0]
    client.acknowledge(1, 2)
    client.fail(1, 1, OutOfOrderSequenceNumberError("lost"), written=False)
    client.acknowledge(1, 3)
    assert client.aborted
    assert "OutOfOrderSequenceNumberError" in (link.failure or "")
    link.open()
    assert link.failure is None
    assert link.collect().records == 2
    broker.clients[1].acknowledge(1, 10)
    assert link.collect().records == 4
    assert broker.log[1] == [each.value for each in records]


def test_a_connection_that_cannot_be_made_loses_nothing() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    link.send([record(1, 1)])
    broker.clients[0].fail(1, 1, KafkaTimeoutError("expired"), written=True)
    broker.away = True
    for _ in range(3):
        with pytest.raises(UnavailableError):
            link.open()
        assert link.failure == "not connected"
        assert link.outstanding == 1
    broker.away = False
    link.open()
    broker.clients[-1].acknowledge(1, 1)
    assert link.collect().records == 1
    assert broker.log[1] == [record(1, 1).value] * 2, "written twice: a failure does not mean that it was not written"


def test_stale_metadata_are_refreshed_and_the_record_is_sent() -> None:
    broker = FakeBroker(partitions=4)
    link = link_to(broker)
    broker.clients[0].metadata = 1
    link.send([record(3, 1)])
    broker.clients[0].acknowledge(3, 1)
    assert link.collect().records == 1
    assert link.failure is None


def test_a_topic_that_has_grown_takes_new_markets() -> None:
    broker = FakeBroker(partitions=4)
    link = link_to(broker)
    link.send([record(5, 1)])
    (refusal,) = link.take_refusals()
    assert "only 4 partitions, none for market 5" in refusal.reason
    broker.partitions = 8
    broker.clients[0].refresh()
    link.send([record(5, 2)])
    broker.clients[0].acknowledge(5, 1)
    assert link.collect().records == 1
    assert link.take_refusals() == []


def test_a_topic_made_again_with_fewer_partitions_gives_up_what_has_no_place() -> None:
    broker = FakeBroker(partitions=8)
    link = link_to(broker)
    link.send([record(6, 1), record(1, 1)])
    broker.partitions = 4
    broker.clients[0].fail(1, 1, OutOfOrderSequenceNumberError("gone"), written=False)
    link.open()
    assert [refusal.record.partition for refusal in link.take_refusals()] == [6]
    broker.clients[1].acknowledge(1, 1)
    assert link.collect().records == 1
    assert (link.outstanding, link.outstanding_bytes) == (0, 0)


def test_a_record_too_large_for_the_client_is_given_up_alone() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    broker.clients[0].raises = MessageSizeTooLargeError("too large")
    link.send([record(1, 1), record(1, 2)])
    broker.clients[0].acknowledge(1, 5)
    assert link.collect().records == 1
    (refusal,) = link.take_refusals()
    assert (refusal.record.value, link.outstanding) == (record(1, 1).value, 0)


def test_a_record_that_kafka_refuses_three_times_is_given_up() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    link.send([record(1, 1), record(1, 2)])
    for attempt in range(3):
        assert link.take_refusals() == []
        broker.clients[attempt].fail(1, 1, MessageSizeTooLargeError("refused"), written=False)
        link.open()
    assert [refusal.record.value for refusal in link.take_refusals()] == [record(1, 1).value]
    broker.clients[-1].acknowledge(1, 5)
    assert link.collect().records == 1
    assert broker.log[1] == [record(1, 2).value]


def test_an_error_of_send_leaves_the_record_for_the_next_producer() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    broker.clients[0].raises = KafkaTimeoutError("no metadata")
    link.send([record(1, 1), record(1, 2)])
    assert link.failure
    link.open()
    broker.clients[1].acknowledge(1, 2)
    assert link.collect().records == 2


def test_a_client_made_after_closing_is_thrown_away() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    link.send([record(1, 1)])
    link.close()
    assert link.outstanding == 1
    link.open()
    assert broker.clients[1].aborted


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 120))
@settings(max_examples=80, deadline=None)
def test_any_mixture_of_acknowledgements_failures_and_outages(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    broker = FakeBroker()
    link = link_to(broker)
    sent: dict[int, list[bytes]] = {}
    acknowledged = total = 0

    def reopen() -> None:
        try:
            link.open()
        except UnavailableError:
            assert broker.away

    for _ in range(steps):
        client = broker.clients[-1]
        market_id = rng.randrange(4)
        action = rng.randrange(7)
        if action <= 2:
            batch = [record(rng.randrange(4), total + n) for n in range(rng.randrange(1, 8))]
            total += len(batch)
            for each in batch:
                sent.setdefault(each.partition, []).append(each.value)
            link.send(batch)
        elif action == 3:
            client.acknowledge(market_id, rng.randrange(1, 6))
        elif action == 4:
            client.fail(market_id, rng.randrange(1, 4), KafkaTimeoutError("x"), written=rng.random() < 0.5)
        elif action == 5:
            broker.away = rng.random() < 0.5
            reopen()
        else:
            client.raises = KafkaTimeoutError("metadata")
        if link.failure is not None and rng.random() < 0.7:
            reopen()
        acknowledged += link.collect().records
        assert acknowledged + link.outstanding == total
        assert (link.outstanding_bytes == 0) == (link.outstanding == 0)
    broker.away = False
    link.open()
    broker.clients[-1].raises = None
    link.send(())
    for market_id in range(4):
        broker.clients[-1].acknowledge(market_id, 10**6)
    acknowledged += link.collect().records
    assert (acknowledged, link.outstanding) == (total, 0)
    assert {partition: seen(log) for partition, log in broker.log.items()} == sent


def test_a_late_acknowledgement_behind_a_failure_is_not_taken_for_the_failed_record() -> None:
    broker = FakeBroker()
    link = link_to(broker)
    link.send([record(1, 1), record(1, 2)])
    client = broker.clients[0]
    client.fail(1, 1, KafkaTimeoutError("expired"), written=False)
    client.dones[1](1, None)
    assert link.collect().records == 0
    link.open()
    broker.clients[1].acknowledge(1, 2)
    assert broker.log[1] == [record(1, 1).value, record(1, 2).value]
