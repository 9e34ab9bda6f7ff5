"""Where other nodes reach this one, as far as its settings and its routes tell; and why they could not.

Where to listen is not where to be reached: an address that stands for all (`0.0.0.0`) is none that can be dialled.
Loopback is right for nodes of one machine only.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from level4.ops.access import is_loopback
from level4.ops.settings import Settings
from level4.ops.values import Address, split_host

_ALL: Final = ("0.0.0.0", "::")


def control_address(settings: Settings, gossip_host: str, port: int) -> str:
    """The control service as others call it; empty while that is not known. `gossip_host`: where gossip is reached, or
    empty; `port`: the one that is bound."""
    told = settings.rpc_advertise
    if told is not None:
        host, outer = split_host(told)
        return str(Address(host, outer or port))
    host = gossip_host if settings.rpc_host in _ALL else settings.rpc_host
    return str(Address(host, port)) if host else ""


def unreachable(settings: Settings, gossip_host: str, port: int) -> list[str]:
    """What keeps other machines' nodes from this one. Nothing, when all that it was told of is on this machine."""
    outward = not is_loopback(settings.gossip_host) or any(not is_loopback(seed.host) for seed in settings.seeds)
    if not outward:
        return []
    problems = []
    if settings.gossip_advertise is None and _undiallable(gossip_host):
        problems.append(
            f"other machines cannot reach this node's gossip at {gossip_host or 'no address'}: it has no network, or"
            " listens on loopback. Set LEVEL4_GOSSIP_HOST, or LEVEL4_GOSSIP_ADVERTISE, to an address that they reach"
        )
    address = control_address(settings, gossip_host, port)
    host = address.rpartition(":")[0].strip("[]")
    if _undiallable(host):
        problems.append(
            f"other machines cannot call this node at {address}, so they can give it no markets and move none from it."
            " Set LEVEL4_RPC_HOST (with TLS), or LEVEL4_RPC_ADVERTISE, to an address that they reach"
        )
    return problems


def _undiallable(host: str) -> bool:
    if not host or host in _ALL or is_loopback(host):
        return True
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False  # a name: who resolves it knows
