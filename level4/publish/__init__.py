"""From `Publisher.put(event)` to Kafka: ordered, bounded, nothing lost without a count.

`outbox.py` decides what is kept while Kafka is away (pure), `encode.py` makes records, `batches.py` batches of them,
`producer.py` sends these in as few requests as can be, `kafka.py` keeps what is unacknowledged, `clients.py` makes and
ends kafka-python's clients, `topics.py` the topics, `publisher.py` is the task on the event loop. `ownership.py` reads
and writes the ownership log, `ownership_client.py` is its thread side. `embedded.py` is a broker for demo and tests,
`memory.py` a publisher that needs none.
"""

from level4.publish.clients import KafkaSettings
from level4.publish.embedded import EmbeddedBroker
from level4.publish.handoff import PublisherSettings
from level4.publish.memory import MemoryPublisher
from level4.publish.ownership import OwnershipLog
from level4.publish.ownership_client import LogRecord, LogSettings
from level4.publish.publisher import KafkaPublisher
from level4.publish.stats import Latency, PublisherStats
from level4.publish.topics import Layout

__all__ = [
    "EmbeddedBroker",
    "KafkaPublisher",
    "KafkaSettings",
    "Latency",
    "Layout",
    "LogRecord",
    "LogSettings",
    "MemoryPublisher",
    "OwnershipLog",
    "PublisherSettings",
    "PublisherStats",
]
