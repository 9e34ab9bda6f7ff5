"""Settings of Kafka: what reaches kafka-python, what does not fit together, and no secret told."""

from __future__ import annotations

from pathlib import Path

import pytest

from level4.model import ConfigError
from level4.ops.kafka import kafka_settings
from level4.ops.listing import as_json, as_text, render
from level4.ops.settings import load

PREFIX = "LEVEL4_KAFKA_"
SCRAM = {"SECURITY_PROTOCOL": "SASL_SSL", "USERNAME": "level4", "PASSWORD": "hunter2"}


def options(given: dict[str, str]) -> dict[str, object]:
    return dict(kafka_settings(load({PREFIX + name: value for name, value in given.items()})).options)


@pytest.fixture
def pem(tmp_path: Path) -> str:
    path = tmp_path / "some.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return str(path)


def test_plain_text_is_the_default() -> None:
    assert options({}) == {"security_protocol": "PLAINTEXT"}


def test_everything_reaches_the_client(pem: str, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    given = SCRAM | {
        "SASL_MECHANISM": "SCRAM-SHA-256", "CA": pem, "CERTIFICATE": pem, "KEY": pem, "KEY_PASSWORD": "hunter3"
    }  # fmt: skip
    del given["PASSWORD"]
    assert options(given | {"PASSWORD_FILE": str(secret)}) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "level4",
        "sasl_plain_password": "hunter2",
        "ssl_cafile": pem,
        "ssl_certfile": pem,
        "ssl_keyfile": pem,
        "ssl_password": "hunter3",
    }


def test_without_a_file_the_systems_authorities_count() -> None:
    assert options({"SECURITY_PROTOCOL": "SSL"}) == {"security_protocol": "SSL"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, r"SASL_SSL needs who we are: \w+_USERNAME, \w+_PASSWORD are not set"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "USERNAME": "a"}, r"_PASSWORD is not set"),
        ({"USERNAME": "a"}, r"_USERNAME is set, but \w+=PLAINTEXT does not use that; set SASL_PLAINTEXT or SASL_SSL"),
        ({"CA": "ca.pem"}, r"_CA is set, but .* set SSL or SASL_SSL"),
        ({"SECURITY_PROTOCOL": "SSL", "CA": "nowhere.pem"}, r"_CA=nowhere.pem: there is no such file"),
        ({"SECURITY_PROTOCOL": "SSL", "KEY": "key.pem"}, r"needs both files: LEVEL4_KAFKA_CERTIFICATE is not set"),
        ({"SECURITY_PROTOCOL": "TLS"}, r"LEVEL4_KAFKA_SECURITY_PROTOCOL='TLS'.*SASL_SSL"),
    ],
)
def test_what_does_not_fit_together_is_told(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        options(given)


def test_no_secret_is_shown(pem: str) -> None:
    given = {PREFIX + name: value for name, value in (SCRAM | {"CERTIFICATE": pem, "KEY": pem}).items()}
    settings = load(given | {"LEVEL4_KAFKA_KEY_PASSWORD": "hunter3"})
    kafka = kafka_settings(settings)
    shown = [repr(settings), repr(kafka), as_text(render(settings)), as_json(render(settings))]
    assert not any("hunter" in text for text in shown)
    assert set(settings.secrets()) == {"hunter2", "hunter3"}


def test_topics_and_their_retention() -> None:
    given = {"LEVEL4_RETENTION_HOURS": "72", "LEVEL4_PARTITIONS": "32", "LEVEL4_MAX_MARKET_ID": "99"}
    layout = kafka_settings(load(given)).layout
    assert (layout.retention_ms, layout.partitions, layout.max_market_id) == (259_200_000, 32, 99)
    assert kafka_settings(load({})).layout.retention_ms is None
