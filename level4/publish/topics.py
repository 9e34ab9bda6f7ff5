"""The topics as Kafka has them: created when allowed, counted, and asked whether a market fits.

A market's partition is its id, so a topic must have more partitions than the highest id on it. Topics that exist are
taken as they are: their number of partitions is read, never changed here. (Growing is a call of its own on an admin
client; Tansu 0.6 cannot do it: https://github.com/tansu-io/tansu, read 2026-11.)

All functions block on the network: call them in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from level4.model import TOPICS, ConfigError, UnavailableError

_TOPIC_EXISTS: Final = TopicAlreadyExistsError.errno
_POLICY_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Layout:
    """How topics are made when they are missing."""

    create: bool = True
    partitions: int = 64
    replication_factor: int = 1
    retention_ms: int | None = None
    """None: the broker's default."""
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


def check_partition(market_id: int, counts: Mapping[str, int]) -> None:
    """Raise ConfigError, with the remedy, when a topic has no partition for this market."""
    short = [f"{name} has {count}" for name, count in counts.items() if count <= market_id]
    if short:
        raise ConfigError(
            f"market {market_id} needs partition {market_id}, but {', '.join(short)} partitions (0 to n-1); "
            f"add partitions to the topics ({market_id + 1} or more) or use a lower market id"
        )


def _create(admin: KafkaAdminClient, names: Sequence[str], layout: Layout) -> None:
    configs = {} if layout.retention_ms is None else {"retention.ms": str(layout.retention_ms)}
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


def explain(error: Exception) -> str:
    """An error of kafka-python as text: its kind once, whatever its own text repeats."""
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}"
