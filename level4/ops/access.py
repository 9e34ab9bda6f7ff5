"""From settings to who may reach the control service, and to what this process shows when it calls one.

The default is loopback. An address that others reach needs TLS, or the explicit word that the network itself protects
it: a control port that is open by oversight lets anybody stop the feeds.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass

from level4.model import ConfigError
from level4.ops.settings import Settings
from level4.rpc.security import Credentials, Tokens, server_context, split_tokens

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}").fullmatch


@dataclass(frozen=True, slots=True)
class Access:
    """How the control service is protected; both None: by its address only."""

    tls: ssl.SSLContext | None
    tokens: Tokens | None


def access_of(settings: Settings) -> Access:
    """Raises ConfigError when files are not good, or when the port would be open by oversight."""
    if settings.tls_cert is None and (settings.tls_key is not None or settings.tls_ca is not None):
        given = "LEVEL4_TLS_KEY" if settings.tls_ca is None else "LEVEL4_TLS_CA"
        raise ConfigError(f"{given} is given, LEVEL4_TLS_CERT is not: a node needs its certificate to speak TLS.")
    tls = None
    if settings.tls_cert is not None:
        tls = server_context(settings.tls_cert, settings.tls_key or settings.tls_cert, settings.tls_ca)
    elif not is_loopback(settings.rpc_host) and not settings.allow_plaintext:
        raise ConfigError(
            f"LEVEL4_RPC_HOST={settings.rpc_host} lets others reach the control service, and without TLS everybody on"
            " the way can read and take over what is said. Give LEVEL4_TLS_CERT and LEVEL4_TLS_KEY, or say"
            " LEVEL4_ALLOW_PLAINTEXT=true where the network keeps strangers away."
        )
    secret = settings.tokens
    return Access(tls, None if secret is None else Tokens(secret.reveal(), secret.path))


def credentials_of(settings: Settings) -> Credentials:
    """What this process shows to a node, and whom it believes."""
    secret = settings.tokens
    tokens = [] if secret is None else split_tokens(secret.reveal())
    return Credentials(
        ca=settings.tls_ca,
        cert=settings.tls_cert,
        key=settings.tls_key,
        server_name=settings.tls_server_name,
        token=tokens[0] if tokens else None,
        token_file=None if secret is None else secret.path,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def callable_host(host: str) -> str:
    """The address at which this machine reaches what is bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def warnings_of(settings: Settings) -> list[str]:
    """What a node with these settings should say at its start."""
    warnings = []
    if not is_loopback(settings.rpc_host):
        bound = f"the control service on {settings.rpc_host}:{settings.rpc_port}"
        if settings.tls_cert is None and settings.tokens is None:
            warnings.append(
                f"{bound} is open: whoever reaches it can start and stop markets. LEVEL4_TLS_CERT and LEVEL4_TLS_CA, or"
                " LEVEL4_TOKENS, close it"
            )
        elif settings.tls_cert is None:
            warnings.append(f"{bound} is not encrypted: whoever is on the way can read the tokens and use them")
    if _CONTAINER_ID(settings.hostname):
        warnings.append(
            f"HOSTNAME={settings.hostname} looks like a container's id, which changes with every start; give the node a"
            " lasting name"
        )
    return warnings
