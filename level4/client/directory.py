"""The directory: what each market id stands for, from the compacted topic `level4.markets`.

    with Directory(["127.0.0.1:29092"]) as directory:
        directory.refresh()
        directory.markets[17].instrument.tick

The newest record of a market is taken as it is. (Nodes judge competing claims among themselves; a claim that lost is
overwritten within a moment, and it never changes what a market is.)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal

import msgspec
from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # it ships no types
from kafka.errors import KafkaError  # type: ignore[import-untyped]  # it ships no types
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]  # it ships no types

from level4.model import Instrument, MarketRequest, UnavailableError

TOPIC: Final = "level4.markets"
_POLL_SECONDS: Final = 0.2


class Listed(msgspec.Struct, frozen=True):
    """One market of the directory."""

    market: MarketRequest
    desired: Literal["running", "stopped"]
    host: str | None = None
    """The node that publishes it; None: none has room."""
    term: int = 0
    """Its tenure: the high part of the epochs of what it publishes."""
    instrument: Instrument | None = None
    """The exchange's facts: symbols, tick, lot, contract size, unit of sizes, kind of trades."""


class Directory:
    """A reader of the directory; a context manager. Blocking: call it in a thread.

    `endpoints`: HOST:PORT of brokers. `patience`: seconds to wait for Kafka. `options`: more settings of kafka-python's
    KafkaConsumer (TLS, SASL). Opening and refreshing raise UnavailableError when Kafka or the topic is not there.
    """

    def __init__(
        self, endpoints: Sequence[str], *, patience: float = 10.0, options: Mapping[str, Any] | None = None
    ) -> None:
        self.markets: dict[int, Listed] = {}
        """By market id, as of the last `refresh`; stopped markets too."""
        self.unreadable = 0
        self._endpoints = [str(endpoint) for endpoint in endpoints]
        self._patience = patience
        self._options = dict(options or {})
        self._decode = msgspec.json.Decoder(Listed).decode
        self._consumer: KafkaConsumer | None = None

    def __enter__(self) -> Directory:
        clients: list[KafkaNetClient] = []

        def keep(**configs: Any) -> KafkaNetClient:
            clients.append(KafkaNetClient(**configs))
            return clients[-1]

        settings = {
            "bootstrap_servers": self._endpoints, "group_id": None, "enable_auto_commit": False,
            "auto_offset_reset": "earliest", "allow_auto_create_topics": False, "metrics_enabled": False,
            "bootstrap_timeout_ms": int(self._patience * 1000), "kafka_client": keep,
        }  # fmt: skip
        try:
            self._consumer = KafkaConsumer(**settings | self._options)
            there = self._consumer.topics()  # asks for all topics: asking for one that is absent could create it
        except KafkaError as error:
            self.close()
            for client in clients:
                client.close()
            raise self._unavailable(f"no answer within {self._patience:g} s: {error}") from error
        if TOPIC not in there:
            self.close()
            raise self._unavailable(f"it has no topic {TOPIC}; a node makes it when it starts")
        place = TopicPartition(TOPIC, 0)
        self._consumer.assign([place])
        self._consumer.seek_to_beginning(place)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1_000)

    def refresh(self, silent: float = 0.5) -> Mapping[int, Listed]:
        """Read what is new, until no market's record has come for `silent` seconds; all markets by id."""
        if self._consumer is None:
            raise self._unavailable("the directory is not open")
        last = time.monotonic()
        while time.monotonic() - last < silent:
            try:
                batches = self._consumer.poll(timeout_ms=int(_POLL_SECONDS * 1000))
            except KafkaError as error:
                raise self._unavailable(f"reading failed: {error}") from error
            for record in (record for batch in batches.values() for record in batch):
                if self._take(record.key, record.value):
                    last = time.monotonic()
        return self.markets

    def _take(self, key: bytes | None, value: bytes | None) -> bool:
        """Note a record; whether it is of a market (nodes write there too, every second)."""
        if key is None or not key.isdigit():
            return False
        if value is None:
            self.markets.pop(int(key), None)
            return True
        try:
            self.markets[int(key)] = self._decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
        return True

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(f"Kafka at {','.join(self._endpoints)}: {what}. Is this the right address?")
