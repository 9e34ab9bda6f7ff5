"""Read level4's topics: an iterator of typed events, blocking (`Reader`) or for trio (`AsyncReader`).

The partition is the market id, so a reader takes exactly the partitions of its markets, by assignment: no consumer
group, no rebalancing, nothing stored at the broker. Where reading begins is fixed while the reader is opened: whatever
is written after that is read.

Facts of brokers (kafka-python 3.0.12, November 2026) that shape this code:

* A reader of a log's end must not believe the end that the broker tells: Tansu, the embedded broker, tells too little
  (and answers a search by time with the first record). So the end is where nothing has come for `until_silent` seconds
  although the broker answers, and never before the told end; a search by time is repeated here record by record; and
  `latest` may begin with records of the last batch again.
* A broker that is gone looks like silence. While reading without end, kafka-python connects again by itself; before
  silence is taken for the end, the broker must answer.
* The client's constructor leaves its thread behind when no broker answers; hence the client is kept hold of.

A record that is no event (see `events`) is counted in `unreadable`, logged once per topic, and passed over.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal

import structlog
import trio
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from kafka.errors import KafkaError  # type: ignore[import-untyped]  # it ships no types
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]  # it ships no types

from level4.client.events import RecordError, decode
from level4.model import TOPICS, ConfigError, Event, UnavailableError

_POLL_SECONDS: Final = 0.2
"""How long a stop may take while nothing comes."""
_GROWTH_SECONDS: Final = 5.0
"""How often a reader of all markets looks for new partitions."""

Start = Literal["beginning", "latest"] | int
"""Where to begin; a number is a time in microseconds since 1970 UTC, compared with the records' receive times."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event and where it stands."""

    topic: str
    market_id: int
    """The partition; 0 carries what belongs to no market."""
    offset: int
    timestamp_ms: int
    """When the event was received from the exchange, milliseconds since 1970 UTC."""
    event: Event


class _Source:
    """The blocking core of both readers. Used by one thread at a time; only `stop` may be called from another."""

    def __init__(
        self,
        endpoints: Sequence[str],
        topics: Collection[str],
        markets: Collection[int] | None,
        start: Start,
        until_silent: float | None,
        patience: float,
        options: Mapping[str, Any],
    ) -> None:
        if not endpoints or not topics:
            raise ConfigError("a reader needs at least one Kafka endpoint (HOST:PORT) and one topic")
        if isinstance(start, str) and start not in ("beginning", "latest"):
            raise ConfigError(f"start={start!r}: expected 'beginning', 'latest' or microseconds since 1970")
        self.unreadable = 0
        self.stopping = threading.Event()
        self.opened = threading.Event()
        self._endpoints = [str(endpoint) for endpoint in endpoints]
        self._topics = sorted(topics)
        self._markets = None if markets is None else sorted(markets)
        self._start = start
        self._until_silent = until_silent
        self._patience = patience
        self._options = options
        self._consumer: KafkaConsumer | None = None
        self._assigned: set[TopicPartition] = set()
        self._early: dict[TopicPartition, int] = {}
        """Partitions of which no record at or after the wanted time (ms) has come yet."""
        self._last_record = self._last_growth = 0.0
        self._told: set[str] = set()

    def open(self) -> None:
        """Connect, wait for the topics, fix where to begin. Raises UnavailableError."""
        clients: list[KafkaNetClient] = []

        def keep(**configs: Any) -> KafkaNetClient:
            clients.append(KafkaNetClient(**configs))
            return clients[-1]

        patience_ms = int(self._patience * 1000)
        settings = {
            "bootstrap_servers": self._endpoints, "group_id": None, "enable_auto_commit": False,
            "auto_offset_reset": "earliest",  # when retention overtook us: the hole is then seen as a loss
            "allow_auto_create_topics": False, "bootstrap_timeout_ms": patience_ms, "metrics_enabled": False,
            "request_timeout_ms": max(patience_ms, 1_000), "metadata_max_age_ms": int(_GROWTH_SECONDS * 1000),
            "reconnect_backoff_max_ms": 1_000, "kafka_client": keep,
        }  # fmt: skip
        try:
            self._consumer = KafkaConsumer(**settings | dict(self._options))
            self._assign(self._consumer, self._wait_for_partitions(self._consumer), self._start)
        except (KafkaError, UnavailableError) as error:
            self.close()
            for client in clients:
                client.close()
            if isinstance(error, UnavailableError):
                raise
            raise self._unavailable(f"no answer within {self._patience:g} s: {error}") from error
        self._last_record = self._last_growth = time.monotonic()
        self.opened.set()
        if self.stopping.is_set():  # whoever waited has gone; one of both sees the other's mark and closes
            self.close()

    def poll(self) -> list[Record] | None:
        """The next records; none if there are none just now; None at the end. Raises UnavailableError."""
        consumer = self._consumer
        if consumer is None or self.stopping.is_set():
            return None
        try:
            batches = consumer.poll(timeout_ms=int(_POLL_SECONDS * 1000))
            now = time.monotonic()
            if self._markets is None and now - self._last_growth >= _GROWTH_SECONDS:
                self._last_growth = now
                self._take_new_partitions(consumer)
        except KafkaError as error:
            raise self._unavailable(f"reading failed: {error}") from error
        if batches:
            self._last_record = now
            return [record for place, batch in batches.items() for record in self._events(place, batch)]
        if self._until_silent is not None and now - self._last_record >= self._until_silent:
            return None if self._at_end(consumer, now) else []
        return []

    def close(self) -> None:
        """Let go of the connection. The reader is then at its end."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1_000)

    def _wait_for_partitions(self, consumer: KafkaConsumer) -> set[TopicPartition]:
        """The partitions to read, once all of them exist: a reader may well be there before the first event."""
        deadline = time.monotonic() + self._patience
        while True:
            there = consumer.topics()  # asks for all topics: asking for one that is absent could create it
            known = {topic: consumer.partitions_for_topic(topic) if topic in there else set() for topic in self._topics}
            if self._markets is None:
                missing = [topic for topic, partitions in known.items() if not partitions]
            else:
                missing = [
                    f"{topic} partition {market}"
                    for topic, partitions in known.items()
                    for market in self._markets
                    if market not in partitions
                ]
            if not missing:
                chosen = known if self._markets is None else dict.fromkeys(known, self._markets)
                return {TopicPartition(topic, number) for topic, numbers in chosen.items() for number in numbers}
            if time.monotonic() >= deadline or self.stopping.wait(_POLL_SECONDS):
                shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
                raise self._unavailable(f"it does not have {shown}; a node makes them when it starts the market")

    def _assign(self, consumer: KafkaConsumer, places: set[TopicPartition], start: Start) -> None:
        """Read these too, from `start`."""
        self._assigned |= places
        consumer.assign(list(self._assigned))
        timeout_ms = int(self._patience * 1000)
        if start == "beginning":
            offsets = consumer.beginning_offsets(list(places), timeout_ms=timeout_ms)
        else:
            offsets = consumer.end_offsets(list(places), timeout_ms=timeout_ms)
        if isinstance(start, int):
            wanted_ms = start // 1000
            found = consumer.offsets_for_times(dict.fromkeys(places, wanted_ms), timeout_ms=timeout_ms)
            offsets |= {place: answer.offset for place, answer in found.items() if answer is not None}
            self._early |= dict.fromkeys(places, wanted_ms)
        for place in places:
            consumer.seek(place, offsets[place])

    def _take_new_partitions(self, consumer: KafkaConsumer) -> None:
        """Partitions that came into being while we read: from their beginning, so that nothing is missed."""
        there = {
            TopicPartition(topic, number) for topic in self._topics for number in consumer.partitions_for_topic(topic)
        }
        if new := there - self._assigned:
            self._assign(consumer, new, "beginning")

    def _events(self, place: TopicPartition, batch: Sequence[Any]) -> Iterator[Record]:
        for record in batch:
            if place in self._early:
                if record.timestamp < self._early[place]:
                    continue
                del self._early[place]
            try:
                event = decode(record.topic, record.value, record.headers)
            except RecordError as error:
                self._pass_over(record, error)
            else:
                yield Record(record.topic, record.partition, record.offset, record.timestamp, event)

    def _pass_over(self, record: Any, error: RecordError) -> None:
        self.unreadable += 1
        if record.topic not in self._told:
            self._told.add(record.topic)
            structlog.get_logger().warning(
                "record passed over", topic=record.topic, partition=record.partition, offset=record.offset,
                reason=str(error), hint="further ones of this topic are only counted",
            )  # fmt: skip

    def _at_end(self, consumer: KafkaConsumer, now: float) -> bool:
        """Whether the silence is the log's end: the broker answers, and what it calls the end has been reached."""
        timeout_ms = int(self._patience * 1000)
        try:
            ends = consumer.end_offsets(list(self._assigned), timeout_ms=timeout_ms)
            behind = [place for place, end in ends.items() if consumer.position(place, timeout_ms=timeout_ms) < end]
        except KafkaError as error:
            raise self._unavailable(f"it no longer answers, so this may not be the end: {error}") from error
        if behind and now - self._last_record > (self._until_silent or 0.0) + self._patience:
            place = behind[0]
            raise self._unavailable(
                f"{place.topic} partition {place.partition} should go on to {ends[place]}, but nothing comes"
            )
        return not behind

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(f"Kafka at {','.join(self._endpoints)}: {what}. Is this the right address?")


class _Base:
    """What both readers are made with."""

    def __init__(
        self,
        endpoints: Sequence[str],
        topics: Collection[str] = TOPICS,
        markets: Collection[int] | None = None,
        start: Start = "latest",
        *,
        until_silent: float | None = None,
        patience: float = 10.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._source = _Source(endpoints, topics, markets, start, until_silent, patience, options or {})

    @property
    def unreadable(self) -> int:
        """Records that were no events, and were passed over."""
        return self._source.unreadable


class Reader(_Base):
    """Events of topics and markets as a blocking iterator of `Record`; a context manager.

    `endpoints`: HOST:PORT of brokers. `markets`: market ids, None for all (new ones too). `until_silent`: end the
    iteration when nothing has come for so many seconds and the log is at its end; None: never. `patience`: seconds to
    wait for Kafka and for topics that do not exist yet. `options`: more settings of kafka-python's KafkaConsumer (TLS,
    SASL). Opening and iterating raise UnavailableError when Kafka does not answer.
    """

    def __enter__(self) -> Reader:
        self._source.open()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Record]:
        while (records := self._source.poll()) is not None:
            yield from records

    def stop(self) -> None:
        """End the iteration soon (a fraction of a second). May be called from any thread and from a signal handler."""
        self._source.stopping.set()


class AsyncReader(_Base):
    """`Reader` for trio: `async with`, then `async for`. Kafka runs in a thread; a cancelled wait loses no record."""

    _limiter: trio.CapacityLimiter
    _ready: deque[Record]

    async def __aenter__(self) -> AsyncReader:
        self._limiter, self._ready = trio.CapacityLimiter(1), deque()
        try:
            await trio.to_thread.run_sync(self._source.open, limiter=self._limiter, abandon_on_cancel=True)
        except trio.Cancelled:
            await self._close()  # an `open` that is still waiting sees the stop and closes by itself
            raise
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._source.stopping.set()
        if self._source.opened.is_set():
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._source.close, limiter=self._limiter)

    def __aiter__(self) -> AsyncReader:
        return self

    async def __anext__(self) -> Record:
        if self._ready:
            await trio.lowlevel.checkpoint()
        while not self._ready:
            # not abandoned when cancelled: what the thread has read by then is returned, and nothing is lost
            records = await trio.to_thread.run_sync(self._source.poll, limiter=self._limiter)
            if records is None:
                raise StopAsyncIteration
            self._ready.extend(records)
        return self._ready.popleft()
