"""The ownership log against a real broker: order, acknowledgements, a broker that hangs, dies, forgets everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from level4.cluster.ledger import Ledger
from level4.model import MarketRequest, MarketType, UnavailableError
from level4.placement import Entry, NodeRecord, Writer
from level4.publish import EmbeddedBroker, KafkaSettings, LogRecord, LogSettings, OwnershipLog

pytestmark = pytest.mark.broker


def configure(broker: EmbeddedBroker, **changes: Any) -> LogSettings:
    kafka = KafkaSettings((broker.endpoint,), connect_timeout_ms=1_000)
    return LogSettings(kafka, backoff_seconds=0.1, backoff_max_seconds=0.3, **changes)


@dataclass
class Heard:
    """What a log delivered."""

    records: list[LogRecord] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    def deliver(self, records: Collection[LogRecord]) -> None:
        self.records += records
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, count: int) -> list[LogRecord]:
        with trio.fail_after(15):
            while len(self.records) < count:
                await self.changed.wait()
        return self.records


@asynccontextmanager
async def running(settings: LogSettings) -> AsyncIterator[tuple[OwnershipLog, Heard]]:
    heard = Heard()
    log = OwnershipLog(settings, heard.deliver)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        yield log, heard
        nursery.cancel_scope.cancel()


async def connected(log: OwnershipLog) -> None:
    with trio.fail_after(15):
        while not log.connected:  # noqa: ASYNC110 - nobody but a test waits for this
            await trio.sleep(0.01)


async def freeze(broker: EmbeddedBroker) -> None:
    broker.freeze()
    await trio.sleep(0.2)  # each of its threads stops when the kernel gets to it, not when the signal is sent


async def test_every_reader_gets_every_record_in_the_order_of_offsets(broker: EmbeddedBroker) -> None:
    settings = configure(broker)
    async with running(settings) as (one, heard), running(settings) as (other, other_heard):
        await connected(one)
        await connected(other)
        offsets: list[int] = []

        async def append(log: OwnershipLog, n: int) -> None:
            offsets.append(await log.append(str(n), b"%d" % n))

        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(append, one if n % 2 else other, n)
        await one.append("7", None, (3, 4))
        records = await heard.until(51)
        assert sorted(offsets) == list(range(50))
        assert [record.offset for record in records] == list(range(51))
        assert records == await other_heard.until(51)
        assert records[50] == LogRecord(50, "7", None, (3, 4))
        assert {(record.key, record.value) for record in records[:50]} == {(str(n), b"%d" % n) for n in range(50)}
        async with running(settings) as (_, late):
            assert await late.until(51) == records
        one.reread()
        assert await heard.until(102) == records[:51] * 2


async def test_while_kafka_is_away_nothing_can_be_written_and_that_is_said(broker: EmbeddedBroker) -> None:
    async with running(configure(broker, append_seconds=0.5)) as (log, heard):
        with pytest.raises(UnavailableError, match="nothing was changed"):
            await log.append("1", b"x")  # not connected yet
        await connected(log)
        await log.append("1", b"before")
        await freeze(broker)
        with pytest.raises(UnavailableError, match=r"no acknowledgement within 0\.5 s; it may be there later"):
            await log.append("1", b"during")
        assert not log.connected
        broker.thaw()
        await connected(log)
        await log.append("1", b"after")
        with trio.fail_after(10):
            while heard.records[-1].value != b"after":
                await heard.changed.wait()
    values = [record.value for record in heard.records]
    assert values in ([b"before", b"after"], [b"before", b"during", b"after"])


async def test_what_is_unacknowledged_is_bounded(broker: EmbeddedBroker) -> None:
    async with running(configure(broker, append_seconds=1.0, queue=5)) as (log, _):
        await connected(log)
        await freeze(broker)
        refused = []

        async def append() -> None:
            try:
                await log.append("1", b"x")
            except UnavailableError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(append)
        assert len(refused) == 8
        assert sum("all it may" in one for one in refused) == 3
        broker.thaw()


async def test_a_broker_that_forgot_the_log_is_told_it_again(broker: EmbeddedBroker) -> None:
    """The market is held in the same tenure; its stream need not break."""
    changed: list[int] = []
    settings = configure(broker)
    ledger = Ledger(
        Writer("node1", 1),
        lambda deliver: OwnershipLog(settings, deliver),
        about=lambda mark: NodeRecord(by=mark),
        changed=changed.extend,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        with trio.fail_after(15):
            await ledger.wait_caught_up()
        for _ in range(20):  # so that the new log is the shorter one
            await ledger.read_to_end()
        entry = await ledger.claim(MarketRequest(1, "KRAKEN", MarketType.SPOT, "BTC", "USD"))
        assert ledger.ready
        assert changed == [1]
        broker.kill()
        broker.start()
        present: Entry | None = None
        with trio.fail_after(40):
            while present is None or present.offset >= entry.offset or not ledger.ready:
                await trio.sleep(0.05)
                present = ledger.known.market(1)
        assert present.record.term == entry.record.term
        assert ledger.mine() == {1}
        await ledger.claim(MarketRequest(2, "KRAKEN", MarketType.SPOT, "ETH", "USD"))
        nursery.cancel_scope.cancel()
