"""A broker that hangs, is killed and comes back, under load: nothing lost, or exactly what was counted.

The brokers keep their data: Apache Kafka in its log, Tansu in an S3 store. Short versions run always, the full ones
with --slow.

Tansu 0.6 keeps a producer's sequence numbers apart from its records. Killed between the two, it calls the batch that it
was writing a duplicate when it is sent again, though it never kept it (seen in five of six runs, 2026-11). So a kill
costs at most one batch of one partition there, acknowledged all the same; the consumer's account must show it exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio
from kafka import KafkaProducer  # type: ignore[import-untyped]
from kafka_brokers import APACHE, TANSU, TANSU_SLOW, ApacheKafka
from kafka_load import Load, consume, publishing, settings, status, trade, until

from level4.client import Reader
from level4.model import SPREAD, STATUS, TIMESALES
from level4.publish.embedded import BrokerProcess

Report = Callable[[str], None]
MIB = 2**20
RATE = 2_000
RATE_ON_S3 = 500
"""What an S3 server written in Python keeps up with on a busy machine: a request is some ten objects."""
slow = pytest.mark.slow


def rate_of(broker: BrokerProcess) -> int:
    """Events a second that this broker takes without falling behind."""
    return RATE if isinstance(broker, ApacheKafka) else RATE_ON_S3


on_both = pytest.mark.parametrize("broker", [APACHE, TANSU], indirect=True)
the_other_when_slow = pytest.mark.parametrize("broker", [APACHE, TANSU_SLOW], indirect=True)


@on_both
@pytest.mark.parametrize(
    ("total", "frozen", "gone"),
    [pytest.param(7.0, 2.0, 1.0, id="7s"), pytest.param(60.0, 10.0, 5.0, id="60s", marks=slow)],
)
async def test_frozen_then_killed_under_load_what_is_acknowledged_arrives(
    broker: BrokerProcess, total: float, frozen: float, gone: float, report: Report
) -> None:
    healthy = (total - frozen - gone) / 3
    async with publishing(settings(broker.endpoint, request_timeout_ms=int(frozen * 400))) as publisher:
        load = Load(publisher, rate_of(broker))
        await load.run(healthy)
        broker.freeze()
        await load.run(frozen)
        broker.thaw()
        await load.run(healthy)
        broker.kill()
        await load.run(gone)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, broker.start)
            await load.run(healthy)
        assert await publisher.drain(60) == 0
        await until(lambda: publisher.ready)
        assert await publisher.drain(60) == 0
        stats = publisher.stats
        assert (stats.coalesced, stats.trades_dropped, stats.statuses_dropped, stats.refused) == (0, 0, 0, 0)
    arrived = await trio.to_thread.run_sync(consume, broker.endpoint, load.markets)
    spreads, trades = arrived[SPREAD], arrived[TIMESALES]
    report(
        f"{load.put:,} events, {spreads.lost + trades.lost} lost, {spreads.duplicates + trades.duplicates} duplicates, "
        f"{stats.reconnects} producers replaced, {load.memory}"
    )
    lossy = len(spreads.markets_with_losses) + len(trades.markets_with_losses)
    assert lossy <= (0 if isinstance(broker, ApacheKafka) else 1), "but for the one batch that Tansu forgets"
    assert (spreads.unknown, trades.unknown) == (0, 0)
    assert spreads.records + spreads.lost + trades.records + trades.lost == load.put
    assert load.most_bytes - load.first_bytes < 150 * MIB


@the_other_when_slow
@pytest.mark.parametrize(
    ("away", "bound"),
    [pytest.param(2.5, 2_400, id="2.5s"), pytest.param(180.0, 20_000, id="180s", marks=slow)],
)
async def test_away_longer_than_the_queue_lasts_the_consumers_account_is_the_publishers(
    broker: BrokerProcess, away: float, bound: int, report: Report
) -> None:
    rate = rate_of(broker)
    bound = bound * rate // RATE
    configured = settings(broker.endpoint, max_events=bound, window=bound // 3, batch=bound // 6, stall_seconds=8.0)
    async with publishing(configured) as publisher:
        load = Load(publisher, rate)
        await load.run(1.0)
        assert await publisher.drain(60) == 0
        broker.kill()
        await load.run(away)
        await trio.to_thread.run_sync(broker.start)
        await until(lambda: publisher.ready)
        await load.run(1.0)
        assert await publisher.drain(60) == 0
        load.one_more_each()
        for market_id in range(1, load.markets + 1):
            publisher.put(status(market_id, "live"))
        await until(lambda: publisher.remaining == 0)
        stats = publisher.stats
        assert stats.put == stats.acked + stats.coalesced + stats.trades_dropped
        assert stats.coalesced > 0
        assert stats.trades_dropped > 0
    arrived = await trio.to_thread.run_sync(consume, broker.endpoint, load.markets)
    spreads, trades = arrived[SPREAD], arrived[TIMESALES]
    report(
        f"{load.put:,} events, trades lost {trades.lost:,} = dropped {stats.trades_dropped:,}, "
        f"coalesced {spreads.coalesced:,} = {stats.coalesced:,}, "
        f"{spreads.duplicates + trades.duplicates} duplicates, {load.memory}"
    )
    assert (trades.lost, spreads.coalesced) == (stats.trades_dropped, stats.coalesced)
    assert (spreads.lost, spreads.unknown, trades.unknown) == (0, 0, 0)
    assert spreads.records + spreads.coalesced + trades.records + trades.lost == load.put
    assert arrived[STATUS].lost == 0
    assert load.most_events <= bound + load.markets + 2_000
    assert load.most_bytes - load.first_bytes < 100 * MIB


def wedged(broker: BrokerProcess) -> bool:
    """Whether a bare KafkaProducer delivers nothing any more after a hang longer than its delivery timeout."""
    producer = KafkaProducer(
        bootstrap_servers=broker.endpoint, request_timeout_ms=400, delivery_timeout_ms=1_000, metrics_enabled=False
    )
    try:
        producer.send(TIMESALES, b"{}", partition=31).get(10)
        broker.freeze()
        late = producer.send(TIMESALES, b"{}", partition=31)
        deadline = time.monotonic() + 15
        while not late.is_done and time.monotonic() < deadline:
            time.sleep(0.05)
        broker.thaw()
        assert late.failed()
        for _ in range(2):
            future = producer.send(TIMESALES, b"{}", partition=31)
            deadline = time.monotonic() + 3  # seen: it neither succeeds nor fails
            while not future.is_done and time.monotonic() < deadline:
                time.sleep(0.05)
            if future.succeeded():
                return False
        return True
    finally:
        producer._unregister_cleanup()
        producer._sender.force_close()
        producer._sender.join(5)
        producer._closed = True


@slow
@on_both
async def test_a_hang_that_finishes_a_bare_producer_costs_ours_nothing(
    broker: BrokerProcess, report: Report
) -> None:
    configured = settings(broker.endpoint, request_timeout_ms=400, away_seconds=0.3)
    async with publishing(configured) as publisher:
        publisher.put(trade(1, 1))
        assert await publisher.drain(20) == 0
        stuck = await trio.to_thread.run_sync(wedged, broker)
        broker.freeze()
        for n in range(2, 102):
            publisher.put(trade(1, n))
        await until(lambda: publisher.stats.away_seconds > 1)  # some requests have had no answer by then
        broker.thaw()
        publisher.put(trade(1, 102))
        assert await publisher.drain(30) == 0
        stats = publisher.stats
        assert (stats.refused, stats.trades_dropped, stats.reconnects) == (0, 0, 0)
    report(f"a bare KafkaProducer {'is' if stuck else 'is not'} wedged")
    trades = await trio.to_thread.run_sync(account_of_trades, broker.endpoint)
    assert trades == list(range(1, 103))


def account_of_trades(endpoint: str) -> list[int]:
    """The sequence numbers of market 1's trades, as they stand there."""
    with Reader([endpoint], [TIMESALES], [1], "beginning", until_silent=1.0, patience=30) as reader:
        return [record.event.seq for record in reader]
