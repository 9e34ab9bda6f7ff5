"""The whole way to a real broker, and the broker's failures: absent, frozen, hung, killed."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from level4.model import SPREAD, STATUS, TIMESALES, ConfigError, FeedState, Spread, Status, Trade, UnavailableError
from level4.publish import EmbeddedBroker, KafkaPublisher, KafkaSettings, Layout, PublisherSettings

pytestmark = pytest.mark.broker

ReadBack = Callable[[str, str, int], list[Any]]


def make_spread(market_id: int, n: int) -> Spread:
    return Spread(
        market_id=market_id,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        state=FeedState.LIVE,
        changed="bid",
        bid_price=f"{64000 + n}.1",
        bid_size="1.25",
        ask_price=f"{64001 + n}.1",
        ask_size="0.3",
        mid_price=None,
        epoch=1787227200000001,
        seq=0,
        exchange_us=1787227200099000 + n,
        received_us=1787227200101532 + n * 1000,
        published_us=0,
        node="node1",
    )


def make_trade(market_id: int, n: int) -> Trade:
    return Trade(
        market_id=market_id,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        side="buy",
        price="64000.1",
        size="0.5",
        trade_id=str(n),
        epoch=1787227200000001,
        seq=n,
        exchange_us=None,
        received_us=1787227200101532 + n * 1000,
        published_us=0,
        node="node1",
    )


def make_status(market_id: int | None, reason: str) -> Status:
    return Status(
        market_id=market_id,
        event="live",
        state=FeedState.LIVE,
        reason=reason,
        member=None,
        epoch=1787227200000001,
        seq=0,
        node="node1",
        published_us=0,
    )


def configure(endpoint: str, **changes: Any) -> PublisherSettings:
    kafka = KafkaSettings(
        endpoints=(endpoint,),
        layout=Layout(partitions=changes.pop("partitions", 8)),
        connect_timeout_ms=changes.pop("connect_timeout_ms", 1_000),
        request_timeout_ms=changes.pop("request_timeout_ms", 10_000),
    )
    return PublisherSettings(kafka, backoff_seconds=0.1, backoff_max_seconds=0.3, **changes)


@asynccontextmanager
async def running(settings: PublisherSettings) -> AsyncIterator[KafkaPublisher]:
    publisher = KafkaPublisher(settings, "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        yield publisher
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what has no event of its own."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


def values(records: list[Any]) -> dict[int, list[dict[str, Any]]]:
    """Decoded values by partition."""
    by_partition: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(json.loads(record.value))
    return by_partition


def distinct(seqs: list[int]) -> list[int]:
    """As a reader sees it: what is not above the highest seen is a repetition."""
    seen: list[int] = []
    for seq in seqs:
        if not seen or seq > seen[-1]:
            seen.append(seq)
    return seen


async def test_every_partition_in_order_with_the_contracts_key_headers_and_time(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    async with running(configure(broker.endpoint)) as publisher:
        for n in range(1, 41):
            for market_id in range(1, 8):
                publisher.put(make_spread(market_id, n))
                publisher.put(make_trade(market_id, n))
        publisher.put(make_status(None, "whole node"))
        publisher.put(make_status(3, "one market"))
        assert await publisher.drain(20) == 0
        stats = publisher.stats
        assert publisher.ready
        assert (stats.put, stats.sent, stats.acked, stats.in_flight) == (562, 562, 562, 0)
        assert stats.latency.count == 562
        assert publisher.partitions == {SPREAD: 8, TIMESALES: 8, STATUS: 8}

    spreads = await trio.to_thread.run_sync(read_back, broker.endpoint, SPREAD, 280)
    trades = await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 280)
    statuses = await trio.to_thread.run_sync(read_back, broker.endpoint, STATUS, 2)
    for topic, records in ((SPREAD, spreads), (TIMESALES, trades)):
        by_partition = values(records)
        assert sorted(by_partition) == list(range(1, 8))
        for market_id, events in by_partition.items():
            assert [event["seq"] for event in events] == list(range(1, 41))
            assert {event["market_id"] for event in events} == {market_id}
            assert all(event["published_us"] > 0 for event in events)
        for record in records:
            assert record.key == str(record.partition).encode()
            assert record.timestamp == json.loads(record.value)["received_us"] // 1000
            assert dict(record.headers) == {"content-type": b"application/json", "schema": f"{topic}.v1".encode()}
    first = values(spreads)[1][0]
    assert (first["changed"], first["follows"], first["mid_price"]) == ("state", None, "64001.6")
    assert "follows" not in values(spreads)[1][1]
    assert [(record.partition, record.key) for record in statuses] == [(0, b"0"), (3, b"3")]
    assert all(record.timestamp == json.loads(record.value)["published_us"] // 1000 for record in statuses)


async def test_kafka_may_be_absent_at_the_start(broker: EmbeddedBroker, read_back: ReadBack) -> None:
    broker.kill()
    async with running(configure(broker.endpoint, connect_timeout_ms=300)) as publisher:
        for n in range(1, 101):
            publisher.put(make_trade(2, n))
        await until(lambda: publisher.stats.errors >= 2)
        assert not publisher.ready
        assert publisher.stats.queued == 100
        assert publisher.stats.away_seconds > 0
        assert "expected Kafka at" in (publisher.stats.last_error or "")
        with pytest.raises(UnavailableError):
            await publisher.ensure_market(1)
        await trio.to_thread.run_sync(broker.start)
        await until(lambda: publisher.ready)
        assert await publisher.drain(20) == 0
        await publisher.ensure_market(7)
        with pytest.raises(ConfigError, match="cannot add partitions"):
            await publisher.ensure_market(8)
    trades = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 100))
    assert [event["seq"] for event in trades[2]] == list(range(1, 101))
    statuses = values(await trio.to_thread.run_sync(read_back, broker.endpoint, STATUS, 1))
    (recovered,) = statuses[0]
    assert recovered["event"] == "kafka_recovered"
    assert recovered["market_id"] is None
    assert "away for" in recovered["reason"]


async def test_a_frozen_broker_costs_nothing(broker: EmbeddedBroker, read_back: ReadBack) -> None:
    """Longer than the request timeout, so requests are repeated: idempotence sorts that out."""
    async with running(configure(broker.endpoint, request_timeout_ms=1_000, away_seconds=0.5)) as publisher:
        n = 0

        async def pace(seconds: float) -> None:
            nonlocal n
            until_time = trio.current_time() + seconds
            while trio.current_time() < until_time:
                n += 1
                for market_id in (1, 2, 3):
                    publisher.put(make_spread(market_id, n))
                    publisher.put(make_trade(market_id, n))
                await trio.sleep(0.01)

        await pace(0.5)
        assert publisher.ready
        broker.freeze()
        await pace(4.0)
        assert publisher.stats.away_seconds > 2
        broker.thaw()
        await pace(0.5)
        assert await publisher.drain(20) == 0
        assert publisher.ready
        assert publisher.stats.reconnects == 0
    for topic in (SPREAD, TIMESALES):
        by_partition = values(await trio.to_thread.run_sync(read_back, broker.endpoint, topic, 3 * n))
        for market_id in (1, 2, 3):
            assert [event["seq"] for event in by_partition[market_id]] == list(range(1, n + 1))


async def test_a_connection_that_was_idle_for_too_long_costs_nothing(broker: EmbeddedBroker) -> None:
    kafka = KafkaSettings((broker.endpoint,), Layout(partitions=4), options={"connections_max_idle_ms": 300})
    async with running(PublisherSettings(kafka)) as publisher:
        for n in range(1, 4):
            publisher.put(make_trade(1, n))
            assert await publisher.drain(10) == 0
            await trio.sleep(1.4)  # the connections are looked after once a second
        assert (publisher.stats.errors, publisher.stats.reconnects) == (0, 0)


async def test_a_client_that_makes_no_progress_is_replaced(broker: EmbeddedBroker, read_back: ReadBack) -> None:
    settings = configure(broker.endpoint, stall_seconds=0.8, away_seconds=0.3, connect_timeout_ms=400)
    async with running(settings) as publisher:
        publisher.put(make_trade(1, 1))
        assert await publisher.drain(10) == 0
        broker.freeze()
        for n in range(2, 52):
            publisher.put(make_trade(1, n))
        await until(lambda: publisher.stats.errors >= 2)
        assert not publisher.ready
        broker.thaw()
        assert await publisher.drain(20) == 0
        assert publisher.stats.reconnects >= 1
    trades = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 51))
    assert distinct([event["seq"] for event in trades[1]]) == list(range(1, 52))


async def test_a_killed_broker_bounds_merges_counts_and_the_rest_arrives(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    settings = configure(
        broker.endpoint,
        max_events=300,
        window=50,
        batch=50,
        stall_seconds=0.6,
        away_seconds=0.3,
        connect_timeout_ms=300,
    )
    async with running(settings) as publisher:
        publisher.put(make_spread(1, 1))
        publisher.put(make_trade(1, 1))
        assert await publisher.drain(10) == 0
        broker.kill()
        for n in range(2, 1002):
            publisher.put(make_spread(1, n))
            publisher.put(make_trade(1, n))
        publisher.put(make_spread(5, 1))
        await until(lambda: publisher.stats.errors >= 2)
        stats = publisher.stats
        assert stats.queued + stats.in_flight <= 300 + 2
        assert stats.coalesced > 500
        assert stats.trades_dropped > 500
        await trio.to_thread.run_sync(broker.start)
        await until(lambda: publisher.ready)
        assert await publisher.drain(20) == 0
        await until(lambda: publisher.stats.put == 2 + 2_000 + 1 + 2)  # the two reports of the outage
        assert await publisher.drain(20) == 0
        stats = publisher.stats
        dropped, coalesced = stats.trades_dropped, stats.coalesced
        assert stats.put == stats.acked + dropped + coalesced

    trades = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 1_000 - dropped))
    seqs = distinct([event["seq"] for event in trades[1]])
    assert seqs[0] == 2
    assert 1_000 - len(seqs) == dropped
    by_partition = values(await trio.to_thread.run_sync(read_back, broker.endpoint, SPREAD, 1_001 - coalesced))
    events = by_partition[1]
    assert distinct([event["seq"] for event in events]) == list(range(2, len(events) + 2))
    assert sum(1 + event.get("coalesced", 0) for event in events) == 1_000
    assert events[-1]["bid_price"] == "65001.1"
    assert len(by_partition[5]) == 1
    statuses = values(await trio.to_thread.run_sync(read_back, broker.endpoint, STATUS, 2))
    (recovered,) = statuses[0]
    assert f"{dropped} trades" in recovered["reason"]
    (report,) = statuses[1]
    assert (report["event"], report["lost"], report["symbol"]) == ("trades_dropped", dropped, "BTC/USD")


async def test_a_broker_that_lost_everything_while_the_client_lived(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    """It forgets topics and sequences: the client fails for good, some of its records in the middle of a stream."""
    async with running(configure(broker.endpoint, partitions=4)) as publisher:
        publisher.put(make_trade(1, 1))
        assert await publisher.drain(10) == 0
        broker.kill()
        n = 1
        for _ in range(100):
            n += 1
            for market_id in (1, 2, 3):
                publisher.put(make_trade(market_id, n))
            await trio.sleep(0.002)
        await trio.to_thread.run_sync(broker.start)
        for _ in range(300):
            n += 1
            for market_id in (1, 2, 3):
                publisher.put(make_trade(market_id, n))
            await trio.sleep(0.002)
        assert await publisher.drain(20) == 0
        assert publisher.stats.reconnects >= 1
        assert publisher.stats.refused == 0
    by_partition = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 3 * (n - 1)))
    for market_id in (1, 2, 3):
        assert distinct([event["seq"] for event in by_partition[market_id]]) == list(range(2, n + 1))


async def test_draining_without_a_broker_ends_in_time_and_tells_what_is_left(broker: EmbeddedBroker) -> None:
    with trio.fail_after(15):
        async with running(configure(broker.endpoint)) as publisher:
            publisher.put(make_trade(1, 1))
            assert await publisher.drain(10) == 0
            broker.freeze()
            for n in range(2, 12):
                publisher.put(make_trade(1, n))
            started = trio.current_time()
            assert await publisher.drain(0.5) == 10
            assert trio.current_time() - started < 2
            ending = trio.current_time()
        assert trio.current_time() - ending < 3, "a broker that hangs must not hold the program"
        assert publisher.remaining == 10


async def test_cancelling_while_connecting_is_prompt(broker: EmbeddedBroker) -> None:
    broker.freeze()
    async with running(configure(broker.endpoint, connect_timeout_ms=3_000)) as publisher:
        await trio.sleep(0.2)
        assert not publisher.ready
        ending = trio.current_time()
    assert trio.current_time() - ending < 2


async def test_a_market_without_a_partition_is_refused_loudly_and_holds_nobody_up(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    async with running(configure(broker.endpoint, partitions=4)) as publisher:
        await until(lambda: publisher.ready)
        publisher.put(make_trade(9, 1))
        publisher.put(make_trade(3, 1))
        publisher.put(make_status(9, "nowhere to go"))
        assert await publisher.drain(10) == 0
        assert publisher.stats.refused == 2
        assert "none for market 9" in (publisher.stats.last_error or "")
    trades = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 1))
    assert [event["seq"] for event in trades[3]] == [1]


async def test_an_event_that_cannot_be_encoded_or_is_too_large_is_counted_and_passed_over(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    async with running(configure(broker.endpoint)) as publisher:
        bad = make_trade(1, 1)
        bad.price = object()  # type: ignore[assignment]
        publisher.put(bad)
        huge = make_trade(1, 2)
        huge.trade_id = "x" * 1_100_000
        publisher.put(huge)
        publisher.put(make_trade(1, 3))
        assert await publisher.drain(10) == 0
        await until(lambda: publisher.stats.put == 4)
        assert await publisher.drain(10) == 0
        assert publisher.stats.refused == 2
    trades = values(await trio.to_thread.run_sync(read_back, broker.endpoint, TIMESALES, 1))
    assert [event["seq"] for event in trades[1]] == [3]
    statuses = values(await trio.to_thread.run_sync(read_back, broker.endpoint, STATUS, 1))
    assert [(event["event"], event["lost"]) for event in statuses[1]] == [("refused", 1)]


async def test_topics_are_not_made_when_that_is_not_allowed(broker: EmbeddedBroker) -> None:
    kafka = KafkaSettings(endpoints=(broker.endpoint,), layout=Layout(create=False))
    async with running(PublisherSettings(kafka, backoff_seconds=0.05)) as publisher:
        await until(lambda: publisher.stats.errors >= 1)
        assert "LEVEL4_CREATE_TOPICS" in (publisher.stats.last_error or "")
        assert not publisher.ready


async def test_two_thousand_events_a_second_leave_the_event_loop_alone(
    broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(configure(broker.endpoint, partitions=64)) as publisher:
        await until(lambda: publisher.ready)
        lags: list[float] = []
        put_seconds = 0.0
        stop = trio.Event()

        async def measure() -> None:
            while not stop.is_set():
                started = time.perf_counter()
                await trio.sleep(0.001)
                lags.append(time.perf_counter() - started - 0.001)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure)
            cpu, wall, n = time.process_time(), trio.current_time(), 0
            while trio.current_time() - wall < 2.0:
                due = int((trio.current_time() - wall) * 2_000)
                started = time.perf_counter()
                while n < due:
                    n += 1
                    publisher.put(make_spread(1 + n % 63, n))
                put_seconds += time.perf_counter() - started
                await trio.sleep(0.002)
            stop.set()
        assert await publisher.drain(20) == 0
        cpu = time.process_time() - cpu
        lags.sort()
        latency = publisher.stats.latency
        assert latency.p50 is not None
        assert latency.p99 is not None
        p50, p99 = lags[len(lags) // 2] * 1e3, lags[int(len(lags) * 0.99)] * 1e3
        with capsys.disabled():
            print(
                f"\n{n} events: {cpu / n * 1e6:.0f} us CPU each (made, put, acknowledged; measuring task included), "
                f"{put_seconds / n * 1e6:.1f} us each to make and put; loop lag ms p50 {p50:.2f} p99 {p99:.2f}; "
                f"put to acknowledged ms p50 {latency.p50 * 1e3:.1f} p99 {latency.p99 * 1e3:.1f}"
            )
        assert publisher.stats.acked == n
        assert p50 < 50, "the loop must not wait for Kafka"
