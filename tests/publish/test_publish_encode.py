"""Records as consumers read them, the publisher that keeps them in memory, the numbers it tells."""

from __future__ import annotations

import json

import pytest

from level4.model import SPREAD, STATUS, TIMESALES, ConfigError, Event, FeedState, Position, Spread, Status, Trade
from level4.publish import KafkaSettings, Latency, MemoryPublisher, PublisherSettings
from level4.publish.encode import HEADERS, encoder

encode = encoder("json")


def a_spread() -> Spread:
    return Spread(
        market_id=17,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        state=FeedState.LIVE,
        changed="bid",
        bid_price="64000.1",
        bid_size="1.25",
        ask_price="64000.2",
        ask_size="0.3",
        mid_price=None,
        epoch=1787227200000003,
        seq=0,
        exchange_us=1787227200099000,
        received_us=1787227200101532,
        published_us=0,
        node="node1",
    )


def a_trade() -> Trade:
    return Trade(
        market_id=17,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        side=None,
        price="64000.1",
        size="0.5",
        trade_id=None,
        epoch=1787227200000003,
        seq=5,
        exchange_us=None,
        received_us=1787227200101999,
        published_us=0,
        node="node1",
    )


def a_status(market_id: int | None) -> Status:
    return Status(
        market_id=market_id,
        event="alive",
        state=FeedState.LIVE,
        reason=None,
        member=None,
        epoch=1787227200000003,
        seq=0,
        node="node1",
        published_us=1787227200555999,
    )


def test_a_spread_record() -> None:
    publisher = MemoryPublisher(clock=lambda: 1787227200101690)
    publisher.put(a_spread())
    record = encode(publisher.events[0], 3.5)
    assert (record.topic, record.partition, record.key) == (SPREAD, 17, b"17")
    assert (record.timestamp_ms, record.put_at) == (1787227200101, 3.5)
    assert json.loads(record.value) == {
        "market_id": 17,
        "exchange": "KRAKEN",
        "type": "SPOT",
        "symbol": "BTC/USD",
        "state": "LIVE",
        "changed": "state",
        "bid_price": "64000.1",
        "bid_size": "1.25",
        "ask_price": "64000.2",
        "ask_size": "0.3",
        "mid_price": "64000.15",
        "epoch": 1787227200000003,
        "seq": 1,
        "exchange_us": 1787227200099000,
        "received_us": 1787227200101532,
        "published_us": 1787227200101690,
        "node": "node1",
        "follows": None,
    }


@pytest.mark.parametrize(
    ("event", "topic", "partition", "timestamp_ms"),
    [
        (a_trade(), TIMESALES, 17, 1787227200101),
        (a_status(17), STATUS, 17, 1787227200555),
        (a_status(None), STATUS, 0, 1787227200555),
    ],
)
def test_topic_partition_key_and_time(event: Event, topic: str, partition: int, timestamp_ms: int) -> None:
    record = encode(event, 0.0)
    assert (record.topic, record.partition, record.timestamp_ms) == (topic, partition, timestamp_ms)
    assert record.key == str(partition).encode()


def test_nulls_are_there_and_what_is_only_sometimes_is_not() -> None:
    value = json.loads(encode(a_trade(), 0.0).value)
    assert value["side"] is None
    assert value["trade_id"] is None
    assert value["exchange_us"] is None
    assert "follows" not in value
    assert "coalesced" not in json.loads(encode(a_spread(), 0.0).value)


def test_every_topic_names_its_schema() -> None:
    for topic in (SPREAD, TIMESALES, STATUS):
        schema = f"{topic}.v1".encode()
        assert dict(HEADERS["json"][topic]) == {"content-type": b"application/json", "schema": schema}
        assert dict(HEADERS["protobuf"][topic]) == {"content-type": b"application/protobuf", "schema": schema}


def test_only_events_become_records() -> None:
    with pytest.raises(TypeError, match="expected a Spread, Trade or Status, got str"):
        encode("spread", 0.0)  # type: ignore[arg-type]


def test_the_memory_publisher_numbers_in_order() -> None:
    publisher = MemoryPublisher()
    for event in (a_spread(), a_trade(), a_spread(), a_status(17)):
        publisher.put(event)
    first, trade, second, alive = publisher.events
    assert isinstance(alive, Status)
    assert [first.seq, second.seq, trade.seq] == [1, 2, 5]
    assert first.published_us == 1787227200101532
    assert (alive.spread, alive.timesales) == (Position(first.epoch, 2), Position(trade.epoch, 5))


def test_latency_quantiles_are_of_the_recent_ones() -> None:
    latency = Latency(size=100)
    assert latency.quantile(0.5) is None
    latency.extend([9.0] * 50)
    latency.extend(n / 100 for n in range(100))
    assert (latency.p50, latency.p99, latency.count) == (0.5, 0.99, 150)


def test_bounds_that_cannot_work_are_told() -> None:
    with pytest.raises(ConfigError, match="window 2000, events kept 100"):
        PublisherSettings(KafkaSettings(("127.0.0.1:1",)), max_events=100)
