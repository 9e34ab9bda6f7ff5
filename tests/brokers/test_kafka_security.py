"""TLS, users and rights on a real Apache Kafka: settings as they come from the environment, and the least rights.

The authorizer is Kafka's own. The documented rights are enough for all that a node does; each one that is missing is
told by `level4 doctor` and by the part of the node that needs it.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from kafka_load import trade, until
from kafka_secured import Right, SecuredKafka

from level4.client import Reader
from level4.cluster.ledger import Ledger
from level4.model import STATUS, TIMESALES, ConfigError, MarketRequest, MarketType
from level4.ops.brokers import check_kafka
from level4.ops.findings import Verdict
from level4.ops.kafka import kafka_settings
from level4.ops.settings import load
from level4.placement import NodeRecord, Writer
from level4.publish import KafkaPublisher, KafkaSettings, LogSettings, OwnershipLog, PublisherSettings

pytestmark = pytest.mark.apache_kafka

LEAST: tuple[Right, ...] = (
    ("WRITE", "level4."),
    ("READ", "level4.markets"),
    ("CREATE", "level4."),
    ("ALTER", "level4."),
)
"""What the documentation says a node needs."""


@pytest.fixture
def secured(apache: SecuredKafka) -> SecuredKafka:
    """A user `level4` with the least rights, a user `reader` who may read."""
    apache.grant("level4", LEAST)
    apache.grant("reader", [("READ", "level4.")])
    return apache


async def publish(environment: dict[str, str], use: Callable[[KafkaPublisher], Any]) -> None:
    """Run a publisher with the settings that a node has from this environment."""
    kafka = replace(kafka_settings(load(environment)), connect_timeout_ms=2_000)
    publisher = KafkaPublisher(PublisherSettings(kafka, backoff_seconds=0.1, backoff_max_seconds=0.3), "node1")
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        await use(publisher)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def ledger_of(kafka: KafkaSettings, **changes: Any) -> AsyncIterator[tuple[Ledger, OwnershipLog]]:
    """The ownership log as a node lives with it."""
    made: list[OwnershipLog] = []

    def make(deliver: Any) -> OwnershipLog:
        made.append(OwnershipLog(LogSettings(kafka, backoff_seconds=0.1, backoff_max_seconds=0.3, **changes), deliver))
        return made[0]

    ledger = Ledger(Writer("node1", 1), make, about=lambda mark: NodeRecord(by=mark), changed=lambda ids: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        yield ledger, made[0]
        nursery.cancel_scope.cancel()


def diagnosed(kafka: KafkaSettings, *market_ids: int) -> dict[str, str]:
    """What `level4 doctor` finds wrong, by what it checked."""
    found = check_kafka(kafka, market_ids)
    return {each.check: f"{each.text}: {each.advice}" for each in found if each.verdict is not Verdict.OK}


def count(endpoint: str, market_id: int, options: dict[str, Any]) -> int:
    with Reader(
        [endpoint], [TIMESALES], [market_id], "beginning", until_silent=1.0, patience=20, options=options
    ) as reader:
        return sum(1 for _ in reader)


@pytest.mark.parametrize(
    ("market_id", "changes"),
    [
        pytest.param(1, {}, id="SCRAM-SHA-512"),
        pytest.param(2, {"LEVEL4_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, id="SCRAM-SHA-256"),
        pytest.param(3, {"LEVEL4_KAFKA_SASL_MECHANISM": "PLAIN"}, id="PLAIN"),
    ],
)
async def test_a_user_with_the_least_rights_makes_topics_publishes_and_grows_them(
    secured: SecuredKafka, market_id: int, changes: dict[str, str]
) -> None:
    async def use(publisher: KafkaPublisher) -> None:
        for n in range(1, 101):
            publisher.put(trade(market_id, n))
        assert await publisher.drain(30) == 0
        await publisher.ensure_market(6 + 8 * market_id)
        publisher.put(trade(6 + 8 * market_id, 1))
        assert await publisher.drain(30) == 0
        assert (publisher.stats.acked, publisher.stats.refused) == (101, 0)

    await publish(secured.environment(**changes), use)
    reader = dict(kafka_settings(load(secured.environment(LEVEL4_KAFKA_USERNAME="reader"))).options)
    assert await trio.to_thread.run_sync(count, secured.users, market_id, reader) == 100


async def test_mutual_tls(secured: SecuredKafka) -> None:
    async def use(publisher: KafkaPublisher) -> None:
        publisher.put(trade(4, 1))
        assert await publisher.drain(30) == 0
        assert publisher.stats.refused == 0

    await publish(
        secured.environment(
            KAFKA_ENDPOINTS=secured.mutual,
            LEVEL4_KAFKA_SECURITY_PROTOCOL="SSL",
            LEVEL4_KAFKA_USERNAME="",
            LEVEL4_KAFKA_PASSWORD="",
            LEVEL4_KAFKA_CERTIFICATE=str(secured.certificate),
            LEVEL4_KAFKA_KEY=str(secured.key),
        ),
        use,
    )
    assert await trio.to_thread.run_sync(count, secured.admin, 4, {}) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"LEVEL4_KAFKA_PASSWORD": "wrong-horse"}, "uthentication|password", id="password"),
        pytest.param({"LEVEL4_KAFKA_CA": ""}, "ertificate|SSL", id="authority"),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # kafka-python, after a failed handshake
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning")
async def test_a_kafka_that_does_not_let_us_in_is_away_and_the_reason_is_told_without_the_secret(
    secured: SecuredKafka, changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def use(publisher: KafkaPublisher) -> None:
        publisher.put(trade(5, 1))
        await until(lambda: publisher.stats.errors >= 2)
        assert not publisher.ready
        assert publisher.remaining == 1
        told = publisher.stats.last_error or ""
        assert any(word in told for word in said.split("|")), told
        assert "horse" not in told

    await publish(secured.environment(**changes), use)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    printed = capsys.readouterr()
    assert "horse" not in printed.out + printed.err


async def test_the_documented_rights_are_enough_for_a_node(secured: SecuredKafka) -> None:
    kafka = kafka_settings(load(secured.environment()))
    assert await trio.to_thread.run_sync(diagnosed, kafka) == {}, "topics are still to be made"

    async def use(publisher: KafkaPublisher) -> None:
        publisher.put(trade(1, 1))
        assert await publisher.drain(30) == 0
        await publisher.ensure_market(20)
        publisher.put(trade(20, 1))
        assert await publisher.drain(30) == 0
        assert (publisher.stats.refused, publisher.stats.reconnects) == (0, 0), publisher.stats.last_error

    await publish(secured.environment(), use)
    async with ledger_of(kafka) as (ledger, _):
        with trio.fail_after(30):
            await ledger.wait_caught_up()
        entry = await ledger.claim(MarketRequest(1, "KRAKEN", MarketType.SPOT, "BTC", "USD"))
        assert entry.record.host == "node1"
        await ledger.stop(1, "a test")
        await ledger.leave()
    assert await trio.to_thread.run_sync(diagnosed, kafka, 23) == {}
    assert await trio.to_thread.run_sync(count, secured.users, 20, dict(kafka_settings(
        load(secured.environment(LEVEL4_KAFKA_USERNAME="reader"))
    ).options)) == 1  # fmt: skip


async def make_topics(secured: SecuredKafka) -> KafkaSettings:
    """All four, by a user who may; the settings of `level4`."""
    secured.grant("level4", LEAST)
    kafka = kafka_settings(load(secured.environment()))
    await publish(secured.environment(), lambda publisher: until(lambda: publisher.ready))
    async with ledger_of(kafka) as (_, log):
        await until(lambda: log.connected)
    return kafka


def without(operation: str) -> list[Right]:
    return [right for right in LEAST if right[0] != operation]


async def test_without_the_right_to_create_it_is_told_who_must_make_the_topics(secured: SecuredKafka) -> None:
    secured.grant("level4", without("CREATE"))
    kafka = kafka_settings(load(secured.environment()))
    told = await trio.to_thread.run_sync(diagnosed, kafka)
    assert set(told) == {f"topic {name}" for name in (*kafka.layout.names, "level4.markets")}
    assert all("may not create" in text and "grant CREATE" in text for text in told.values())

    async def use(publisher: KafkaPublisher) -> None:
        await until(lambda: publisher.stats.errors >= 1)
        assert not publisher.ready
        said = publisher.stats.last_error or ""
        assert "create the topic" in said
        assert "uthoriz" in said
        assert "allow this user to create topics" in said

    await publish(secured.environment(), use)
    async with ledger_of(kafka) as (_, log):
        await until(lambda: "allow this user to create topics" in log.why_away)


async def test_without_the_right_to_write_nothing_is_published_and_it_is_told(secured: SecuredKafka) -> None:
    kafka = await make_topics(secured)
    secured.grant("level4", [*without("WRITE"), ("WRITE", STATUS)])
    told = await trio.to_thread.run_sync(diagnosed, kafka)
    assert set(told) == {"topic level4.spread", "topic level4.timesales", "topic level4.markets"}
    assert all("lacks WRITE" in text for text in told.values())

    async def use(publisher: KafkaPublisher) -> None:
        publisher.put(trade(1, 1))
        await until(lambda: publisher.stats.errors >= 2)
        assert publisher.remaining == 1, "kept, for the right may yet be granted"
        assert "may not write to level4.timesales" in (publisher.stats.last_error or "")
        await trio.to_thread.run_sync(secured.grant, "level4", LEAST)
        assert await publisher.drain(30) == 0

    await publish(secured.environment(), use)
    for elsewhere in ([("WRITE", STATUS)], []):
        secured.grant("level4", [*without("WRITE"), *elsewhere])
        async with ledger_of(kafka) as (ledger, log):
            await until(lambda: "may not write to level4.markets" in log.why_away)
            assert not ledger.caught_up


async def test_without_the_right_to_read_the_log_no_market_is_claimed_and_it_is_told(secured: SecuredKafka) -> None:
    kafka = await make_topics(secured)
    secured.grant("level4", without("READ"))
    told = await trio.to_thread.run_sync(diagnosed, kafka)
    assert set(told) == {"topic level4.markets"}
    assert "lacks READ" in told["topic level4.markets"]
    async with ledger_of(kafka) as (ledger, log):
        await until(lambda: "may not read level4.markets" in log.why_away)
        assert not ledger.caught_up
        await trio.to_thread.run_sync(secured.grant, "level4", LEAST)
        with trio.fail_after(30):
            await ledger.wait_caught_up()


async def test_without_the_right_to_alter_a_market_beyond_the_topics_is_refused_with_the_remedy(
    secured: SecuredKafka,
) -> None:
    kafka = await make_topics(secured)
    secured.grant("level4", without("ALTER"))
    told = await trio.to_thread.run_sync(diagnosed, kafka, 500)
    assert set(told) == {f"topic {name}" for name in kafka.layout.names}
    assert all("may not add" in text for text in told.values())
    assert await trio.to_thread.run_sync(diagnosed, kafka, 7) == {}

    async def use(publisher: KafkaPublisher) -> None:
        with trio.fail_after(30):
            await publisher.first_connected()
        with pytest.raises(ConfigError, match=r"TopicAuthorizationFailed.*by hand .* or allow this user to alter"):
            await publisher.ensure_market(500)

    await publish(secured.environment(), use)


async def test_topics_of_others_making_need_neither_create_nor_alter(secured: SecuredKafka) -> None:
    kafka = await make_topics(secured)
    secured.grant("level4", [("WRITE", "level4."), ("READ", "level4.markets")])
    ready_made = replace(kafka, layout=replace(kafka.layout, create=False))
    assert await trio.to_thread.run_sync(diagnosed, ready_made, 7) == {}

    async def use(publisher: KafkaPublisher) -> None:
        publisher.put(trade(7, 1))
        assert await publisher.drain(30) == 0

    await publish(secured.environment(LEVEL4_CREATE_TOPICS="false"), use)
    async with ledger_of(ready_made) as (ledger, _):
        with trio.fail_after(30):
            await ledger.wait_caught_up()
