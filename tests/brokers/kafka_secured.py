"""The Apache Kafka of all tests: three listeners, one that asks nobody, one for users over TLS, one for mutual TLS.

Whoever comes by the plain one is the administrator (`User:ANONYMOUS`); everybody else has the rights that an ACL gives.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka_brokers import ApacheKafka, free_ports

PASSWORD = "correct-horse-battery"
USERS = ("level4", "reader")

Right = tuple[str, str]
"""Operation, and the topic; a name that ends with a dot is a prefix."""


@dataclass(frozen=True)
class SecuredKafka:
    """A broker and what a client needs to come in by each listener."""

    broker: ApacheKafka
    users: str
    mutual: str
    ca: Path
    certificate: Path
    key: Path

    @property
    def admin(self) -> str:
        """The plain listener."""
        return self.broker.endpoint

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

    def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Give a user these rights and no others, and wait until the broker has heard."""
        wanted = [_acl(user, right) for right in rights]
        admin = KafkaAdminClient(bootstrap_servers=self.admin)
        try:
            everything = ACLFilter(
                f"User:{user}", "*", ACLOperation.ANY, ACLPermissionType.ANY,
                ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
            )  # fmt: skip
            admin.delete_acls([everything])
            if wanted:
                assert not admin.create_acls(wanted)["failed"]
            deadline = time.monotonic() + 10
            while len(admin.describe_acls(everything)[0]) != len(wanted):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            admin.close()


def _acl(user: str, right: Right) -> ACL:
    operation, topic = right
    kind = ACLResourcePatternType.PREFIXED if topic.endswith(".") else ACLResourcePatternType.LITERAL
    pattern = ResourcePattern(ResourceType.TOPIC, topic, kind)
    return ACL(f"User:{user}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, pattern)


def secured_kafka(folder: Path) -> SecuredKafka:
    """Not started yet."""
    authority = trustme.CA()
    ca, store = folder / "ca.pem", folder / "broker.pem"
    authority.cert_pem.write_to_path(ca)
    certificate, key = _write_key_pair(authority, folder, "broker")
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
        "broker.session.timeout.ms": "1500",  # one that was killed is let in again only when its session is over
        "broker.heartbeat.interval.ms": "300",
        "log.cleaner.backoff.ms": "200",  # so that what may be compacted soon is
    }  # fmt: skip
    extra = [f"--set={name}={value}" for name, value in changes.items()]
    extra += [f"--scram={user}:{PASSWORD}" for user in USERS]
    mine, mine_key = _write_key_pair(authority, folder, "node")
    broker = ApacheKafka(folder / "kafka", tuple(extra))
    return SecuredKafka(broker, f"127.0.0.1:{users}", f"127.0.0.1:{mutual}", ca, mine, mine_key)


def _write_key_pair(authority: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key as PEM; the key in PKCS#8, which Kafka wants."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    private = load_pem_private_key(issued.private_key_pem.bytes(), None)
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key
