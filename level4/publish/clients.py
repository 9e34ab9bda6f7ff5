"""kafka-python's clients: made, asked and ended here, with all that is peculiar about them (3.0.12, read 2026-11).

* A constructor connects, and when it fails it leaves its sockets open: the network client is made by a factory that
  remembers it, and that also keeps why connections failed, which the constructor's own error does not say.
* `KafkaProducer.close()` flushes first; with records that cannot be delivered it raises and leaves its thread running.
  Ending its network thread by `force_close` works always, at once, also for a wedged producer; then all its futures
  fail. Its finaliser would flush too, in whatever thread it runs, unless the producer is marked closed.
* `send` with a partition that is not in cached metadata raises ValueError at once and goes on doing so until the
  metadata have been refreshed, which has no public method.

Everything but `abort` blocks: call it in a thread.

Why KafkaProducer. Events are spread over many partitions, so at market rates a batch holds one record, and what a batch
and a request cost decides, not what a record costs. µs of CPU an event, all guarantees kept, 25 markets, two busy cores
(2026-11; `tools/bench kafka` measures the first column again, beside confluent-kafka without what surrounds it here):

    events a second    KafkaProducer    confluent-kafka in its place    bare requests on kafka-python's client
    1,000              190–220          95–110                          50, without retries, sequences and hand-off
    5,000              50–75            40                              –
    bulk               28               9                               2–5, without the same

A second client library would halve the cost at market rates, where it is a fifth of a core for 1,000 events a second,
and bring a second way of failing; our own batches on kafka-python's client would save as much and need retries,
sequences and changes of leader of our own. Neither is worth it below some 10,000 events a second a node. What helps at
once is to gather for longer: 20 ms instead of 5 halve the cost too, and add 14 ms to the median latency.
`ProducerClient` in `kafka.py` is the seam at which another producer fits.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaProducer  # type: ignore[import-untyped]
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError  # type: ignore[import-untyped]
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]
from kafka.net.manager import KafkaConnectionManager  # type: ignore[import-untyped]
from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]

from level4.model import Level4Error, UnavailableError
from level4.publish.topics import Layout, ensure_topics, explain, grow_topics

_REFRESH_POLL_SECONDS: Final = 0.02


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
    linger_ms: int = 0
    """Events are gathered before they are handed over; waiting here costs time and saves nothing."""
    batch_bytes: int = 65_536
    max_request_bytes: int = 1_048_576
    compression: str | None = "lz4"
    client_id: str = "level4"
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """More options of kafka-python, for both producer and admin client: `security.Security.options()`."""

    def common(self) -> dict[str, Any]:
        """Options of both clients."""
        return {
            "bootstrap_servers": list(self.endpoints),
            "client_id": self.client_id,
            "bootstrap_timeout_ms": self.connect_timeout_ms,
            "request_timeout_ms": self.request_timeout_ms,
            "reconnect_backoff_max_ms": 1_000,
            **self.options,
        }


class Client:
    """A connected producer, with the topics in place."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Blocks for about two connect timeouts at most. Raises UnavailableError or ConfigError."""
        _quieten()
        self.partitions = _ask(settings, lambda admin: ensure_topics(admin, settings.layout))
        """Number of partitions of each topic, as read now."""
        self._producer = _producer(settings)
        self.cluster_id = str(self._producer._metadata.cluster_id or "")
        self.send: Callable[..., Any] = self._producer.send
        """As KafkaProducer.send: returns a future. Raises ValueError when metadata lack the partition."""

    def known(self, topic: str) -> int:
        """Number of partitions in the cached metadata."""
        return len(self._producer._metadata.partitions_for_topic(topic) or ())

    def refresh(self) -> None:
        """Ask for new metadata; does not wait."""
        self._producer._metadata.request_update()
        self._producer._sender.wakeup()

    def wait_for(self, topic: str, partition: int, seconds: float) -> bool:
        """Refresh until the cached metadata show this partition."""
        self.refresh()
        deadline = time.monotonic() + seconds
        while self.known(topic) <= partition:
            if time.monotonic() > deadline:
                return False
            time.sleep(_REFRESH_POLL_SECONDS)
        return True

    def abort(self) -> None:
        """Make the network thread send nothing more, fail all futures and end. Does not block; from any thread."""
        self._producer._sender.force_close()

    def discard(self, seconds: float) -> None:
        """Abort, and wait for the end for at most `seconds`."""
        _discard(self._producer, seconds)


def _quieten() -> None:
    """kafka-python logs each attempt of an outage; the publisher tells an outage once. An explicit level stays."""
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def grow(settings: KafkaSettings, market_id: int) -> dict[str, int]:
    """Add partitions where a topic has none for this market; each topic's number of partitions then.

    Blocks. Raises ConfigError with the remedy when that is not allowed or not possible, or UnavailableError.
    """
    return _ask(settings, lambda admin: grow_topics(admin, settings.layout, market_id))


def _ask(settings: KafkaSettings, question: Callable[[KafkaAdminClient], dict[str, int]]) -> dict[str, int]:
    """Ask by an admin client made for it."""
    made: list[KafkaNetClient] = []
    admin = None
    try:
        admin = KafkaAdminClient(**settings.common(), kafka_client=remembering(made))
        return question(admin)
    except Level4Error:
        raise
    except Exception as error:  # besides KafkaError it lets through whatever its parts raise
        raise unavailable(settings, error, made) from error
    finally:
        if admin is not None:
            admin.close()
        else:
            for client in made:
                client.close()


def _producer(settings: KafkaSettings) -> KafkaProducer:
    made: list[KafkaNetClient] = []
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
            kafka_client=remembering(made),
        )
        for topic in settings.layout.names:
            producer.partitions_for(topic)  # so that the first send need not wait for metadata
    except Exception as error:
        if producer is not None:
            _discard(producer, settings.connect_timeout_ms / 1000)
        else:
            for client in made:
                client.close()
        raise unavailable(settings, error, made) from error
    return producer


def unavailable(settings: KafkaSettings, error: Exception, made: Sequence[KafkaNetClient] = ()) -> UnavailableError:
    """The error of a client that could not be made; `made`: its network clients, which may know more."""
    reasons = [client._manager.reason for client in made if client._manager.reason is not None]
    why = reasons[-1] if reasons and isinstance(error, KafkaTimeoutError) else error
    text = f"expected Kafka at {', '.join(settings.endpoints)}, got {explain(why)}"
    if "SASL" in settings.options.get("security_protocol", "") and type(why) is KafkaConnectionError:
        # the broker's refusal and the end of the connection come together, and kafka-python sees the end only
        text += "; a wrong user or password looks the same"
    return UnavailableError(text)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # it ships no types
    """Remembers why the last connection failed: a time that ran out says nothing of certificates and passwords."""

    reason: Exception | None = None

    async def _connect(self, node: Any, connection: Any, *rest: Any, **how: Any) -> None:
        await super()._connect(node, connection, *rest, **how)
        if connection.init_future.failed():
            error = connection.init_future.exception
            if self.reason is None or not isinstance(error, RequestTimedOutError):  # cut short by the constructor's end
                self.reason = error


def remembering(made: list[KafkaNetClient]) -> Callable[..., KafkaNetClient]:
    """A factory of network clients that can still be closed when the constructor that asked for one has failed."""

    def make(**configs: Any) -> KafkaNetClient:
        net = NetworkSelector(**configs)
        client = KafkaNetClient(net=net, manager=_Manager(net, **configs), **configs)
        made.append(client)
        return client

    return make


def _discard(producer: KafkaProducer, seconds: float) -> None:
    producer._unregister_cleanup()
    producer._sender.force_close()
    with contextlib.suppress(RuntimeError):  # a thread cannot join itself
        producer._sender.join(seconds)
    producer._closed = True
