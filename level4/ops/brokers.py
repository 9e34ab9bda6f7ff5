"""Checks of Kafka: does it answer, are the topics there, large enough and writable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kafka import KafkaAdminClient  # type: ignore[import-untyped]

from level4.ops.findings import Finding, fail, ok, warn
from level4.publish.clients import KafkaSettings
from level4.publish.ownership_client import LogSettings
from level4.publish.topics import explain

SECONDS: Final = 5.0
"""For the first answer of a broker."""
_UNKNOWN_TOPIC: Final = 3
_NOT_AUTHORIZED: Final = 29
_WRITE, _READ, _CREATE, _ALTER = "WRITE", "READ", "CREATE", "ALTER"


def check_kafka(settings: KafkaSettings, market_ids: Iterable[int]) -> list[Finding]:
    """Blocks: call it in a thread. `market_ids`: of the markets that will be started."""
    where = ", ".join(settings.endpoints)
    try:
        admin = KafkaAdminClient(**settings.common() | {"bootstrap_timeout_ms": round(1000 * SECONDS)})
    except Exception as error:  # besides KafkaError it lets through whatever its parts raise
        return [fail("kafka", f"{where}: {explain(error)}", "KAFKA_ENDPOINTS names brokers; see LEVEL4_KAFKA_… too")]
    try:
        cluster = admin.describe_cluster()
        findings = [ok("kafka", f"{where}: {len(cluster['brokers'])} brokers, cluster {cluster['cluster_id']}")]
        log_topic = LogSettings(settings).topic
        names = [*settings.layout.names, log_topic]
        topics = {topic["name"]: topic for topic in admin.describe_topics(names)}
        may_create_any = _CREATE in (cluster.get("authorized_operations") or ())
        for name in names:
            wanted = 1 if name == log_topic else max(market_ids, default=0) + 1
            topic = topics.get(name, {"error_code": _UNKNOWN_TOPIC})
            may_create = may_create_any or _may(topic, _CREATE)
            findings.append(_topic(name, topic, wanted, settings, may_create, exactly=name == log_topic))
        return findings
    except Exception as error:  # as above
        return [fail("kafka", f"{where}: {explain(error)}", "does this user have the right to describe?")]
    finally:
        admin.close()


def _topic(
    name: str,
    topic: dict[str, Any],
    wanted: int,
    settings: KafkaSettings,
    may_create: bool,
    *,
    exactly: bool,
) -> Finding:
    check = f"topic {name}"
    if topic["error_code"] == _UNKNOWN_TOPIC:
        if not settings.layout.create:
            return fail(check, "is missing", "create it, or LEVEL4_CREATE_TOPICS=true")
        if not may_create:
            return fail(check, "is missing, and this user may not create it", "create it, or grant CREATE on it")
        return ok(check, "is missing; the node will create it")
    if topic["error_code"] == _NOT_AUTHORIZED:
        return fail(check, "this user may not even see it", "grant WRITE on it")
    if topic["error_code"]:
        return fail(check, f"Kafka answers with error {topic['error_code']} for it", "see the broker's log")
    partitions = len(topic["partitions"])
    missing = [right for right in ([_WRITE, _READ] if exactly else [_WRITE]) if not _may(topic, right)]
    if missing:
        return fail(check, f"this user lacks {' and '.join(missing)}", "grant it by ACL")
    if exactly and partitions != wanted:
        return fail(check, f"has {partitions} partitions, needs exactly {wanted}", "it must be made anew")
    if partitions < wanted:
        text = f"has {partitions} partitions, the highest market id needs {wanted}"
        if settings.layout.create and not _may(topic, _ALTER):
            return fail(check, f"{text}, and this user may not add partitions", "add them, or grant ALTER on it")
        if settings.layout.create:
            return warn(check, text, "the node will add partitions when that market is started")
        return fail(check, text, f"kafka-topics --alter --topic {name} --partitions {wanted}")
    leaderless = sum(partition["leader_id"] < 0 for partition in topic["partitions"])
    if leaderless:
        return fail(check, f"{leaderless} of {partitions} partitions have no leader", "brokers are missing")
    return ok(check, f"{partitions} partitions, may be written")


def _may(described: dict[str, Any], right: str) -> bool:
    """Whether the operation is among the authorized ones; a broker that does not tell is not doubted."""
    told = described.get("authorized_operations")
    return not told or right in told
