"""The settings of publishing, and the work of one hand-off in the Kafka thread: number, encode, send.

Sequence numbers, the mid price, `published_us` and the bytes are made here, in the order in which events leave.
"""

from __future__ import annotations

from dataclasses import dataclass

from level4.model import ConfigError, Numbering
from level4.publish.clients import KafkaSettings
from level4.publish.encode import Encoding, Record, encoder
from level4.publish.kafka import KafkaLink
from level4.publish.outbox import Queued


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """Bounds and patience of the publisher. Times in seconds."""

    kafka: KafkaSettings
    max_events: int = 50_000
    """Events kept, including those handed over and not acknowledged."""
    max_bytes: int = 64 * 2**20
    reserve: int = 2_000
    """Status events kept beyond that."""
    window: int = 2_000
    """Events handed over and not acknowledged, at most. What is handed over can no longer be merged."""
    batch: int = 500
    """Events in one hand-off, at most."""
    gather_seconds: float = 0.005
    """Least time between two hand-offs: fewer and larger requests. The first after a pause goes at once."""
    away_seconds: float = 3.0
    stall_seconds: float = 60.0
    """Several times the request timeout: replacing the producer may repeat what is in flight."""
    backoff_seconds: float = 0.25
    backoff_max_seconds: float = 10.0
    close_seconds: float = 1.0
    encoding: Encoding = "json"

    def __post_init__(self) -> None:
        if not 0 < self.batch <= self.window <= self.max_events // 2:
            raise ConfigError(
                f"expected 0 < batch ≤ window ≤ half of the events kept, got batch {self.batch}, window {self.window}, "
                f"events kept {self.max_events}"
            )


class HandOff:
    """Called by one thread at a time; the counts are read between two calls."""

    def __init__(self, link: KafkaLink, encoding: Encoding) -> None:
        self.unencodable = 0
        """Events that could not be encoded since the owner last set it to 0."""
        self.error: str | None = None
        self._link = link
        self._encode = encoder(encoding)
        self._numbering = Numbering()
        self.ends = self._numbering.ends

    def __call__(self, batch: list[Queued], published_us: int, seconds: float) -> None:
        """Number, encode and send a batch, in order, and wait at most `seconds` for Kafka to have it."""
        records: list[Record] = []
        number, encode = self._numbering.number, self._encode
        for slot in batch:
            try:
                number(slot.event, published_us)
                records.append(encode(slot.event, slot.put_at))
            except Exception as error:  # one bad event must not hold up the others
                self.unencodable += 1
                self.error = f"{type(error).__name__}: {error} in {slot.event!r:.300}"
        self._link.send(records)
        self._link.serve(seconds)
