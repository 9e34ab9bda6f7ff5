"""The topics as Kafka has them: created when allowed, counted, and asked whether a market fits.

A market's partition is its id, so a topic must have more partitions than the highest id on it. Topics that exist are
taken as they are until a market needs a partition that they lack; then they grow, where that is allowed, by whole steps
of `Layout.partitions` (so that 64 markets more cost one change, not 64), and never past the highest market id: Kafka
cannot shrink a topic. Two nodes may grow a topic at once: the slower one is told that it has grown, and looks again.
Not every broker can do it (Tansu 0.6 cannot, seen 2026-11).

All functions block on the network: call them in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    IncompatibleBrokerVersion,
    InvalidPartitionsError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
    for_code,
)

from level4.model import TOPICS, ConfigError, UnavailableError

_TOPIC_EXISTS: Final = TopicAlreadyExistsError.errno
_POLICY_SECONDS: Final = 10
_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Layout:
    """How topics are made when they are missing."""

    create: bool = True
    partitions: int = 64
    replication_factor: int = 1
    retention_ms: int | None = None
    """None: the broker's default."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """More settings of a topic that is made."""
    max_market_id: int = 1023
    """No topic grows past this partition."""
    names: tuple[str, ...] = TOPICS


def ensure_topics(admin: KafkaAdminClient, layout: Layout) -> dict[str, int]:
    """Create what is missing, wait until it can be written, and return each topic's number of partitions.

    Raises ConfigError when a topic is missing and must not or cannot be created, UnavailableError when Kafka does not
    answer or the new topics have no leader yet.
    """
    try:
        counts = count_partitions(admin, layout.names)
        missing = [name for name in layout.names if name not in counts]
        if missing and not layout.create:
            raise ConfigError(
                f"expected the topics {', '.join(layout.names)} in Kafka, {', '.join(missing)} not found; "
                f"create them with at least {layout.partitions} partitions or set LEVEL4_CREATE_TOPICS=true"
            )
        if missing:
            _create(admin, missing, layout)
            admin.wait_for_topics(missing, timeout_ms=_POLICY_SECONDS * 1000)
            counts = count_partitions(admin, layout.names)
    except KafkaError as error:
        raise UnavailableError(f"expected an answer about topics from Kafka, got {explain(error)}") from error
    lacking = [name for name in layout.names if name not in counts]
    if lacking:
        raise UnavailableError(f"Kafka accepted the topics {', '.join(lacking)} but does not show them yet")
    return counts


def count_partitions(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Number of partitions of each of these topics that exists."""
    return {
        topic["name"]: len(topic["partitions"])
        for topic in admin.describe_topics(list(names))
        if topic["error_code"] == NoError.errno and topic["partitions"]
    }


def has_partition(market_id: int, counts: Mapping[str, int]) -> bool:
    """Whether every topic has a partition for this market."""
    return all(count > market_id for count in counts.values())


def grow_topics(admin: KafkaAdminClient, layout: Layout, market_id: int) -> dict[str, int]:
    """Give every topic a partition for this market; each topic's number of partitions then.

    Raises ConfigError, with the remedy, when a topic is short and may not or cannot grow, UnavailableError when Kafka
    does not answer or does not show the new partitions in time.
    """
    try:
        counts = count_partitions(admin, layout.names)
        short = {name: counts.get(name, 0) for name in layout.names if counts.get(name, 0) <= market_id}
        if not short:
            return counts
        _may_grow(layout, market_id, short)
        steps = -(-(market_id + 1) // layout.partitions)
        wanted = min(steps * layout.partitions, layout.max_market_id + 1)
        _add_partitions(admin, dict.fromkeys(short, wanted), market_id)
        deadline = time.monotonic() + _POLICY_SECONDS
        while not has_partition(market_id, counts := count_partitions(admin, layout.names)):
            if time.monotonic() > deadline:
                raise UnavailableError(f"Kafka took {wanted} partitions for market {market_id} but does not show them")
            time.sleep(_LOOK_SECONDS)
    except KafkaError as error:
        raise UnavailableError(f"expected an answer about topics from Kafka, got {explain(error)}") from error
    return counts


def _may_grow(layout: Layout, market_id: int, short: Mapping[str, int]) -> None:
    has = f"market {market_id} needs partition {market_id}, but " + ", ".join(
        f"{name} has {count}" for name, count in short.items()
    )
    if market_id > layout.max_market_id:
        raise ConfigError(
            f"{has}, and no topic grows past LEVEL4_MAX_MARKET_ID={layout.max_market_id}; use a lower market id or "
            "raise that setting"
        )
    if not layout.create:
        raise ConfigError(
            f"{has} (0 to n-1); add partitions to the topics ({market_id + 1} or more), set LEVEL4_CREATE_TOPICS=true "
            "or use a lower market id"
        )


def _add_partitions(admin: KafkaAdminClient, wanted: Mapping[str, int], market_id: int) -> None:
    remedy = f"add partitions to the topics by hand ({market_id + 1} or more) or use a lower market id"
    try:
        response = admin.create_partitions(dict(wanted), raise_errors=False)
    except (IncompatibleBrokerVersion, UnsupportedVersionError) as error:
        raise ConfigError(f"this broker cannot add partitions ({explain(error)}); {remedy}") from error
    for result in response.results:
        code = result.error_code
        if code in (NoError.errno, InvalidPartitionsError.errno):  # another node may have been faster: look again
            continue
        kind = for_code(code)
        reason = f"Kafka refused to add partitions to {result.name}: {result.error_message or kind.__name__}"
        if getattr(kind, "retriable", False):
            raise UnavailableError(reason)
        raise ConfigError(f"{reason}; {remedy}, or allow this user to alter the topics")


def _create(admin: KafkaAdminClient, names: Sequence[str], layout: Layout) -> None:
    configs = dict(layout.configs)
    if layout.retention_ms is not None:
        configs["retention.ms"] = str(layout.retention_ms)
    wanted: dict[str, dict[str, Any]] = {
        name: {
            "num_partitions": layout.partitions,
            "replication_factor": layout.replication_factor,
            "configs": configs,
        }
        for name in names
    }
    for topic in admin.create_topics(wanted, raise_errors=False)["topics"]:
        code = topic["error_code"]
        if code in (NoError.errno, _TOPIC_EXISTS):  # another node may have been faster
            continue
        error = for_code(code)
        reason = f"Kafka refused to create the topic {topic['name']}: {topic['error_message'] or error.__name__}"
        if getattr(error, "retriable", False):
            raise UnavailableError(reason)
        raise ConfigError(
            f"{reason} (partitions {layout.partitions}, replication factor {layout.replication_factor}); "
            "create it by hand, or allow this user to create topics"
        )


def explain_refusal(error: Exception, topic: str, right: str) -> str:
    """As `explain`; where Kafka refused a user the topic, what to grant."""
    if isinstance(error, TopicAuthorizationFailedError):
        verb = "read" if right == "READ" else "write to"
        return f"this user may not {verb} {topic}: grant {right} on it ({type(error).__name__})"
    told = explain(error)
    if "ClusterAuthorizationFailed" in told:  # of an idempotent producer: a right to write to any topic is enough
        return f"this user may not write to {topic}, nor to any other: grant WRITE on it ({told})"
    return told


def explain(error: Exception) -> str:
    """An error of kafka-python as text: its kind once, whatever its own text repeats."""
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}"
