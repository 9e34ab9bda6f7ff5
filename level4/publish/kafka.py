"""The thread side of publishing: one KafkaProducer at a time, and what it has not acknowledged.

Theory. kafka-python's producer (3.0.12) keeps order and retries well as long as it lives, but bounds nothing, and it
can be finished for good: a batch that expires after it was sent once, a broker that lost its data, a refused
authorization. So the records are kept here, in one first-in-first-out *lane* for each partition, until Kafka has
acknowledged them; and a producer that fails or stalls is thrown away, a new one made, and the lanes sent again in
order. Between such replacements delivery is exactly once and ordered (idempotent producer, acks=all); a replacement
may write the records again that were in flight: readers know them by their `seq`.

* One callback a record (its future is not kept): kafka-python completes the records of a partition in order, so an
  acknowledgement always belongs to the head of its lane.
* The first failure closes the producer within the callback, on its own network thread, before that thread can send the
  next batch of the same partition. So nothing overtakes a failed record, and the log shows at most repetitions.
* "Unrecognized partition" (ValueError) is stale metadata, not a bad record: refresh and try again.
* A record that Kafka itself refuses (too large, invalid) three times is dropped and reported, or it would block its
  lane for ever.

One thread at a time may be in `open`, `send` or `close`; `collect` and the properties may be read between such calls
on the event loop. Callbacks come from the producer's network thread and only append to a deque.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaProducer  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]

from level4.model import UnavailableError
from level4.publish.encode import HEADERS, Record
from level4.publish.topics import Layout, ensure_topics, explain

_REFUSED: Final = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, InvalidTimestampError)
"""Errors that blame a record itself."""
_STRIKES: Final = 3
_REFRESH_SECONDS: Final = 2.0
_REFRESH_INTERVAL: Final = 5.0
_RECORD_BYTES: Final = 1_300
"""Memory of an unacknowledged record beside its value: kafka-python keeps 770 bytes, the rest is ours."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to talk to Kafka."""

    endpoints: tuple[str, ...]
    """`host:port` of some brokers."""
    layout: Layout = field(default_factory=Layout)
    connect_timeout_ms: int = 5_000
    request_timeout_ms: int = 10_000
    delivery_timeout_ms: int = 86_400_000
    """A day: a batch that expires wedges the idempotent producer; stalls are judged by the publisher instead."""
    linger_ms: int = 1
    batch_bytes: int = 65_536
    max_request_bytes: int = 1_048_576
    compression: str | None = "lz4"
    client_id: str = "level4"
    options: Mapping[str, Any] = field(default_factory=dict)
    """More options of kafka-python, for both producer and admin client (security_protocol, ssl_…, sasl_…)."""

    def common(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self.endpoints),
            "client_id": self.client_id,
            "bootstrap_timeout_ms": self.connect_timeout_ms,
            "request_timeout_ms": self.request_timeout_ms,
            "reconnect_backoff_max_ms": 1_000,
            **self.options,
        }


@dataclass(slots=True)
class Lane:
    """The records of one partition that are not acknowledged, oldest first."""

    topic: str
    partition: int
    records: deque[Record] = field(default_factory=deque)


@dataclass(slots=True)
class Collected:
    """What has been acknowledged since the last call."""

    records: int = 0
    last_at: float = 0.0
    """When the last of them was acknowledged, monotonic seconds."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from put to acknowledgement, one for each record."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that had to be given up, and why."""

    record: Record
    reason: str


class _Session:
    """One producer's life. `failure` is set once, by whoever notices first."""

    def __init__(self, producer: KafkaProducer, wake: Callable[[], None]) -> None:
        self.producer = producer
        self.failure: Exception | None = None
        self.failed_lane: Lane | None = None
        self.acks: deque[tuple[Lane, float]] = deque()
        self._wake = wake

    def callback(self, lane: Lane) -> Callable[[object], None]:
        """What the network thread calls for each record of the lane, in order: its metadata, or an exception."""
        acks, now = self.acks.append, time.monotonic
        broken = False

        def done(result: object) -> None:
            nonlocal broken
            if not isinstance(result, Exception):
                if not broken:
                    acks((lane, now()))
                return
            broken = True
            if self.failure is None:
                self.failure = result
                self.failed_lane = lane
                self.producer._sender.force_close()
                self._wake()

        return done


class KafkaLink:
    """The lanes and the producer that empties them. `wake` is called from other threads when something failed."""

    def __init__(self, settings: KafkaSettings, wake: Callable[[], None]) -> None:
        self.settings = settings
        self.partitions: dict[str, int] = {}
        """Number of partitions of each topic, as read when the producer was made."""
        self.outstanding = 0
        """Records accepted by `send` and not acknowledged, refused or unroutable."""
        self.outstanding_bytes = 0
        self.opened = 0
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._backlog: deque[tuple[Lane, Record]] = deque()
        """What the current producer has still to be given, in order."""
        self._callbacks: dict[tuple[str, int], Callable[[object], None]] = {}
        self._session: _Session | None = None
        self._refusals: list[Refusal] = []
        self._collected = Collected()
        self._refresh_allowed_at = 0.0
        self._wake = wake
        self._closed = False

    @property
    def failure(self) -> str | None:
        """Why the current producer must be replaced; None while it works."""
        if self._session is None:
            return "not connected"
        error = self._session.failure
        return None if error is None else explain(error)

    def open(self) -> None:
        """Replace the producer: topics first, then a new one, then everything unacknowledged again.

        Blocks for about two connect timeouts at most. Raises UnavailableError or ConfigError; nothing is lost then.
        """
        self._dispose()
        partitions = self._topics()
        producer = self._producer()
        session = _Session(producer, self._wake)
        if self._closed:  # the caller gave up while we were connecting
            _discard(producer)
            return
        self.partitions = partitions
        self.opened += 1
        self._session = session
        self._callbacks = {key: session.callback(lane) for key, lane in self._lanes.items()}
        self._drop_unroutable()
        self._backlog = deque((lane, record) for lane in self._lanes.values() for record in lane.records)
        self.send(())

    def send(self, records: Iterable[Record]) -> None:
        """Accept records and give the producer what it takes. A failure shows in `failure`; never raises for Kafka."""
        for record in records:
            lane = self._lane(record)
            if record.partition >= self.partitions.get(record.topic, 0) and not self._has_grown(lane):
                self._refusals.append(Refusal(record, self._too_few(lane)))
                continue
            lane.records.append(record)
            self._backlog.append((lane, record))
            self.outstanding += 1
            self.outstanding_bytes += len(record.value) + _RECORD_BYTES
        session = self._session
        if session is None:
            return
        backlog, callbacks, send = self._backlog, self._callbacks, session.producer.send
        while backlog and session.failure is None:
            lane, record = backlog[0]
            topic, partition = lane.topic, lane.partition
            try:
                future = send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=HEADERS[topic],
                    partition=partition,
                    timestamp_ms=record.timestamp_ms,
                )
            except MessageSizeTooLargeError as error:
                # Nothing of this record has left: whatever stands before it in its lane is in the producer's hands.
                backlog.popleft()
                self._give_up(lane, record, error)
                continue
            except ValueError as error:
                if not self._refresh(session, lane):
                    self._fail(session, lane, error)
                continue
            except Exception as error:  # whatever it is, this producer cannot be used
                self._fail(session, lane, error)
                continue
            backlog.popleft()
            future.add_both(callbacks[topic, partition])

    def collect(self) -> Collected:
        """Take note of acknowledgements. Does not block: may be called on the event loop while nothing is in `send`."""
        if self._session is not None:
            self._absorb(self._session)
        collected, self._collected = self._collected, Collected()
        return collected

    def take_refusals(self) -> list[Refusal]:
        """Records given up since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def close(self, seconds: float = 1.0) -> None:
        """Throw the producer away. Blocks for at most `seconds`; what is unacknowledged stays counted."""
        self._closed = True
        self._dispose(seconds)

    def _lane(self, record: Record) -> Lane:
        key = (record.topic, record.partition)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(*key)
        if self._session is not None and key not in self._callbacks:
            self._callbacks[key] = self._session.callback(lane)
        return lane

    def _topics(self) -> dict[str, int]:
        clients: list[KafkaNetClient] = []
        admin = None
        try:
            admin = KafkaAdminClient(**self.settings.common(), kafka_client=_keep(clients))
            return ensure_topics(admin, self.settings.layout)
        except (KafkaError, OSError) as error:
            raise self._away(error) from error
        finally:
            if admin is not None:
                admin.close()
            else:
                for client in clients:
                    client.close()

    def _producer(self) -> KafkaProducer:
        settings = self.settings
        clients: list[KafkaNetClient] = []
        producer = None
        try:
            producer = KafkaProducer(
                **settings.common(),
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=settings.delivery_timeout_ms,
                linger_ms=settings.linger_ms,
                batch_size=settings.batch_bytes,
                max_request_size=settings.max_request_bytes,
                max_block_ms=settings.connect_timeout_ms,
                compression_type=settings.compression,
                allow_auto_create_topics=False,
                metrics_enabled=False,
                kafka_client=_keep(clients),
            )
            for topic in settings.layout.names:
                producer.partitions_for(topic)
        except (KafkaError, OSError) as error:
            if producer is not None:
                _discard(producer)
            else:
                for client in clients:
                    client.close()
            raise self._away(error) from error
        return producer

    def _away(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"expected Kafka at {', '.join(self.settings.endpoints)}, got {explain(error)}")

    def _dispose(self, seconds: float = 5.0) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        _discard(session.producer, seconds)
        self._absorb(session)
        self._strike(session)
        self._callbacks = {}
        self._backlog.clear()

    def _absorb(self, session: _Session) -> None:
        acks, collected = session.acks, self._collected
        latencies = collected.latencies
        before = len(latencies)
        while acks:
            lane, at = acks.popleft()
            record = lane.records.popleft()
            self.outstanding_bytes -= len(record.value) + _RECORD_BYTES
            latencies.append(at - record.put_at)
            collected.last_at = at
        self.outstanding -= len(latencies) - before
        collected.records = len(latencies)

    def _refresh(self, session: _Session, lane: Lane) -> bool:
        """Ask for new metadata; True when it shows the lane's partition."""
        producer = session.producer
        deadline = time.monotonic() + _REFRESH_SECONDS
        producer._metadata.request_update()
        producer._sender.wakeup()
        while time.monotonic() < deadline and session.failure is None:
            if lane.partition in (producer._metadata.partitions_for_topic(lane.topic) or ()):
                return True
            time.sleep(0.02)
        return False

    def _has_grown(self, lane: Lane) -> bool:
        """Whether the lane's partition exists by now; asks for new metadata at most every few seconds."""
        session, now = self._session, time.monotonic()
        if session is None:
            return True
        known = len(session.producer._metadata.partitions_for_topic(lane.topic) or ())
        if known > lane.partition:
            self.partitions[lane.topic] = known
            return True
        if now >= self._refresh_allowed_at:
            self._refresh_allowed_at = now + _REFRESH_INTERVAL
            session.producer._metadata.request_update()
            session.producer._sender.wakeup()
        return False

    def _too_few(self, lane: Lane) -> str:
        count = self.partitions.get(lane.topic, 0)
        return f"{lane.topic} has only {count} partitions, none for market {lane.partition}"

    def _fail(self, session: _Session, lane: Lane, error: Exception) -> None:
        if session.failure is None:
            session.failure = error
            session.failed_lane = lane
            self._wake()

    def _strike(self, session: _Session) -> None:
        """When Kafka blamed a record, the head of that lane gets a strike, and is given up after the third."""
        lane, error = session.failed_lane, session.failure
        if lane is None or not lane.records or not isinstance(error, _REFUSED):
            return
        head = lane.records[0]
        head.strikes += 1
        if head.strikes >= _STRIKES:
            self._give_up(lane, head, error)

    def _give_up(self, lane: Lane, record: Record, error: Exception | str) -> None:
        lane.records.remove(record)
        self.outstanding -= 1
        self.outstanding_bytes -= len(record.value) + _RECORD_BYTES
        reason = error if isinstance(error, str) else explain(error)
        self._refusals.append(Refusal(record, reason))

    def _drop_unroutable(self) -> None:
        """Records whose partition is gone (a topic was made again with fewer) cannot wait for ever."""
        for lane in self._lanes.values():
            if lane.partition >= self.partitions.get(lane.topic, 0):
                for record in list(lane.records):
                    self._give_up(lane, record, self._too_few(lane))


def _keep(clients: list[KafkaNetClient]) -> Callable[..., KafkaNetClient]:
    """A factory that remembers what it made: a constructor that fails would leave its sockets open."""

    def make(**configs: Any) -> KafkaNetClient:
        client = KafkaNetClient(**configs)
        clients.append(client)
        return client

    return make


def _discard(producer: KafkaProducer, seconds: float = 5.0) -> None:
    """End a producer at once, also a wedged one. `close()` would try to flush, and leave its thread on failure."""
    producer._unregister_cleanup()
    producer._sender.force_close()
    with contextlib.suppress(RuntimeError):  # a thread cannot join itself
        producer._sender.join(seconds)
    producer._closed = True  # or its finaliser would flush, in whatever thread it runs
