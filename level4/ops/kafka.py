"""From the settings to Kafka's: for the node, and for every command that reads or writes Kafka."""

from __future__ import annotations

from level4.ops.settings import Settings
from level4.ops.values import Secret
from level4.publish.clients import KafkaSettings
from level4.publish.security import Security
from level4.publish.topics import Layout

_HOUR_MS = 3_600_000


def kafka_settings(settings: Settings) -> KafkaSettings:
    """How to talk to Kafka, and what its topics are like. Raises ConfigError when the security settings do not fit."""
    security = Security(
        protocol=settings.kafka_security_protocol,
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username or None,
        password=_text(settings.kafka_password),
        ca=settings.kafka_ca,
        certificate=settings.kafka_certificate,
        key=settings.kafka_key,
        key_password=_text(settings.kafka_key_password),
    )
    retention = settings.retention_hours
    return KafkaSettings(
        endpoints=tuple(str(address) for address in settings.kafka_endpoints),
        layout=Layout(
            create=settings.create_topics,
            partitions=settings.partitions,
            replication_factor=settings.replication_factor,
            retention_ms=None if retention is None else retention * _HOUR_MS,
            max_market_id=settings.max_market_id,
        ),
        options=security.options(),
    )


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
