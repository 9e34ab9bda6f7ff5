"""The producer of batches against brokers that fail at will: once and in order, whoever leads and whatever breaks.

The brokers check sequence numbers as Kafka does: a batch that they have is a duplicate, one that skips is refused.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    ClusterAuthorizationFailedError,
    InvalidRecordError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    OutOfOrderSequenceNumberError,
    UnknownTopicOrPartitionError,
)
from kafka.future import Future  # type: ignore[import-untyped]
from kafka.record.default_records import DefaultRecordBatch  # type: ignore[import-untyped]

from level4.model import TIMESALES, Trade
from level4.publish import producer as module
from level4.publish.encode import Record
from level4.publish.producer import Producer

EVENT = Trade(
    market_id=1, exchange="KRAKEN", type="SPOT", symbol="BTC/USD", side=None, price="1", size="1", trade_id=None,
    epoch=1, seq=1, exchange_us=None, received_us=1, published_us=1, node="n",
)  # fmt: skip
NOT_LEADER, NOT_ENOUGH_REPLICAS, OUT_OF_ORDER, DUPLICATE, TOO_LARGE, INVALID = 6, 19, 45, 46, 10, 87


def record(partition: int, n: int, size: int = 0) -> Record:
    return Record(EVENT, TIMESALES, b"\0", partition, b"%d" % n + b"." * size, 1_787_227_200_000, 0.0)


class Cluster:
    """Brokers, the partitions' logs (replicated to all of them), and what metadata say of the leaders."""

    def __init__(self, brokers: int = 1, partitions: int = 4) -> None:
        self.nodes = list(range(1, brokers + 1))
        self.leaders: dict[int, int] = {n: self.nodes[n % brokers] for n in range(partitions)}
        self.told = dict(self.leaders)
        self.log: dict[int, list[bytes]] = defaultdict(list)
        self.sequences: dict[tuple[int, int], int] = {}
        self.largest = 10**9
        self.poison: bytes | None = None
        self.error: int | None = None
        """The answer to the next batch."""
        self.updates = 0
        self.ids = 0

    # -- as kafka-python's metadata

    def leader_for_partition(self, place: TopicPartition) -> int | None:
        return self.told.get(place.partition)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(self.told)

    def brokers(self) -> list[int]:
        return self.nodes

    def request_update(self) -> None:
        self.updates += 1
        self.told = dict(self.leaders)

    # -- as the brokers

    def write(self, node: int, partition: int, data: bytes) -> int:
        if self.leaders.get(partition) != node:
            return NOT_LEADER
        if self.error is not None:
            error, self.error = self.error, None
            return error
        batch = DefaultRecordBatch(data)
        assert batch.validate_crc()
        values = [bytes(one.value) for one in batch]
        if len(data) > self.largest:
            return TOO_LARGE
        if self.poison is not None and self.poison in values:
            return INVALID
        key = (batch.producer_id, partition)
        expected = self.sequences.get(key, 0)
        if batch.base_sequence < expected:
            assert batch.base_sequence + len(values) <= expected, "never half of a batch again"
            return DUPLICATE
        if batch.base_sequence > expected:
            return OUT_OF_ORDER
        self.sequences[key] = expected + len(values)
        self.log[partition] += values
        return 0


class Net:
    """As kafka-python's client. `down` nodes are not ready; requests wait in `asked` until they are answered."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.down: set[int] = set()
        self.asked: list[tuple[int, Any, Future]] = []
        self.by_itself = True
        self.closed = False
        self.gone = False
        """Whether the connection is closed and does not know it."""
        self.silent: int | None = None
        """A partition that the next answer leaves out."""
        self.refuses: type[Exception] | None = None

    def is_ready(self, node: int) -> bool:
        return node not in self.down

    def maybe_connect(self, node: int) -> None: ...

    def least_loaded_node(self) -> int:
        return self.cluster.nodes[0]

    def send_and_receive(self, node: int, request: Any, timeout_ms: int) -> Any:
        if self.refuses is not None:
            raise self.refuses("no")
        self.cluster.ids += 1
        return SimpleNamespace(error_code=0, producer_id=self.cluster.ids, producer_epoch=0)

    def send(self, node: int, request: Any) -> Future:
        future = Future()
        if self.gone:
            self.gone = False
            raise RuntimeError("Transport closed for writes")
        assert sum(node == asked for asked, _, _ in self.asked) < 4
        places = [one.index for _, asked, _ in self.asked for topic in asked.topic_data for one in topic.partition_data]
        assert not set(places) & {one.index for topic in request.topic_data for one in topic.partition_data}
        self.asked.append((node, request, future))
        return future

    def poll(self, timeout_ms: float, future: object = None) -> None:
        if self.by_itself:
            self.answer()

    def answer(self, *, lost: bool = False, written: bool = True) -> None:
        """Answer everything asked so far; `lost`: the connections break instead, after or before it was `written`."""
        asked, self.asked = self.asked, []
        for node, request, future in asked:
            responses = []
            for topic in request.topic_data:
                answers = [
                    SimpleNamespace(
                        index=one.index,
                        error_code=self.cluster.write(node, one.index, bytes(one.records)) if written else 0,
                        error_message=None,
                    )
                    for one in topic.partition_data
                    if one.index != self.silent
                ]
                self.silent = None
                responses.append(SimpleNamespace(name=topic.name, partition_responses=answers))
            if lost:
                future.failure(KafkaConnectionError("broken"))
            else:
                future.success(SimpleNamespace(responses=responses))

    def close(self, node: int | None = None) -> None:
        self.closed = node is None


class Told:
    """What the producer said of each partition."""

    def __init__(self) -> None:
        self.written: dict[int, int] = defaultdict(int)
        self.errors: list[tuple[int, int, Exception]] = []

    def done(self, partition: int) -> Callable[[int, Exception | None], None]:
        def done(count: int, error: Exception | None) -> None:
            if error is None:
                self.written[partition] += count
            else:
                self.errors.append((partition, count, error))

        return done


def made(cluster: Cluster, **changes: Any) -> tuple[Producer, Net, Told, Callable[[Record], None]]:
    net, told = Net(cluster), Told()
    options: dict[str, Any] = {
        "compression": "lz4", "batch_bytes": 65_536, "request_bytes": 1_048_576, "timeout_ms": 100
    } | changes  # fmt: skip
    producer = Producer(net, **options)
    senders = {n: producer.partition(TIMESALES, n, told.done(n)) for n in [*cluster.leaders, 99]}
    return producer, net, told, lambda one: senders[one.partition](one)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)


def test_one_request_holds_a_batch_of_every_partition() -> None:
    cluster = Cluster(partitions=50)
    producer, net, told, send = made(cluster)
    net.by_itself = False
    for n in range(100):
        send(record(n % 50, n))
    producer.serve(0)
    ((_, request, _),) = net.asked
    assert [len(topic.partition_data) for topic in request.topic_data] == [50]
    send(record(7, 100))
    producer.serve(0)
    assert len(net.asked) == 1, "a partition waits for its answer"
    net.answer()
    producer.serve(0)
    assert sum(told.written.values()) == 100
    net.answer()
    producer.serve(0)
    assert cluster.log[7] == [b"7", b"57", b"100"]
    assert not producer.outstanding()


def test_each_broker_gets_what_it_leads_and_one_that_is_slow_delays_only_that() -> None:
    cluster = Cluster(brokers=3, partitions=9)
    producer, net, _, send = made(cluster)
    net.by_itself = False
    for n in range(9):
        send(record(n, n))
    producer.serve(0)
    assert sorted(node for node, _, _ in net.asked) == [1, 2, 3]
    slow = net.asked.pop()
    net.answer()
    for n in range(9):
        send(record(n, 10 + n))
    producer.serve(0)
    assert sorted(node for node, _, _ in net.asked) == sorted({1, 2, 3} - {slow[0]})
    net.answer()
    net.asked = [slow]
    net.answer()
    net.by_itself = True
    producer.serve(1)
    assert all(cluster.log[n] == [b"%d" % n, b"%d" % (10 + n)] for n in range(9))


def test_other_partitions_do_not_wait_for_an_answer_up_to_a_bound() -> None:
    cluster = Cluster(partitions=10)
    producer, net, told, send = made(cluster)
    net.by_itself = False
    for n in range(10):
        send(record(n, n))
        producer.serve(0)
    assert len(net.asked) == 4
    net.answer()
    producer.serve(0)
    assert [len(request.topic_data[0].partition_data) for _, request, _ in net.asked] == [6]
    net.answer()
    producer.serve(0)
    assert sum(told.written.values()) == 10


@pytest.mark.parametrize("written", [True, False])
def test_an_answer_that_is_lost_doubles_nothing(written: bool) -> None:
    cluster = Cluster()
    producer, net, told, send = made(cluster)
    net.by_itself = False
    for n in range(3):
        send(record(1, n))
    producer.serve(0)
    send(record(1, 3))
    net.answer(lost=True, written=written)
    net.by_itself = True
    producer.serve(1)
    assert cluster.log[1] == [b"0", b"1", b"2", b"3"]
    assert (told.written[1], told.errors) == (4, [])


@pytest.mark.parametrize("error", [NOT_LEADER, NOT_ENOUGH_REPLICAS])
def test_an_error_that_passes_is_waited_out(error: int) -> None:
    cluster = Cluster()
    producer, _, told, send = made(cluster)
    cluster.error = error
    send(record(1, 1))
    producer.serve(1)
    assert (cluster.log[1], told.errors) == ([b"1"], [])
    assert cluster.updates > 0


def test_a_connection_that_is_closed_and_does_not_know_it() -> None:
    cluster = Cluster()
    producer, net, told, send = made(cluster)
    net.gone = True
    send(record(1, 1))
    producer.serve(1)
    assert (cluster.log[1], told.errors, producer.outstanding()) == ([b"1"], [], False)


def test_a_batch_that_an_answer_leaves_out_goes_again() -> None:
    cluster = Cluster()
    producer, net, told, send = made(cluster)
    net.silent = 1
    for n in range(3):
        send(record(n, n))
    producer.serve(1)
    assert (dict(cluster.log), told.errors) == ({0: [b"0"], 1: [b"1"], 2: [b"2"]}, [])


def test_a_partition_follows_its_leader() -> None:
    cluster = Cluster(brokers=2, partitions=2)
    producer, net, told, send = made(cluster)
    send(record(0, 0))
    producer.serve(1)
    old = cluster.leaders[0]
    cluster.leaders[0] = 3 - old
    net.down.add(old)
    send(record(0, 1))
    producer.serve(0)
    cluster.request_update()  # as kafka-python does when a connection breaks
    producer.serve(1)
    assert (cluster.log[0], told.errors) == ([b"0", b"1"], [])


def test_a_broker_that_forgot_the_sequence_finishes_the_producer() -> None:
    cluster = Cluster()
    producer, _, told, send = made(cluster)
    send(record(1, 1))
    producer.serve(1)
    cluster.sequences.clear()
    send(record(1, 2))
    producer.serve(0.05)
    ((partition, count, error),) = told.errors
    assert (partition, count) == (1, 1)
    assert isinstance(error, OutOfOrderSequenceNumberError)


@pytest.mark.parametrize(("poison", "kind"), [(True, InvalidRecordError), (False, MessageSizeTooLargeError)])
def test_the_record_that_is_to_blame_is_found(poison: bool, kind: type[Exception]) -> None:
    cluster = Cluster()
    producer, _, told, send = made(cluster, compression=None)
    if poison:
        cluster.poison = b"5"
    else:
        cluster.largest = 1_000
    for n in range(8):
        send(record(1, n, 2_000 if n == 5 and not poison else 0))
    producer.serve(0.05)
    assert cluster.log[1] == [b"0", b"1", b"2", b"3", b"4"]
    ((partition, count, error),) = told.errors
    assert (partition, count, told.written[1]) == (1, 1, 5)
    assert isinstance(error, kind)


def test_a_record_that_fits_into_no_request_is_not_taken() -> None:
    producer, _, told, send = made(Cluster(), request_bytes=10_000)
    with pytest.raises(MessageSizeTooLargeError, match="9,0"):
        send(record(1, 1, 9_000))
    assert not producer.outstanding()
    assert not told.errors


def test_requests_and_batches_keep_their_bounds() -> None:
    cluster = Cluster(partitions=20)
    producer, net, _, send = made(cluster, compression=None, batch_bytes=2_000, request_bytes=10_000)
    net.by_itself = False
    for n in range(400):
        send(record(n % 20, n, 500))
    while producer.outstanding():
        producer.serve(0)
        for _, request, _ in net.asked:
            sizes = [len(one.records) for topic in request.topic_data for one in topic.partition_data]
            assert sum(sizes) <= 10_000
            assert max(sizes) <= 2_000
        net.answer()
    assert all(len(cluster.log[n]) == 20 for n in range(20))


def test_a_partition_that_is_not_there_is_not_taken_and_one_that_goes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MISSING_SECONDS", 0.05)
    cluster = Cluster()
    producer, _, told, send = made(cluster)
    with pytest.raises(ValueError, match="lack partition 99"):
        send(record(99, 1))
    cluster.leaders[99] = 1
    assert producer.wait_for(TIMESALES, 4, 1)
    send(record(99, 1))
    producer.serve(1)
    del cluster.leaders[99]
    cluster.request_update()
    producer.partition(TIMESALES, 99, told.done(99))
    cluster.told[99] = 1
    send_again = producer.partition(TIMESALES, 99, told.done(99))
    send_again(record(99, 2))
    cluster.request_update()
    producer.serve(0.5)
    ((_, _, error),) = told.errors
    assert isinstance(error, UnknownTopicOrPartitionError)


def test_after_abort_nothing_is_sent() -> None:
    cluster = Cluster()
    producer, net, told, send = made(cluster)
    send(record(1, 1))
    producer.abort()
    producer.serve(1)
    assert not cluster.log
    producer.discard(1)
    assert net.closed
    assert not told.written


def test_a_producer_id_is_waited_for_and_its_refusal_told() -> None:
    net = Net(Cluster())
    net.refuses = ClusterAuthorizationFailedError
    options: dict[str, Any] = {"compression": None, "batch_bytes": 1, "request_bytes": 1, "timeout_ms": 50}
    with pytest.raises(ClusterAuthorizationFailedError):
        Producer(net, **options)
    net.refuses = NodeNotReadyError
    with pytest.raises(NodeNotReadyError):
        Producer(net, **options)


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 100))
@settings(max_examples=80, deadline=None)
def test_any_mixture_of_faults_leaves_each_record_once_and_in_order(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(brokers=3, partitions=5)
    producer, net, told, send = made(cluster, batch_bytes=400)
    net.by_itself = False
    sent: dict[int, list[bytes]] = defaultdict(list)
    for step in range(steps):
        for n in range(rng.randrange(6)):
            one = record(rng.randrange(5), step * 10 + n)
            send(one)
            sent[one.partition].append(one.value)
        action = rng.randrange(6)
        if action == 0:
            cluster.leaders[rng.randrange(5)] = rng.choice(cluster.nodes)
        elif action == 1:
            net.down ^= {rng.choice(cluster.nodes)}
        elif action == 2:
            cluster.error = rng.choice([NOT_LEADER, NOT_ENOUGH_REPLICAS])
        elif action == 3:
            net.answer(lost=True, written=rng.random() < 0.5)
        elif action == 4:
            cluster.request_update()
        else:
            net.answer()
        producer.serve(0)
    net.down.clear()
    net.by_itself = True
    cluster.error = None
    net.answer()
    producer.serve(5)
    assert not producer.outstanding()
    assert dict(cluster.log) == dict(sent)
    assert dict(told.written) == {partition: len(values) for partition, values in sent.items()}
    assert told.errors == []
