"""A broker for each test that asks, and a way to read back everything a topic holds.

kafka-python is imported late: it warns while it is imported, and the filters for that are not yet set here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from level4.publish import EmbeddedBroker

ReadBack = Callable[[str, str, int], list[Any]]


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker of its own, with no topics."""
    from level4.publish import EmbeddedBroker

    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def read_back() -> ReadBack:
    """`read_back(endpoint, topic, expected)`: the records of all partitions, each partition in order.

    Reads until `expected` records have come and nothing follows, or 15 s have passed.
    """

    from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

    def read(endpoint: str, topic: str, expected: int) -> list[Any]:
        consumer = KafkaConsumer(bootstrap_servers=endpoint, group_id=None, enable_auto_commit=False)
        try:
            partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            records: list[Any] = []
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                polled = consumer.poll(timeout_ms=200, max_records=10_000)
                if not polled and len(records) >= expected:
                    break
                for batch in polled.values():
                    records += batch
            return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            consumer.close()

    return read
