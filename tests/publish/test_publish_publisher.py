"""The publisher's task with a client that does as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from kafka.errors import TopicAuthorizationFailedError  # type: ignore[import-untyped]

from level4.model import STATUS, TIMESALES, TOPICS, Status, Trade, UnavailableError
from level4.publish import KafkaPublisher, KafkaSettings, PublisherSettings, publisher
from level4.publish.encode import Record
from level4.publish.producer import Done


def trade(n: int) -> Trade:
    return Trade(
        market_id=1,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        side=None,
        price="1",
        size="1",
        trade_id=None,
        epoch=1,
        seq=n,
        exchange_us=None,
        received_us=1,
        published_us=0,
        node="n",
    )


class Kafka:
    """Stands for the broker and all clients; `mode` says what the next record meets."""

    def __init__(self) -> None:
        self.mode = "acknowledge"
        self.connects = 0
        self.values: list[tuple[str, bytes]] = []
        self.held: list[Done] = []
        self.threads: set[int] = set()
        self.cluster_id = "fake"
        self.partitions = dict.fromkeys(TOPICS, 8)

    def connect(self, settings: KafkaSettings) -> Kafka:
        self.connects += 1
        self.threads.add(threading.get_ident())
        if self.mode == "absent":
            raise UnavailableError("nobody there")
        return self

    def partition(self, topic: str, partition: int, done: Done) -> Callable[[Record], None]:
        def send(record: Record) -> None:
            self.threads.add(threading.get_ident())
            if self.mode == "refuse":
                done(1, TopicAuthorizationFailedError(topic))
                return
            self.values.append((topic, record.value))
            self.held.append(done)

        return send

    def serve(self, seconds: float) -> None:
        self.threads.add(threading.get_ident())
        if self.mode == "hold":
            time.sleep(seconds)
            return
        held, self.held = self.held, []
        for done in held:
            done(1, None)

    def release(self) -> None:
        self.mode = "acknowledge"

    def known(self, topic: str) -> int:
        return 8

    def refresh(self) -> None: ...

    def wait_for(self, topic: str, partition: int, seconds: float) -> bool:
        return True

    def abort(self) -> None: ...

    def discard(self, seconds: float) -> None: ...

    def of(self, topic: str, kind: type[Any]) -> list[Any]:
        return [msgspec.json.decode(value, type=kind) for name, value in self.values if name == topic]


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    fake = Kafka()
    monkeypatch.setattr(publisher, "EventClient", fake.connect)
    return fake


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[KafkaPublisher]:
    settings = PublisherSettings(KafkaSettings(("nowhere:1",)), backoff_seconds=0.1, **changes)
    made = KafkaPublisher(settings, "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


async def test_nothing_of_kafka_is_called_on_the_event_loop(kafka: Kafka) -> None:
    async with running() as made:
        for n in range(1, 2_000):
            made.put(trade(n))
        assert await made.drain(5) == 0
    assert [event.seq for event in kafka.of(TIMESALES, Trade)] == list(range(1, 2_000))
    assert threading.get_ident() not in kafka.threads


async def test_a_kafka_that_connects_but_takes_nothing_is_not_stormed(kafka: Kafka) -> None:
    kafka.mode = "refuse"
    async with running() as made:
        made.put(trade(1))
        await until(lambda: kafka.connects >= 3)
        started, before = trio.current_time(), kafka.connects
        await trio.sleep(0.5)
        assert kafka.connects - before <= (trio.current_time() - started) / 0.05
        assert not made.ready
        assert "TopicAuthorizationFailedError" in (made.stats.last_error or "")
        kafka.mode = "acknowledge"
        assert await made.drain(5) == 0
        await until(lambda: made.ready)
    assert [event.seq for event in kafka.of(TIMESALES, Trade)] == [1]


async def test_no_more_than_the_window_is_handed_over(kafka: Kafka) -> None:
    kafka.mode = "hold"
    async with running(window=50, batch=20, away_seconds=0.2) as made:
        for n in range(1, 201):
            made.put(trade(n))
        await until(lambda: made.stats.away_seconds > 0)
        assert (made.stats.in_flight, made.stats.queued, len(kafka.values)) == (50, 150, 50)
        assert not made.ready
        assert made.remaining == 200
        kafka.release()
        assert await made.drain(5) == 0
        await until(lambda: made.stats.put == 201)
        assert await made.drain(5) == 0
    (recovered,) = kafka.of(STATUS, Status)
    assert (recovered.event, recovered.market_id, recovered.seq) == ("kafka_recovered", None, 1)
    assert "no acknowledgement for 0.2 s" in recovered.reason


async def test_what_the_publisher_says_continues_the_markets_own_status_stream(kafka: Kafka) -> None:
    kafka.mode = "absent"
    mine = Status(
        market_id=1,
        event="live",
        state=None,
        reason=None,
        member=None,
        epoch=77,
        seq=0,
        node="node1",
        published_us=0,
    )
    async with running(max_events=100, window=50, batch=50) as made:
        made.put(mine)
        for n in range(1, 151):
            made.put(trade(n))
        await until(lambda: made.stats.away_seconds > 0)
        kafka.mode = "acknowledge"
        await until(lambda: made.stats.put == 153)
        assert await made.drain(5) == 0
    about_market = [event for event in kafka.of(STATUS, Status) if event.market_id == 1]
    assert [(event.event, event.epoch, event.seq, event.lost) for event in about_market] == [
        ("live", 77, 1, None),
        ("trades_dropped", 77, 2, 51),
    ]
    assert [event.seq for event in kafka.of(TIMESALES, Trade)] == list(range(1, 100))


async def test_put_works_before_and_after_the_task_runs(kafka: Kafka) -> None:
    made = KafkaPublisher(PublisherSettings(KafkaSettings(("nowhere:1",))), "node1")
    made.put(trade(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        assert await made.drain(5) == 0
        nursery.cancel_scope.cancel()
    made.put(trade(2))
    assert (made.remaining, made.ready) == (1, False)
