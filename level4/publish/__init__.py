"""From `Publisher.put(event)` to Kafka: ordered, bounded, nothing lost without a count.

`outbox.py` decides what is kept while Kafka is away (pure), `encode.py` makes records, `kafka.py` owns the producer in
its thread, `publisher.py` the task on the event loop, `topics.py` the topics. `embedded.py` is a broker for demo and
tests, `memory.py` a publisher that needs none.
"""

from level4.publish.embedded import EmbeddedBroker
from level4.publish.kafka import KafkaSettings
from level4.publish.memory import MemoryPublisher
from level4.publish.publisher import KafkaPublisher, PublisherSettings
from level4.publish.stats import Latency, PublisherStats
from level4.publish.topics import Layout, check_partition

__all__ = [
    "EmbeddedBroker",
    "KafkaPublisher",
    "KafkaSettings",
    "Latency",
    "Layout",
    "MemoryPublisher",
    "PublisherSettings",
    "PublisherStats",
    "check_partition",
]
