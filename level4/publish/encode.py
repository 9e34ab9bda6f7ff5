"""From an event to the Kafka record that carries it.

Contract with consumers: topic by the event's class, partition = market id exactly, key = market id in ASCII digits,
value JSON, headers `content-type` and `schema`, timestamp = the time at which the frame was received (for a status
event, which has none: the time of publishing). What belongs to no market goes to partition 0 with key `0`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from level4.model import SPREAD, STATUS, TIMESALES, Event, Spread, Status, Trade

NO_MARKET: Final = 0
"""The partition of everything that belongs to no market; market ids start at 1."""

Headers = list[tuple[str, bytes]]

HEADERS: Final[dict[str, Headers]] = {
    topic: [("content-type", b"application/json"), ("schema", topic.encode() + b".v1")]
    for topic in (SPREAD, TIMESALES, STATUS)
}
"""Made once: the lists are shared by all records and never changed."""

_encode = msgspec.json.Encoder().encode


class Record:
    """One Kafka record, kept until Kafka has acknowledged it."""

    __slots__ = ("event", "key", "partition", "put_at", "strikes", "timestamp_ms", "topic", "value")

    def __init__(self, event: Event, topic: str, partition: int, value: bytes, timestamp_ms: int, put_at: float):
        self.event = event
        self.topic = topic
        self.partition = partition
        self.key = b"%d" % partition
        self.value = value
        self.timestamp_ms = timestamp_ms
        self.put_at = put_at
        """Monotonic seconds at which the event was put."""
        self.strikes = 0
        """How often Kafka has refused this very record."""


def partition_of(event: Event) -> int:
    """The partition of an event: its market id, or 0."""
    return event.market_id or NO_MARKET


def encode(event: Event, put_at: float = 0.0) -> Record:
    """The record of an event that has been numbered. Raises TypeError or ValueError when a field cannot be encoded."""
    if type(event) is Spread:
        topic, stamp_us = SPREAD, event.received_us
    elif type(event) is Trade:
        topic, stamp_us = TIMESALES, event.received_us
    elif type(event) is Status:
        topic, stamp_us = STATUS, event.published_us
    else:
        raise TypeError(f"expected a Spread, Trade or Status, got {type(event).__name__}")
    return Record(event, topic, partition_of(event), _encode(event), stamp_us // 1000, put_at)
