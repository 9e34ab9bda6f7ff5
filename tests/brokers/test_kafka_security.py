"""TLS, users and rights on a real Apache Kafka: settings as they come from the environment, and the least rights."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.admin import (  # type: ignore[import-untyped]
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from kafka_brokers import USED, ApacheKafka, fetch_apache_kafka
from kafka_load import trade, until

from level4.client import Reader
from level4.model import TIMESALES, ConfigError
from level4.ops.kafka import kafka_settings
from level4.ops.settings import load
from level4.publish import KafkaPublisher, PublisherSettings

pytestmark = pytest.mark.apache_kafka

PASSWORD = "correct-horse-battery"
LEAST_RIGHTS = ("WRITE", "CREATE", "ALTER")
"""What the documentation says a node needs on topics whose names begin with `level4.`."""


@dataclass(frozen=True)
class Secured:
    """A broker with a plain listener for its administrator, one with users over TLS, one with mutual TLS."""

    admin: str
    users: str
    mutual: str
    ca: Path
    certificate: Path
    key: Path

    def environment(self, **changes: str) -> dict[str, str]:
        """The variables of a node that logs in as `level4`."""
        given = {
            "KAFKA_ENDPOINTS": self.users,
            "LEVEL4_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "LEVEL4_KAFKA_USERNAME": "level4",
            "LEVEL4_KAFKA_PASSWORD": PASSWORD,
            "LEVEL4_KAFKA_CA": str(self.ca),
            "LEVEL4_PARTITIONS": "8",
        }
        return {name: value for name, value in (given | changes).items() if value}


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def write_key_pair(authority: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key as PEM; the key in PKCS#8, which Kafka wants."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    private = load_pem_private_key(issued.private_key_pem.bytes(), None)
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    had, what = fetch_apache_kafka()
    if not had:
        pytest.skip(f"no Apache Kafka: {what}")
    USED[f"Apache Kafka {what}"] += 1
    folder = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    ca, store = folder / "ca.pem", folder / "broker.pem"
    authority.cert_pem.write_to_path(ca)
    certificate, key = write_key_pair(authority, folder, "broker")
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    users, mutual = free_ports(2)
    listeners = f"PLAINTEXT://127.0.0.1:{{port}},USERS://127.0.0.1:{users},MUTUAL://127.0.0.1:{mutual}"
    login = "org.apache.kafka.common.security"
    changes = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{{controller}}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^.*$/level4/",
        "listener.name.users.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.users.plain.sasl.jaas.config":
            f'{login}.plain.PlainLoginModule required user_level4="{PASSWORD}";',
        "listener.name.users.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "listener.name.users.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }  # fmt: skip
    extra = [f"--set={name}={value}" for name, value in changes.items()]
    extra += [f"--scram={user}:{PASSWORD}" for user in ("level4", "reader", "poor")]
    with ApacheKafka(folder / "kafka", tuple(extra)) as broker:
        allow(broker.endpoint, "level4", *LEAST_RIGHTS)
        allow(broker.endpoint, "reader", "READ")
        allow(broker.endpoint, "poor", "WRITE")
        mine, mine_key = write_key_pair(authority, folder, "node")
        yield Secured(broker.endpoint, f"127.0.0.1:{users}", f"127.0.0.1:{mutual}", ca, mine, mine_key)


def allow(endpoint: str, user: str, *operations: str) -> None:
    topics = ResourcePattern(ResourceType.TOPIC, "level4.", ACLResourcePatternType.PREFIXED)
    admin = KafkaAdminClient(bootstrap_servers=endpoint)
    try:
        made = admin.create_acls(
            [ACL(f"User:{user}", "*", ACLOperation[name], ACLPermissionType.ALLOW, topics) for name in operations]
        )
        assert not made["failed"]
    finally:
        admin.close()


async def publish(environment: dict[str, str], use: Callable[[KafkaPublisher], Any]) -> None:
    """Run a publisher with the settings that a node has from this environment."""
    publisher = KafkaPublisher(
        PublisherSettings(kafka_settings(load(environment)), backoff_seconds=0.1, backoff_max_seconds=0.3), "node1"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        await use(publisher)
        nursery.cancel_scope.cancel()


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
    secured: Secured, market_id: int, changes: dict[str, str]
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


async def test_mutual_tls(secured: Secured) -> None:
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
    secured: Secured, changes: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
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


async def test_without_the_right_to_alter_a_market_beyond_the_topics_is_refused_with_the_remedy(
    secured: Secured,
) -> None:
    async def use(publisher: KafkaPublisher) -> None:
        with trio.fail_after(30):
            await publisher.first_connected()
        with pytest.raises(ConfigError, match=r"TopicAuthorizationFailed.*by hand .* or allow this user to alter"):
            await publisher.ensure_market(500)

    await publish(secured.environment(), lambda publisher: until(lambda: publisher.ready))
    await publish(secured.environment(LEVEL4_KAFKA_USERNAME="poor"), use)
