"""Where the exchanges are: every address can be overridden, for gateways, test networks and the simulator.

Schemes state the public addresses as facts; an `AddressBook` says where to connect instead. An override names a
protocol (`kraken.v2`) or one channel of it (`binance.um.trades`). The simulator plays all exchanges behind one port:
the original host, with its port if it has one, becomes the first segment of the path, so that it knows whom to play.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from level4.exchanges.scheme import Channel, Scheme
from level4.model import ConfigError

_PLAIN = {"wss": "ws", "ws": "ws", "https": "http", "http": "http"}


def _simulated(address: str, simulator: str) -> str:
    parts = urlsplit(address)
    return urlunsplit((_PLAIN[parts.scheme], simulator, f"/{parts.netloc}{parts.path}", parts.query, ""))


@dataclass(frozen=True, slots=True)
class AddressBook:
    """Addresses to use instead of those in the schemes. An override is used as it is, never sent to the simulator."""

    websocket_overrides: Mapping[str, str] = field(default_factory=dict)
    """`protocol` or `protocol.channel` (the more exact wins) → `ws://…` or `wss://…`."""
    rest_overrides: Mapping[str, str] = field(default_factory=dict)
    """`protocol` → `http://…` or `https://…`, without a slash at the end."""
    simulator: str | None = None
    """`host:port` that plays all exchanges."""

    def __post_init__(self) -> None:
        self._check(self.websocket_overrides, ("ws", "wss"))
        self._check(self.rest_overrides, ("http", "https"))

    @staticmethod
    def _check(overrides: Mapping[str, str], allowed: tuple[str, str]) -> None:
        for name, address in overrides.items():
            parts = urlsplit(address)
            if parts.scheme not in allowed or not parts.netloc:
                raise ConfigError(
                    f"address of {name}: expected {allowed[0]}://… or {allowed[1]}://… with a host, got {address!r}"
                )

    def websocket(self, scheme: type[Scheme], channel: Channel) -> str:
        """The WebSocket address that carries `channel`.

        Raises ConfigError when the protocol does not carry it.
        """
        for name in (f"{scheme.protocol}.{channel}", scheme.protocol):
            if name in self.websocket_overrides:
                return self.websocket_overrides[name]
        address = scheme.websocket.get(channel)
        if address is None:
            raise ConfigError(f"protocol {scheme.protocol} carries no {channel}; it has {', '.join(scheme.websocket)}")
        return address if self.simulator is None else _simulated(address, self.simulator)

    def rest(self, scheme: type[Scheme]) -> str:
        """Base address of the REST service, without a slash at the end; empty when the protocol has none."""
        override = self.rest_overrides.get(scheme.protocol)
        if override is not None:
            return override.rstrip("/")
        if not scheme.rest or self.simulator is None:
            return scheme.rest
        return _simulated(scheme.rest, self.simulator)
