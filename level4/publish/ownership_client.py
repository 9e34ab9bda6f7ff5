"""The thread side of the ownership log: one producer, one consumer, both of one partition.

The topic is compacted and has one partition, so that its order is total; more partitions than one (a broker that made
the topic by itself) are of no use and do no harm, because all nodes use partition 0 only. What is younger than an hour
is never compacted away: until then every reader can judge every claim.

Everything here blocks: call it in a thread; one thread in `poll`, one in `send`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]  # it ships no types

from level4.publish.clients import Client, KafkaSettings, remembering, unavailable
from level4.publish.fetch_wait import SHORT_MS

HOUR_MS: Final = 3_600_000
_POLL_MS: Final = 200
"""How long a stop may take while nothing comes."""
_SUPERSEDES: Final = "supersedes"
_SEEN: Final = "seen"


class LogRecord(NamedTuple):
    """A record as it stands in the log. `names`: for a tombstone, the offsets that its headers name."""

    offset: int
    key: str
    value: bytes | None
    names: tuple[int | None, int | None] = (None, None)


class Outgoing(NamedTuple):
    """A record to be appended."""

    key: str
    value: bytes | None
    names: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Times in seconds."""

    kafka: KafkaSettings
    """As for the events; its layout says whether topics may be created, and with how many copies."""
    topic: str = "level4.markets"
    append_seconds: float = 5.0
    """For an acknowledgement; then the client is replaced, and whether the record is in the log is not known."""
    queue: int = 5_000
    """Records waiting for an acknowledgement, at most."""
    backoff_seconds: float = 0.25
    backoff_max_seconds: float = 5.0

    def client(self) -> KafkaSettings:
        """How to make the topic and talk to it."""
        configs = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(HOUR_MS)}
        layout = replace(self.kafka.layout, partitions=1, names=(self.topic,), configs=configs, retention_ms=None)
        return replace(self.kafka, layout=layout, client_id=f"{self.kafka.client_id}-log")


class LogClient:
    """A connected producer and consumer of the log, which begins to read at `position`."""

    def __init__(self, settings: LogSettings, position: int) -> None:
        """Blocks for a few connect timeouts at most. Raises UnavailableError or ConfigError."""
        kafka = settings.client()
        self._topic = settings.topic
        self._place = TopicPartition(settings.topic, 0)
        self._client = Client(kafka)  # makes the topic: nobody may ask for it before
        try:
            self._consumer = _consumer(kafka)
        except BaseException:
            self._client.discard(0)
            raise
        self._consumer.assign([self._place])
        self.seek(position)

    def seek(self, position: int) -> None:
        """Go on reading at this offset, or at the first one there is after it."""
        if position:
            self._consumer.seek(self._place, position)
        else:
            self._consumer.seek_to_beginning(self._place)

    def poll(self, wait_ms: int) -> list[LogRecord]:
        """The next records in order; none when none come for a while. `wait_ms`: how long the broker may keep a fetch
        waiting (`FetchWait`). Raises what kafka-python raises."""
        self._consumer._fetcher.config["fetch_max_wait_ms"] = wait_ms  # looked up for each fetch
        return [_read(record) for batch in self._consumer.poll(timeout_ms=_POLL_MS).values() for record in batch]

    def send(self, batch: Sequence[tuple[Outgoing, Callable[[object], None]]]) -> None:
        """Hand records to the producer, in order; each callback gets metadata or an exception, in another thread."""
        for outgoing, done in batch:
            future = self._client.send(
                self._topic,
                key=outgoing.key.encode(),
                value=outgoing.value,
                headers=_headers(outgoing.names),
                partition=0,
            )
            future.add_both(done)

    def abort(self) -> None:
        """Send nothing more. From any thread, does not block."""
        self._client.abort()

    def close(self, seconds: float = 1.0) -> None:
        """Throw both away. No thread may be in `poll` or `send`."""
        self._client.discard(seconds)
        with contextlib.suppress(Exception):  # whatever ails it, it is thrown away
            self._consumer.close(autocommit=False, timeout_ms=int(seconds * 1000))


def _consumer(kafka: KafkaSettings) -> KafkaConsumer:
    made: list[KafkaNetClient] = []
    try:
        return KafkaConsumer(
            **kafka.common(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # a log that is shorter than our position is another log: from its beginning
            allow_auto_create_topics=False,
            fetch_max_wait_ms=SHORT_MS,
            metrics_enabled=False,
            kafka_client=remembering(made),
        )
    except Exception as error:
        for client in made:
            client.close()
        raise unavailable(kafka, error) from error


def _headers(names: tuple[int | None, int | None]) -> list[tuple[str, bytes]]:
    return [
        (name, b"%d" % offset) for name, offset in zip((_SUPERSEDES, _SEEN), names, strict=True) if offset is not None
    ]


def _read(record: Any) -> LogRecord:
    key = (record.key or b"").decode("utf-8", "replace")
    if record.value is not None:
        return LogRecord(record.offset, key, record.value)
    named: dict[str, int] = {}
    for name, text in record.headers or ():
        with contextlib.suppress(TypeError, ValueError):  # a stranger's header
            named[name] = int(text)
    return LogRecord(record.offset, key, None, (named.get(_SUPERSEDES), named.get(_SEEN)))
