"""A steady load on a publisher, and the account that a consumer draws up of what arrived."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from level4.client import Integrity, Kind, Reader
from level4.model import SPREAD, STATUS, TIMESALES, FeedState, Spread, Status, Trade
from level4.publish import KafkaPublisher, KafkaSettings, Layout, PublisherSettings

EPOCH = 1787227200000001
_TICK = 0.01


def spread(market_id: int, n: int) -> Spread:
    """The n-th best prices of a market."""
    now = time.time_ns() // 1000
    return Spread(
        market_id=market_id, exchange="KRAKEN", type="SPOT", symbol="BTC/USD", state=FeedState.LIVE, changed="bid",
        bid_price=f"{64000 + n}.1", bid_size="1.25", ask_price=f"{64001 + n}.1", ask_size="0.3", mid_price=None,
        epoch=EPOCH, seq=0, exchange_us=now - 2_000, received_us=now, published_us=0, node="node1",
    )  # fmt: skip


def trade(market_id: int, n: int) -> Trade:
    """The n-th trade of a market."""
    now = time.time_ns() // 1000
    return Trade(
        market_id=market_id, exchange="KRAKEN", type="SPOT", symbol="BTC/USD", side="buy", price="64000.1", size="0.5",
        trade_id=str(n), epoch=EPOCH, seq=n, exchange_us=now - 2_000, received_us=now, published_us=0, node="node1",
    )  # fmt: skip


def status(market_id: int, event: str) -> Status:
    return Status(
        market_id=market_id, event=event, state=FeedState.LIVE, reason=None, member=None, epoch=EPOCH, seq=0,
        node="node1", published_us=0,
    )  # fmt: skip


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@dataclass
class Load:
    """`rate` events a second: for every market in turn a spread and a trade. Counts what it put, and the most memory
    and the longest queue it saw."""

    publisher: KafkaPublisher
    rate: int = 2_000
    markets: int = 20
    put: int = 0
    most_events: int = 0
    most_bytes: int = 0
    first_bytes: int = field(default_factory=resident_bytes)

    async def run(self, seconds: float) -> None:
        start = trio.current_time()
        begun = self.put
        while (elapsed := trio.current_time() - start) < seconds:
            while self.put - begun < elapsed * self.rate:
                self._put_one()
            stats = self.publisher.stats
            self.most_events = max(self.most_events, stats.queued + stats.in_flight)
            self.most_bytes = max(self.most_bytes, resident_bytes())
            await trio.sleep(_TICK)

    def one_more_each(self) -> None:
        """A spread and a trade of every market: behind a hole, so that it shows."""
        for _ in range(2 * self.markets - self.put % (2 * self.markets) + 2 * self.markets):
            self._put_one()

    def _put_one(self) -> None:
        round_, place = divmod(self.put, 2 * self.markets)
        market_id, second = divmod(place, 2)
        make = trade if second else spread
        self.publisher.put(make(market_id + 1, round_ + 1))
        self.put += 1

    @property
    def memory(self) -> str:
        grown = (self.most_bytes - self.first_bytes) / 2**20
        return f"at most {self.most_events:,} events kept, {grown:.0f} MiB more than at the start"


@dataclass
class Arrived:
    """What a consumer says about one topic."""

    records: int = 0
    """Records that it uses: neither duplicates nor an old host's."""
    lost: int = 0
    unknown: int = 0
    duplicates: int = 0
    coalesced: int = 0
    markets_with_losses: set[int] = field(default_factory=set)


def consume(endpoint: str, markets: int) -> dict[str, Arrived]:
    """Read everything and judge it by the contract's rule. Blocks."""
    integrity, arrived = Integrity(), {topic: Arrived() for topic in (SPREAD, TIMESALES, STATUS)}
    first: dict[tuple[str, int], int] = {}
    with Reader([endpoint], start="beginning", markets=range(markets + 1), until_silent=1.0, patience=30) as reader:
        for record in reader:
            event, account = record.event, arrived[record.topic]
            verdict = integrity.check_event(event)
            account.lost += verdict.lost
            if verdict.lost:
                account.markets_with_losses.add(record.market_id)
            account.unknown += verdict.unknown
            account.duplicates += verdict.kind is Kind.DUPLICATE
            if verdict.fresh:
                account.records += 1
                account.coalesced += event.coalesced if type(event) is Spread else 0
                first.setdefault((record.topic, record.market_id), event.seq)
        assert not reader.unreadable
    assert {seq for (topic, _), seq in first.items() if topic != STATUS} == {1}, "each stream from its beginning"
    return arrived


def settings(endpoint: str, **changes: Any) -> PublisherSettings:
    """Settings of a publisher that finds a broker again quickly."""
    kafka = KafkaSettings(
        endpoints=(endpoint,),
        layout=changes.pop("layout", Layout(partitions=32)),
        connect_timeout_ms=changes.pop("connect_timeout_ms", 3_000),
        request_timeout_ms=changes.pop("request_timeout_ms", 3_000),
    )
    return PublisherSettings(kafka, backoff_seconds=0.1, backoff_max_seconds=0.5, **changes)


@asynccontextmanager
async def publishing(configured: PublisherSettings) -> AsyncIterator[KafkaPublisher]:
    """A publisher that has reached Kafka."""
    publisher = KafkaPublisher(configured, "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        with trio.fail_after(60):
            await publisher.first_connected()
        yield publisher
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what has no event of its own."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)
