"""The thread side of publishing: one producer at a time, and what Kafka has not acknowledged.

Theory. A producer keeps order and retries as long as it lives, but bounds nothing, and it can be finished for good: a
broker that lost its data, a refused authorization, a record that Kafka does not take. So the records are kept here,
in one first-in-first-out *lane* for each partition, until Kafka has acknowledged them; and a producer that fails or
stalls is thrown away, a new one made, and the lanes sent again in order. Between such replacements delivery is
exactly once and ordered (idempotent producer, acks=all); a replacement may write the records again that were in
flight: readers know them by their `seq`.

* The producer acknowledges the records of a partition in order, so an acknowledgement of n records always belongs to
  the n oldest of its lane.
* The first failure ends the producer before it can send the next batch of the same partition. So nothing overtakes a
  failed record, and the log shows at most repetitions.
* A partition that metadata lack (ValueError) is stale metadata, not a bad record: refresh and try again.
* A record that Kafka itself refuses (too large, invalid) three times is dropped and reported, or it would block its
  lane for ever.

One thread at a time may be in `open`, `send`, `serve` or `close`; `collect` and the properties may be read between
such calls on the event loop.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from kafka.errors import MessageSizeTooLargeError  # type: ignore[import-untyped]

from level4.publish.encode import Record
from level4.publish.producer import REFUSED, Done
from level4.publish.topics import explain, explain_refusal

_STRIKES: Final = 3
_REFRESH_SECONDS: Final = 2.0
_REFRESH_INTERVAL: Final = 5.0
_RECORD_BYTES: Final = 700
"""Memory of an unacknowledged record beside its value, with its event (CPython 3.11)."""


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
    latencies: list[float] = field(default_factory=list)
    """Seconds from put to acknowledgement, one for each record."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that had to be given up, and why."""

    record: Record
    reason: str


class ProducerClient(Protocol):
    """What is asked of a connected producer (`clients.EventClient`)."""

    partitions: dict[str, int]
    cluster_id: str

    def partition(self, topic: str, partition: int, done: Done, /) -> Callable[[Record], None]: ...

    def serve(self, seconds: float, /) -> None: ...

    def known(self, topic: str, /) -> int: ...

    def refresh(self) -> None: ...

    def wait_for(self, topic: str, partition: int, seconds: float, /) -> bool: ...

    def abort(self) -> None: ...

    def discard(self, seconds: float, /) -> None: ...


class _Session:
    """One producer's life. `failure` is set once, by whoever notices first."""

    def __init__(self, client: ProducerClient) -> None:
        self.client = client
        self.failure: Exception | None = None
        self.failed_lane: Lane | None = None
        self.acks: deque[tuple[Lane, int, float]] = deque()

    def done(self, lane: Lane) -> Done:
        """What the producer calls for the lane, in its order: how many records Kafka has, or has not and why."""
        acks, now = self.acks.append, time.monotonic
        broken = False

        def done(count: int, error: Exception | None) -> None:
            nonlocal broken
            if error is None:
                if not broken:
                    acks((lane, count, now()))
                return
            broken = True
            if self.failure is None:
                self.failure = error
                self.failed_lane = lane
                self.client.abort()

        return done


class KafkaLink:
    """The lanes and the producer that empties them.

    connect: makes a connected producer; may block, raises Level4Error.
    """

    def __init__(self, connect: Callable[[], ProducerClient]) -> None:
        self.partitions: dict[str, int] = {}
        """Number of partitions of each topic, as read when the producer was made."""
        self.cluster_id = ""
        """What Kafka calls itself; empty before it has answered."""
        self.outstanding = 0
        """Records accepted by `send` and not acknowledged, refused or unroutable."""
        self.outstanding_bytes = 0
        self.opened = 0
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._backlog: deque[tuple[Lane, Record]] = deque()
        """What the current producer has still to be given, in order."""
        self._senders: dict[tuple[str, int], Callable[[Record], None]] = {}
        """What takes a lane's records, of the current producer."""
        self._session: _Session | None = None
        self._refusals: list[Refusal] = []
        self._collected = Collected()
        self._refresh_allowed_at = 0.0
        self._connect = connect
        self._closed = False

    @property
    def failure(self) -> str | None:
        """Why the current producer must be replaced; None while it works."""
        if self._session is None:
            return "not connected"
        error, lane = self._session.failure, self._session.failed_lane
        if error is None:
            return None
        return explain(error) if lane is None else explain_refusal(error, lane.topic, "WRITE")

    def open(self) -> None:
        """Replace the producer: topics first, then a new one, then everything unacknowledged again.

        Raises what connecting raises; nothing is lost then.
        """
        self._dispose()
        client = self._connect()
        if self._closed:  # the caller gave up while we were connecting
            client.discard(0)
            return
        session = _Session(client)
        self.partitions = dict(client.partitions)
        self.cluster_id = client.cluster_id
        self.opened += 1
        self._session = session
        self._senders = {key: client.partition(*key, session.done(lane)) for key, lane in self._lanes.items()}
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
        if session is not None:
            try:
                self._give(session)
            except Exception as error:  # whatever it is, this producer cannot be used
                self._fail(session, error)

    def _give(self, session: _Session) -> None:
        """Give the producer the backlog, in order."""
        backlog, senders = self._backlog, self._senders
        while backlog and session.failure is None:
            lane, record = backlog[0]
            try:
                senders[lane.topic, lane.partition](record)
            except MessageSizeTooLargeError as error:
                # Nothing of this record has left: whatever stands before it in its lane is in the producer's hands.
                backlog.popleft()
                self._give_up(lane, record, error)
                continue
            except ValueError:
                if not session.client.wait_for(lane.topic, lane.partition, _REFRESH_SECONDS):
                    raise
                continue
            backlog.popleft()

    def serve(self, seconds: float) -> None:
        """Let the producer work until all is acknowledged, it fails, or the time is over. Blocks that long."""
        session = self._session
        if session is not None and session.failure is None:
            try:
                session.client.serve(seconds)
            except Exception as error:  # whatever it is, this producer cannot be used
                self._fail(session, error)

    def expect(self, partitions: Mapping[str, int]) -> None:
        """The topics have grown: take their new numbers, and have the producer look. Does not block."""
        self.partitions.update(partitions)
        if self._session is not None:
            self._session.client.refresh()

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

    def waits_for(self, partition: int) -> bool:
        """Whether a record of that partition is not acknowledged yet, as collected last."""
        return any(lane.records for (_, number), lane in tuple(self._lanes.items()) if number == partition)

    def close(self, seconds: float = 1.0) -> None:
        """Throw the producer away. Blocks for at most `seconds`; what is unacknowledged stays counted."""
        self._closed = True
        self._dispose(seconds)

    def _lane(self, record: Record) -> Lane:
        key = (record.topic, record.partition)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(*key)
        session = self._session
        if session is not None and key not in self._senders:
            self._senders[key] = session.client.partition(*key, session.done(lane))
        return lane

    def _dispose(self, seconds: float = 5.0) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        session.client.discard(seconds)
        self._absorb(session)
        self._strike(session)
        self._senders = {}
        self._backlog.clear()

    def _absorb(self, session: _Session) -> None:
        acks, collected = session.acks, self._collected
        latencies = collected.latencies
        before = len(latencies)
        while acks:
            lane, count, at = acks.popleft()
            for _ in range(count):
                record = lane.records.popleft()
                self.outstanding_bytes -= len(record.value) + _RECORD_BYTES
                latencies.append(at - record.put_at)
        self.outstanding -= len(latencies) - before
        collected.records = len(latencies)

    def _has_grown(self, lane: Lane) -> bool:
        """Whether the lane's partition exists by now; asks for new metadata at most every few seconds."""
        session, now = self._session, time.monotonic()
        if session is None:
            return True
        known = session.client.known(lane.topic)
        if known > lane.partition:
            self.partitions[lane.topic] = known
            return True
        if now >= self._refresh_allowed_at:
            self._refresh_allowed_at = now + _REFRESH_INTERVAL
            session.client.refresh()
        return False

    def _too_few(self, lane: Lane) -> str:
        count = self.partitions.get(lane.topic, 0)
        return f"{lane.topic} has only {count} partitions, none for market {lane.partition}"

    def _fail(self, session: _Session, error: Exception) -> None:
        if session.failure is None:
            session.failure = error

    def _strike(self, session: _Session) -> None:
        """When Kafka blamed a record, the head of that lane gets a strike, and is given up after the third."""
        lane, error = session.failed_lane, session.failure
        if lane is None or not lane.records or not isinstance(error, REFUSED):
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
