"""How to talk to a Kafka that asks who we are: TLS and SASL, as options of kafka-python.

The names are Kafka's own (security.protocol, sasl.mechanism). What does not fit together is told at once, by the names
of the settings; a wrong password shows when Kafka answers, and is then a Kafka that cannot be reached. Secrets are in
no text made here, and in no `repr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from level4.model import ConfigError

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_PROTOCOL: Final = "LEVEL4_KAFKA_SECURITY_PROTOCOL"


@dataclass(frozen=True, slots=True)
class Security:
    """What a broker asks for. Raises ConfigError when the parts do not fit together or a file cannot be read."""

    protocol: SecurityProtocol = "PLAINTEXT"
    mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    """PEM; None: the system's authorities."""
    certificate: Path | None = None
    """PEM: our own, with its chain, where the broker asks for one."""
    key: Path | None = None
    key_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        sasl = {"LEVEL4_KAFKA_USERNAME": self.username, "LEVEL4_KAFKA_PASSWORD": self.password}
        tls = {
            "LEVEL4_KAFKA_CA": self.ca,
            "LEVEL4_KAFKA_CERTIFICATE": self.certificate,
            "LEVEL4_KAFKA_KEY": self.key,
            "LEVEL4_KAFKA_KEY_PASSWORD": self.key_password,
        }
        if self.protocol.startswith("SASL"):
            self._expect(sasl, "who we are")
        else:
            self._refuse(sasl, "SASL_PLAINTEXT or SASL_SSL")
        if not self.protocol.endswith("SSL"):
            self._refuse(tls, "SSL or SASL_SSL")
        elif self.certificate or self.key:
            self._expect({name: tls[name] for name in ("LEVEL4_KAFKA_CERTIFICATE", "LEVEL4_KAFKA_KEY")}, "both files")
        for name, path in tls.items():
            if isinstance(path, Path) and not path.is_file():
                raise ConfigError(f"{name}={path}: there is no such file. Expected a PEM file.")

    def _expect(self, given: dict[str, Any], what: str) -> None:
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise ConfigError(f"{_PROTOCOL}={self.protocol} needs {what}: {_names(missing)} not set.")

    def _refuse(self, given: dict[str, Any], protocols: str) -> None:
        superfluous = [name for name, value in given.items() if value]
        if superfluous:
            raise ConfigError(
                f"{_names(superfluous)} set, but {_PROTOCOL}={self.protocol} does not use that; set {protocols}."
            )

    def options(self) -> dict[str, Any]:
        """For every client of kafka-python. Holds the secrets: not to be logged."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.protocol.endswith("SSL"):
            files = {"ssl_cafile": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
            options |= {name: str(path) for name, path in files.items() if path is not None}
            if self.key_password is not None:
                options["ssl_password"] = self.key_password
        return options


def _names(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
