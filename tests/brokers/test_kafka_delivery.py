"""Both encodings on a real Apache Kafka: one started here, or the one named by LEVEL4_TEST_KAFKA (it is written to)."""

from __future__ import annotations

import os
import time

import pytest
import trio
from kafka_brokers import USED
from kafka_load import publishing, settings, spread, trade
from kafka_secured import SecuredKafka

from level4.client import Integrity, Reader, Record
from level4.model import SPREAD, TIMESALES, Spread
from level4.publish.encode import CONTENT_TYPES, Encoding

pytestmark = pytest.mark.apache_kafka
MARKETS = range(1, 9)
EVENTS = 500


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> str:
    if named := os.environ.get("LEVEL4_TEST_KAFKA"):
        USED["the broker named by LEVEL4_TEST_KAFKA"] += 1
        return named
    started: SecuredKafka = request.getfixturevalue("apache")
    return started.admin


def read_since(endpoint: str, start_us: int, epoch: int) -> list[Record]:
    """What this test has written: the topics may hold more."""
    with Reader(endpoint.split(","), [SPREAD, TIMESALES], MARKETS, start_us, until_silent=1.0, patience=30) as reader:
        found = [record for record in reader if record.event.epoch == epoch]
        assert not reader.unreadable
    return found


@pytest.mark.parametrize("encoding", CONTENT_TYPES)
async def test_everything_arrives_whole_in_order_and_once(endpoint: str, encoding: Encoding) -> None:
    start_us = time.time_ns() // 1000 - 1_000
    epoch = start_us // 1_000_000 * 1_000_000 + (1 if encoding == "json" else 2)
    async with publishing(settings(endpoint, encoding=encoding)) as publisher:
        for n in range(1, EVENTS + 1):
            for market_id in MARKETS:
                for event in (spread(market_id, n), trade(market_id, n)):
                    event.epoch = epoch
                    publisher.put(event)
        assert await publisher.drain(60) == 0
        assert publisher.stats.reconnects == 0
    found = await trio.to_thread.run_sync(read_since, endpoint, start_us, epoch)
    integrity = Integrity()
    assert all(integrity.check_event(record.event).fresh for record in found)
    assert len(found) == 2 * EVENTS * len(MARKETS)
    assert all(account.lost == 0 and account.seq == EVENTS for account in integrity.accounts.values())
    last = [record.event for record in found if record.topic == SPREAD and record.market_id == 8][-1]
    assert isinstance(last, Spread)
    assert (last.bid_price, last.ask_price, last.mid_price) == ("64500.1", "64501.1", "64500.6")
    assert all(record.timestamp_ms == getattr(record.event, "received_us") // 1000 for record in found)  # noqa: B009
