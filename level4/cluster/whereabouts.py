"""Addresses: of the seeds, and the one under which others reach this node."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any, Final

import structlog
import trio

from level4.model import ConfigError
from level4.swim import Address

log = structlog.get_logger(__name__)

PORT: Final = 7946
"""UDP port of gossip unless told otherwise."""
_OUTSIDE: Final = {4: ("192.0.2.1", 9), 6: ("2001:db8::1", 9)}
"""Addresses for documentation: nobody is there, and nothing is sent; the route to them is the one to anywhere."""
_LOOPBACK: Final = {4: "127.0.0.1", 6: "::1"}


def split_address(text: str, port: int) -> Address:
    """`host[:port]` (IPv6 in brackets) → host, port. Raises ConfigError."""
    host, colon, tail = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, tail = text, str(port)
    if not host or not tail.isdecimal() or not 0 < int(tail) < 65536:
        raise ConfigError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]"), int(tail)


async def resolve(seeds: Sequence[str]) -> list[Address]:
    """All addresses of all seeds; a name that DNS does not know now is left out."""
    found: list[Address] = []
    for seed in seeds:
        host, port = split_address(seed, PORT)
        try:
            answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            log.info("seed not found now", seed=seed, reason=str(error))
            continue
        for answer in answers:
            address = (str(answer[4][0]), int(answer[4][1]))
            if address not in found:
                found.append(address)
    return found


def advertised(told: str | None, bound: tuple[Any, ...], seeds: Sequence[Address]) -> Address:
    """Where others reach a socket that is bound there. `told`: LEVEL4_GOSSIP_ADVERTISE. Raises ConfigError."""
    bound_to, version = (str(bound[0]), int(bound[1])), ipaddress.ip_address(bound[0]).version
    if told is not None:
        host, port = split_address(told, bound_to[1])
        try:
            return str(ipaddress.ip_address(host)), port
        except ValueError:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            try:
                return str(socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4][0]), port
            except OSError as error:
                raise ConfigError(f"LEVEL4_GOSSIP_ADVERTISE={told}: not an address: {error}") from None
    if not ipaddress.ip_address(bound_to[0]).is_unspecified:
        return bound_to
    return route_towards(seeds, bound_to) or _LOOPBACK[version], bound_to[1]


def route_towards(seeds: Sequence[Address], own: Address) -> str | None:
    """The local address of the route to a seed that is not this node, or else to anywhere; None without a route.

    Of the kind (IPv4, IPv6) of the own address. Connecting a UDP socket sends nothing.
    """
    version = ipaddress.ip_address(own[0]).version
    there = (seed for seed in seeds if seed != own and ipaddress.ip_address(seed[0]).version == version)
    with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(next(there, _OUTSIDE[version]))
            return str(probe.getsockname()[0])
        except OSError:
            return None
