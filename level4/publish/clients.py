"""kafka-python's clients: made, asked and ended here, with all that is peculiar about them (3.0.12, read 2026-11).

* A constructor connects, and when it fails it leaves its sockets open: the network client is made by a factory that
  remembers it, and that also keeps why connections failed, which the constructor's own error does not say.
* `KafkaProducer.close()` flushes first; with records that cannot be delivered it raises and leaves its thread running.
  Ending its network thread by `force_close` works always, at once, also for a wedged producer; then all its futures
  fail. Its finaliser would flush too, in whatever thread it runs, unless the producer is marked closed.
* Its `send` with a partition that is not in cached metadata raises ValueError at once and goes on doing so until the
  metadata have been refreshed, which has no public method.
* An idempotent KafkaProducer is finished for good when a batch expires that was sent once.

So events go out by `producer.Producer` on kafka-python's connections (`EventClient`); KafkaProducer writes the
ownership log (`Client`), a record or two a second. Everything but `abort` blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaProducer  # type: ignore[import-untyped]
from kafka.errors import KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError  # type: ignore[import-untyped]
from kafka.net.compat import KafkaNetClient  # type: ignore[import-untyped]
from kafka.net.manager import KafkaConnectionManager  # type: ignore[import-untyped]
from kafka.net.selector import NetworkSelector  # type: ignore[import-untyped]

from level4.model import Level4Error, UnavailableError
from level4.publish.producer import Producer
from level4.publish.topics import Layout, ensure_topics, explain, grow_topics

_NEVER_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How to talk to Kafka."""

    endpoints: tuple[str, ...]
    """`host:port` of some brokers."""
    layout: Layout = field(default_factory=Layout)
    connect_timeout_ms: int = 5_000
    request_timeout_ms: int = 10_000
    batch_bytes: int = 65_536
    """Of one partition, in one request."""
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
    """A connected KafkaProducer, with the topics in place: for few records, each with a future."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Blocks for about two connect timeouts at most. Raises UnavailableError or ConfigError."""
        _quieten()
        self.partitions = _ask(settings, lambda admin: ensure_topics(admin, settings.layout))
        """Number of partitions of each topic, as read now."""
        self._producer = _producer(settings)
        self.cluster_id = str(self._producer._metadata.cluster_id or "")
        self.send: Callable[..., Any] = self._producer.send
        """As KafkaProducer.send: returns a future. Raises ValueError when metadata lack the partition."""

    def abort(self) -> None:
        """Make the network thread send nothing more, fail all futures and end. Does not block; from any thread."""
        self._producer._sender.force_close()

    def discard(self, seconds: float) -> None:
        """Abort, and wait for the end for at most `seconds`."""
        _discard(self._producer, seconds)


class EventClient:
    """A connected producer of many partitions, with the topics in place: `kafka.ProducerClient`."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Blocks for a few connect timeouts at most. Raises UnavailableError or ConfigError."""
        _quieten()
        self.partitions = _ask(settings, lambda admin: ensure_topics(admin, settings.layout))
        """Number of partitions of each topic, as read now."""
        net, producer = _event_producer(settings)
        self.cluster_id = str(net.cluster.cluster_id or "")
        self.partition = producer.partition
        self.serve = producer.serve
        self.known = producer.known
        self.refresh = producer.refresh
        self.wait_for = producer.wait_for
        self.abort = producer.abort
        self.discard = producer.discard


def _event_producer(settings: KafkaSettings) -> tuple[KafkaNetClient, Producer]:
    made: list[KafkaNetClient] = []
    try:
        net = remembering(made)(**settings.common(), metrics=None)
        net.cluster.config["allow_auto_create_topics"] = False
        net.cluster.set_topics(settings.layout.names)
        net._manager.bootstrap(settings.connect_timeout_ms)
        producer = Producer(
            net,
            compression=settings.compression,
            batch_bytes=settings.batch_bytes,
            request_bytes=settings.max_request_bytes,
            timeout_ms=settings.request_timeout_ms,
        )
        for topic in settings.layout.names:  # so that the first record need not wait for metadata
            producer.wait_for(topic, 0, settings.connect_timeout_ms / 1000)
    except Level4Error:
        _close(made)
        raise
    except Exception as error:
        _close(made)
        raise unavailable(settings, error, made) from error
    return net, producer


def _close(made: Sequence[KafkaNetClient]) -> None:
    for client in made:
        client.close()


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
            _close(made)


def _producer(settings: KafkaSettings) -> KafkaProducer:
    made: list[KafkaNetClient] = []
    producer = None
    try:
        producer = KafkaProducer(
            **settings.common(),
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=_NEVER_MS,  # a batch that expires finishes it; whoever waits judges stalls
            linger_ms=0,
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
            _close(made)
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
