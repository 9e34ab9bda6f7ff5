"""`tools/bench kafka`: what publishing costs, beside confluent-kafka's producer in the same run, on the same broker.

* put → acknowledged at a steady rate, and µs of CPU an event at that rate and in bulk. CPU is the process's (all its
  threads; the broker is another process) less that of a run in which the same events are made at the same pace and
  thrown away. confluent-kafka gets the same events, numbered and encoded by the same code, with a callback for each
  record as the guarantees need it (acks=all, idempotent).
* the same to a broker that answers after five milliseconds, as one that waits for its copies does.
* how late a task wakes that sleeps a millisecond, with a publisher under load and without one.

Medians over interleaved rounds. The broker is the embedded one, or the one named by --endpoint (its topics are written
to; the distant one is embedded all the same).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import click
import results
import trio
from confluent_kafka import Producer
from kafka_relay import DistantBroker
from rich.console import Console
from rich.table import Table

from level4.model import Event, FeedState, Numbering, Spread, Trade
from level4.publish import EmbeddedBroker, KafkaPublisher, KafkaSettings, Layout, PublisherSettings
from level4.publish.encode import HEADERS, encoder

MARKETS = 25
TICK = 0.005
PACKAGES = ["kafka-python", "confluent-kafka", "trio", "msgspec", "lz4", "crc32c"]

Put = Callable[[Event], None]


def make(n: int) -> Event:
    """The n-th event: for every market in turn a spread and a trade."""
    round_, place = divmod(n, 2 * MARKETS)
    market_id, now = place // 2 + 1, time.time_ns() // 1000
    common: dict[str, Any] = {
        "market_id": market_id, "exchange": "KRAKEN", "type": "SPOT", "symbol": "BTC/USD", "epoch": 1787227200000001,
        "exchange_us": now - 2_000, "received_us": now, "published_us": 0, "node": "node1",
    }  # fmt: skip
    if place % 2:
        return Trade(side="buy", price="64000.1", size="0.5", trade_id=str(n), seq=round_ + 1, **common)
    return Spread(
        state=FeedState.LIVE, changed="bid", seq=0, bid_price=f"{64000 + round_}.1", bid_size="1.25",
        ask_price=f"{64001 + round_}.1", ask_size="0.3", mid_price=None, **common,
    )  # fmt: skip


async def at_rate(put: Put, rate: int, seconds: float) -> int:
    """Put that many events a second; how many it were."""
    start, count = trio.current_time(), 0
    while (elapsed := trio.current_time() - start) < seconds:
        while count < elapsed * rate:
            put(make(count))
            count += 1
        await trio.sleep(TICK)
    return count


async def in_bulk(put: Put, events: int) -> int:
    """Put as many as fast as the queue takes them."""
    for count in range(events):
        put(make(count))
        if count % 500 == 499:
            await trio.lowlevel.checkpoint()
    return events


Work = Callable[[Put], Awaitable[int]]


async def cpu_of(work: Work, put: Put, finish: Callable[[], Awaitable[object]]) -> tuple[float, int]:
    """CPU seconds of the process, and events."""
    began = time.process_time()
    count = await work(put)
    await finish()
    return time.process_time() - began, count


async def with_nothing(work: Work) -> tuple[float, list[float]]:
    """µs of CPU an event of making it."""
    spent, count = await cpu_of(work, lambda event: None, trio.lowlevel.checkpoint)
    return spent / count * 1e6, []


async def with_level4(endpoint: str, work: Work) -> tuple[float, list[float]]:
    """µs of CPU an event, and seconds from put to acknowledged."""
    kafka = KafkaSettings((endpoint,), Layout(partitions=MARKETS + 1))
    publisher = KafkaPublisher(PublisherSettings(kafka, max_events=1_000_000, max_bytes=2**32), "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        await publisher.first_connected()
        publisher.put(make(0))
        await publisher.drain(30)
        before = publisher.stats.latency.count

        async def finish() -> None:
            if await publisher.drain(60):
                raise click.ClickException("the broker did not acknowledge everything within a minute")

        spent, count = await cpu_of(work, publisher.put, finish)
        latency = publisher.stats.latency
        assert latency.count - before == count
        quantiles = [latency.quantile(q) or 0.0 for q in (0.5, 0.99)]
        nursery.cancel_scope.cancel()
    return spent / count * 1e6, quantiles


async def with_confluent(endpoint: str, work: Work) -> tuple[float, list[float]]:
    """The same by confluent-kafka, called on the event loop: its `produce` does not block."""
    producer = Producer(
        {
            "bootstrap.servers": endpoint, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
            "compression.type": "lz4", "log_level": 0, "queue.buffering.max.messages": 1_000_000,
        }
    )  # fmt: skip
    numbering, encode, latencies = Numbering(), encoder("json"), list[float]()

    def put(event: Event) -> None:
        put_at = time.monotonic()
        numbering.number(event, time.time_ns() // 1000)
        record = encode(event, put_at)

        def done(error: object, message: object) -> None:
            if error is not None:
                raise click.ClickException(f"confluent-kafka: {error}")
            latencies.append(time.monotonic() - put_at)

        producer.produce(
            record.topic,
            record.value,
            record.key,
            record.partition,
            on_delivery=done,
            timestamp=record.timestamp_ms,
            headers=list(HEADERS["json"][record.topic]),
        )
        producer.poll(0)

    async def finish() -> None:
        await trio.to_thread.run_sync(producer.flush, 60)

    put(make(0))
    await finish()
    latencies.clear()
    spent, count = await cpu_of(work, put, finish)
    ordered = sorted(latencies)
    return spent / count * 1e6, [ordered[int(q * (len(ordered) - 1))] for q in (0.5, 0.99)]


async def lag(work: Work, put: Put) -> list[float]:
    """Seconds by which a task that sleeps a millisecond wakes late: p50, p99 and the most."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            began = trio.current_time()
            await trio.sleep(0.001)
            late.append(trio.current_time() - began - 0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await work(put)
        nursery.cancel_scope.cancel()
    late.sort()
    return [late[int(q * (len(late) - 1))] for q in (0.5, 0.99, 1.0)]


async def lag_with_level4(endpoint: str, work: Work) -> list[float]:
    publisher = KafkaPublisher(PublisherSettings(KafkaSettings((endpoint,), Layout(partitions=MARKETS + 1))), "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        await publisher.first_connected()
        found = await lag(work, publisher.put)
        nursery.cancel_scope.cancel()
    return found


def middle(rows: list[list[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


async def measure(endpoint: str, distant: str, rounds: int, seconds: float, bulk: int) -> dict[str, Any]:
    works: dict[str, tuple[str, Work]] = {
        "1,000/s": (endpoint, lambda put: at_rate(put, 1_000, seconds)),
        "5,000/s": (endpoint, lambda put: at_rate(put, 5_000, seconds)),
        "bulk": (endpoint, lambda put: in_bulk(put, bulk)),
        "1,000/s, 5 ms away": (distant, lambda put: at_rate(put, 1_000, seconds)),
    }
    figures: dict[str, Any] = {}
    for name, (where, work) in works.items():
        ours, theirs = list[list[float]](), list[list[float]]()
        for _ in range(rounds):
            nothing, _unused = await with_nothing(work)
            for found, run in ((ours, with_level4), (theirs, with_confluent)):
                spent, quantiles = await run(where, work)
                found.append([spent - nothing, *(1e3 * each for each in quantiles)])
        figures[name] = {
            who: dict(zip(("cpu_us", "p50_ms", "p99_ms"), (round(each, 2) for each in middle(rows)), strict=True))
            for who, rows in (("level4", ours), ("confluent-kafka", theirs))
        }
    busy: Work = lambda put: at_rate(put, 5_000, seconds)  # noqa: E731
    with_publisher, without = list[list[float]](), list[list[float]]()
    for _ in range(rounds):
        without.append([1e3 * each for each in await lag(busy, lambda event: None)])
        with_publisher.append([1e3 * each for each in await lag_with_level4(endpoint, busy)])
    figures["loop lag at 5,000/s"] = {
        who: dict(zip(("p50_ms", "p99_ms", "most_ms"), (round(each, 2) for each in middle(rows)), strict=True))
        for who, rows in (("level4", with_publisher), ("no publisher", without))
    }
    return figures


@click.command()
@click.option("--endpoint", help="HOST:PORT of a broker; default: the embedded one.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Length of each run at a steady rate.")
@click.option("--bulk", default=20_000, show_default=True, help="Events of each run in bulk.")
@click.option("--store", is_flag=True, help="Store the figures under tools/bench_results.")
def kafka(endpoint: str | None, rounds: int, seconds: float, bulk: int, store: bool) -> None:
    """Latency and CPU of publishing beside confluent-kafka's, and what it does to the event loop."""
    with ExitStack() as stack:
        address = endpoint or stack.enter_context(EmbeddedBroker()).endpoint
        distant = stack.enter_context(DistantBroker(0.005)).endpoint
        figures = trio.run(measure, address, distant, rounds, seconds, bulk)
    table = Table(title="publishing: put → acknowledged")
    for column in ("work", "by", "CPU µs an event", "p50 ms", "p99 ms", "most ms"):
        table.add_column(column, justify="left" if column in ("work", "by") else "right")
    for work, by in figures.items():
        for who, row in by.items():
            cells = (row.get(key) for key in ("cpu_us", "p50_ms", "p99_ms", "most_ms"))
            table.add_row(work, who, *("" if cell is None else f"{cell:.2f}" for cell in cells))
    Console(width=120).print(table)
    if store:
        broker = "named" if endpoint else "embedded"
        path = results.store("kafka", PACKAGES, {"broker": broker, "rounds": rounds, "seconds": seconds, **figures})
        click.echo(f"stored in tools/bench_results/{path.name}")
