"""From settings to an open or closed control port."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from level4.model import ConfigError
from level4.ops.access import access_of, callable_host, credentials_of, is_loopback, warnings_of
from level4.ops.settings import load
from level4.rpc.security import Credentials

TOKENS = "first-token-0123456 second-token-0123456"


@pytest.fixture
def cert(tmp_path: Path) -> str:
    path = tmp_path / "node.pem"
    trustme.CA().issue_cert("node").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


def test_loopback_needs_nothing() -> None:
    access = access_of(load({}))
    assert (access.tls, access.tokens) == (None, None)
    assert warnings_of(load({})) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "node1.example"])
def test_an_address_that_others_reach_needs_tls_or_an_explicit_word(host: str, cert: str) -> None:
    env = {"LEVEL4_RPC_HOST": host}
    with pytest.raises(ConfigError, match=r"LEVEL4_TLS_CERT.*LEVEL4_ALLOW_PLAINTEXT=true"):
        access_of(load(env))
    with pytest.raises(ConfigError, match="LEVEL4_ALLOW_PLAINTEXT"):
        access_of(load(env | {"LEVEL4_TOKENS": TOKENS}))
    assert access_of(load(env | {"LEVEL4_TLS_CERT": cert})).tls is not None
    allowed = load(env | {"LEVEL4_ALLOW_PLAINTEXT": "true"})
    assert access_of(allowed).tls is None
    assert "is open" in warnings_of(allowed)[0]
    closed = load(env | {"LEVEL4_ALLOW_PLAINTEXT": "true", "LEVEL4_TOKENS": TOKENS})
    assert "not encrypted" in warnings_of(closed)[0]
    assert warnings_of(load(env | {"LEVEL4_TLS_CERT": cert})) == []


@pytest.mark.parametrize("variable", ["LEVEL4_TLS_KEY", "LEVEL4_TLS_CA"])
def test_a_key_or_an_authority_without_a_certificate_is_a_mistake(variable: str, cert: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        access_of(load({variable: cert}))


def test_a_certificate_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        access_of(load({"LEVEL4_TLS_CERT": str(tmp_path / "missing.pem")}))


def test_a_client_shows_the_first_token_and_the_certificate(cert: str) -> None:
    settings = load({"LEVEL4_TOKENS": TOKENS, "LEVEL4_TLS_CA": cert, "LEVEL4_TLS_SERVER_NAME": "level4"})
    assert credentials_of(settings) == Credentials(
        ca=Path(cert), server_name="level4", token="first-token-0123456"
    )
    assert credentials_of(load({})) == Credentials()
    file = Path(cert).parent / "tokens"
    file.write_text(TOKENS)
    of_file = credentials_of(load({"LEVEL4_TOKENS_FILE": str(file)}))
    assert of_file == Credentials(token="first-token-0123456", token_file=file)


def test_tokens_of_a_file_are_watched_and_all_are_masked_in_logs(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(TOKENS.replace(" ", "\n"))
    settings = load({"LEVEL4_TOKENS_FILE": str(file)})
    assert settings.tokens is not None
    assert settings.tokens.path == file
    assert {"first-token-0123456", "second-token-0123456"} <= set(settings.secrets())
    tokens = access_of(settings).tokens
    assert tokens is not None
    assert tokens.admit("Bearer second-token-0123456")
    file.write_text("third-token-012345678")
    assert not tokens.admit("Bearer second-token-0123456")
    assert tokens.admit("Bearer third-token-012345678")


def test_a_containers_id_is_no_lasting_name() -> None:
    assert "lasting name" in warnings_of(load({"HOSTNAME": "0123456789ab"}))[0]
    assert warnings_of(load({"HOSTNAME": "node-0123456789ab"})) == []


def test_which_addresses_are_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example"]))
    assert [callable_host(host) for host in ("0.0.0.0", "::", "10.0.0.1")] == ["127.0.0.1", "::1", "10.0.0.1"]
