"""A producer for many partitions with few records each: one request to a broker holds a batch of every partition.

Theory. The partition of an event is its market, so at market rates a partition gets a record every few milliseconds,
and what a request and a batch cost decides, not what a record costs. kafka-python's KafkaProducer looks at all
partitions whenever it wakes, which is several times a request, and makes a future for each record; librdkafka sends
one partition a request and five requests at a time, so that fifty busy partitions wait ten round trips for their turn
(figures in docs/kafka.md). So the batches and their order are kept here, on kafka-python's connections: it finds the
brokers, keeps the metadata, and does TLS and SASL.

Rules, from Kafka's protocol for idempotent producers (KIP-98, KIP-360; tried on Apache Kafka 4.1):

* A few requests a broker at a time, one batch a partition in all of them. A batch is encoded once, with the sequence
  number that follows its partition's last one, and nothing of the partition is sent before it has been answered. So
  order needs no more, and what comes for other partitions need not wait for the answer.
* An error that passes (no leader, too few copies, a connection that broke, no answer in time): the very same bytes go
  again, after a pause, to whoever leads the partition then. The broker knows a batch that it has already written by
  its sequence numbers. So nothing is lost, doubled or overtaken, however often that happens; there is no time after
  which a batch expires, for whoever owns the producer judges stalls.
* A batch that is refused for what it holds goes again in halves, until the record is found that is to blame.
* Any other error finishes this producer (`done` gets it); its owner makes a new one, with a new producer id.

It has no thread: network work is done in `serve`, by whoever calls it, and `send` only keeps the record. All but
`abort` and `discard` are for one thread at a time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from kafka import TopicPartition  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    DuplicateSequenceNumberError,
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NoError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest  # type: ignore[import-untyped]

from level4.publish.batches import BatchEncoder
from level4.publish.encode import Record

REFUSED: Final = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, InvalidTimestampError)
"""Errors that blame a record itself."""
Done = Callable[[int, Exception | None], None]
"""Called with the number of records that Kafka has, from the partition's oldest on; or with that of the records that it
refused, and why."""

_NEWEST_PRODUCE: Final = 9
"""Later versions of the request may name topics by their ids."""
_PAUSE_SECONDS: Final = 0.1
_MOST_PAUSE_SECONDS: Final = 1.0
_MISSING_SECONDS: Final = 3.0
"""For a partition that metadata lack to come back; its topic may be gone, and then somebody has to make it again."""
_REQUEST_OVERHEAD: Final = 1_024
_BATCH_OVERHEAD: Final = 100
_MOST_REQUESTS: Final = 4
"""To a broker at a time; kafka-python's connections take five, and one is left for metadata."""
_RECORD_OVERHEAD: Final = 120
_POLL_MS: Final = 50
_STEPS: Final = 5
"""Of kafka-python's loop, to look after connections: one that ends is known to have ended after three."""
_SEQUENCES: Final = 2**31


class _Partition:
    """What is still to be sent, and the batch that has not been answered."""

    __slots__ = ("batch", "count", "done", "missing", "most", "place", "queue", "sequence", "tries", "waits_until")

    def __init__(self, place: TopicPartition, done: Done) -> None:
        self.place = place
        self.done = done
        self.queue: deque[Record] = deque()
        """Begins with the records of the batch, if there is one."""
        self.batch: bytes | None = None
        self.count = 0
        """Records in the batch."""
        self.sequence = 0
        """Of the first record in the queue."""
        self.most = 1_000_000
        """Records in a batch, at most."""
        self.tries = 0
        self.waits_until = 0.0
        self.missing = 0.0
        """Since when metadata lack it; 0: they do not."""


class Producer:
    """An idempotent producer with acks=all on a connected client of kafka-python, which it owns from here on."""

    def __init__(
        self, net: KafkaNetClient, *, compression: str | None, batch_bytes: int, request_bytes: int, timeout_ms: int
    ) -> None:
        """Asks for a producer id. Blocks for at most `timeout_ms`, which is also the time for each answer later.

        Raises what kafka-python raises.
        """
        self._net = net
        self._cluster = net.cluster
        self._batch_bytes = batch_bytes
        self._request_bytes = request_bytes
        self._timeout_ms = timeout_ms
        self._lock = threading.Lock()
        self._ready: deque[_Partition] = deque()
        """Those with something to send, but for those in a request."""
        self._busy: Counter[int] = Counter()
        """Requests to each broker that have not been answered."""
        self._answers: deque[tuple[int, list[_Partition], Any]] = deque()
        """From which broker, what it was asked, and its answer or why there is none."""
        self._aborted = False
        self._encode = BatchEncoder(*self._identity(), compression)

    def _identity(self) -> tuple[int, int]:
        deadline = time.monotonic() + self._timeout_ms / 1000
        error: Exception = KafkaTimeoutError("no producer id in time")
        while time.monotonic() < deadline:
            request = InitProducerIdRequest(
                transactional_id=None, transaction_timeout_ms=self._timeout_ms, producer_id=-1, producer_epoch=-1
            )
            try:
                node = self._net.least_loaded_node()
                reply = self._net.send_and_receive(node, request, timeout_ms=self._timeout_ms)
                kind = for_code(reply.error_code)
                if kind is NoError:
                    return reply.producer_id, reply.producer_epoch
                error = kind("for a producer id")
            except KafkaError as caught:
                error = caught
            if not getattr(error, "retriable", False):
                raise error
            self._net.poll(timeout_ms=_POLL_MS)
        raise error

    def partition(self, topic: str, partition: int, done: Done) -> Callable[[Record], None]:
        """What takes the records of a partition, in order. It raises MessageSizeTooLargeError for a record that fits
        into no request, and ValueError while metadata lack the partition; then it has not taken the record."""
        one = _Partition(TopicPartition(topic, partition), done)
        queue, ready, place = one.queue, self._ready, one.place
        known, room = self._cluster.leader_for_partition, self._request_bytes - _REQUEST_OVERHEAD - _BATCH_OVERHEAD

        def send(record: Record) -> None:
            if len(record.value) + len(record.headers) + _RECORD_OVERHEAD > room:
                raise MessageSizeTooLargeError(f"a record of {len(record.value):,} bytes, {room:,} fit into a request")
            if not queue:
                if known(place) is None:
                    raise ValueError(f"metadata lack partition {partition} of {topic}")
                ready.append(one)
            queue.append(record)

        return send

    def outstanding(self) -> bool:
        """Whether anything has not been answered."""
        return bool(self._ready) or self._busy.total() > 0

    def serve(self, seconds: float) -> None:
        """Send what can be sent and take the answers, until all has been answered or the time is over."""
        deadline, polled = time.monotonic() + seconds, False
        with self._lock:
            if not self.outstanding():
                for _ in range(_STEPS):
                    self._net.poll(timeout_ms=0)
                return
            while not self._aborted:
                self._take_answers()
                self._dispatch()
                rest = deadline - time.monotonic() if self.outstanding() else 0.0
                if polled and rest <= 0:
                    return
                self._net.poll(timeout_ms=max(0.0, min(rest * 1000, _POLL_MS)))
                polled = True

    def known(self, topic: str) -> int:
        """Number of partitions in the metadata."""
        return len(self._cluster.partitions_for_topic(topic) or ())

    def refresh(self) -> None:
        """Ask for new metadata, in one of the next calls of `serve`. From any thread."""
        self._cluster.request_update()

    def wait_for(self, topic: str, partition: int, seconds: float) -> bool:
        """Refresh until the metadata show this partition."""
        deadline = time.monotonic() + seconds
        while self.known(topic) <= partition:
            if time.monotonic() > deadline or self._aborted:
                return False
            self.refresh()  # each time: the answer that comes next may have been asked for before the topic grew
            with self._lock:
                self._net.poll(timeout_ms=_POLL_MS)
        return True

    def abort(self) -> None:
        """Send nothing more. From any thread, does not block."""
        self._aborted = True

    def discard(self, seconds: float) -> None:
        """Abort and close the connections, after at most `seconds`; what has not been answered never will be."""
        self._aborted = True
        if self._lock.acquire(timeout=max(seconds, 0.0)):
            try:
                with contextlib.suppress(Exception):  # whatever ails it, it is thrown away
                    self._net.close()
            finally:
                self._lock.release()

    def _dispatch(self) -> None:
        """A request for each broker that has room, with a batch of every partition that it leads and that waits."""
        ready, now = self._ready, time.monotonic()
        if not ready or self._busy.total() >= _MOST_REQUESTS * len(self._cluster.brokers()):
            return
        chosen: dict[int, list[_Partition]] = {}
        sizes: dict[int, int] = {}
        leader_of, batch_bytes = self._cluster.leader_for_partition, self._batch_bytes
        for _ in range(len(ready)):
            one = ready.popleft()
            leader = leader_of(one.place)
            if leader is None or leader < 0:
                if self._given_up(one, leader, now):
                    continue
            elif one.waits_until <= now and self._busy[leader] < _MOST_REQUESTS and self._usable(leader):
                if one.batch is None:
                    self._fill(one, batch_bytes)
                assert one.batch is not None
                size = sizes.get(leader, _REQUEST_OVERHEAD) + len(one.batch)
                if size <= self._request_bytes or leader not in chosen:
                    sizes[leader] = size
                    chosen.setdefault(leader, []).append(one)
                    continue
            ready.append(one)
        for leader, partitions in chosen.items():
            self._request(leader, partitions)

    def _usable(self, node: int) -> bool:
        if not self._net.is_ready(node):
            self._net.maybe_connect(node)
            return False
        return True

    def _given_up(self, one: _Partition, leader: int | None, now: float) -> bool:
        """Ask for metadata again, as nobody leads the partition; whether it has been missing for too long."""
        one.missing = (one.missing or now) if leader is None else 0.0
        if one.missing and now - one.missing > _MISSING_SECONDS:
            one.done(len(one.queue), UnknownTopicOrPartitionError(f"{one.place.topic}-{one.place.partition} is gone"))
            return True
        if one.waits_until <= now:
            one.waits_until = now + _PAUSE_SECONDS
            self._cluster.request_update()
        return False

    def _fill(self, one: _Partition, batch_bytes: int) -> None:
        records: list[Record] = []
        size = _BATCH_OVERHEAD
        for record in one.queue:
            size += len(record.value) + _RECORD_OVERHEAD
            if records and (size > batch_bytes or len(records) >= one.most):
                break
            records.append(record)
        one.batch, one.count = self._encode(records, one.sequence), len(records)

    def _request(self, node: int, partitions: list[_Partition]) -> None:
        topics: dict[str, list[Any]] = {}
        of_topic = ProduceRequest.TopicProduceData
        of_partition = of_topic.PartitionProduceData
        for one in partitions:
            entry = of_partition(index=one.place.partition, records=one.batch)
            topics.setdefault(one.place.topic, []).append(entry)
        request = ProduceRequest(
            transactional_id=None,
            acks=-1,
            timeout_ms=self._timeout_ms,
            topic_data=[of_topic(name=name, partition_data=data) for name, data in topics.items()],
            max_version=_NEWEST_PRODUCE,
        )
        self._busy[node] += 1
        answers = self._answers
        try:
            self._net.send(node, request).add_both(lambda answer: answers.append((node, partitions, answer)))
        except RuntimeError as error:  # of a connection that is closed and does not know it yet
            answers.append((node, partitions, error))
            self._net.close(node)

    def _take_answers(self) -> None:
        """Here and not in a callback of kafka-python, which would swallow what is raised."""
        while self._answers:
            self._answered(*self._answers.popleft())

    def _answered(self, node: int, partitions: list[_Partition], response: Any) -> None:
        self._busy[node] -= 1
        asked = {one.place: one for one in partitions}
        for topic in () if isinstance(response, Exception) else response.responses:
            for answer in topic.partition_responses:
                one = asked.pop((topic.name, answer.index))  # a broker that answers what was not asked is a failure
                kind = for_code(answer.error_code)
                if kind is NoError or kind is DuplicateSequenceNumberError:
                    self._written(one)
                else:
                    self._failed(one, kind(answer.error_message or f"{topic.name}-{answer.index}"))
        if asked:  # the connection broke, or the answer did not come in time: they may have been written or not
            for one in asked.values():
                self._again(one)
            self._cluster.request_update()

    def _written(self, one: _Partition) -> None:
        count, pop = one.count, one.queue.popleft
        for _ in range(count):
            pop()
        one.batch, one.count, one.tries, one.missing = None, 0, 0, 0.0
        one.sequence = (one.sequence + count) % _SEQUENCES
        if one.queue:
            self._ready.append(one)
        one.done(count, None)

    def _failed(self, one: _Partition, error: Exception) -> None:
        if isinstance(error, REFUSED) and one.count > 1:
            one.most, one.batch = one.count // 2, None
            self._ready.append(one)
        elif getattr(error, "retriable", False):
            self._again(one)
            self._cluster.request_update()
        else:
            one.done(one.count, error)

    def _again(self, one: _Partition) -> None:
        pause = min(_PAUSE_SECONDS * 2**one.tries, _MOST_PAUSE_SECONDS)
        one.tries = min(one.tries + 1, 10)
        one.waits_until = time.monotonic() + pause
        self._ready.append(one)
