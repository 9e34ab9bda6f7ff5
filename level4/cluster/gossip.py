"""SWIM on the wire: the pure membership over UDP, with trio.

One task waits for the socket or the next timer, whichever comes first, and hands everything over synchronously: all
datagrams that wait, then the timers that are due, then what is to be sent, then events. A datagram that the kernel does
not take is counted and lost, as any may be.

Finding each other: seeds (`host:port`, every address of a name, asked of DNS again and again, because containers come
back with others) and multicast (a hello to a group that does not leave the network; members that hear it answer the
address it came from).

Where to be reached is not where to listen: without an advertised address the one of the route towards the seeds is
taken, and looked at again and again, because a machine that comes back to its network may have been given another one.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog
import trio

from level4.cluster.whereabouts import PORT, advertised, resolve, route_towards
from level4.model import ConfigError
from level4.swim import (
    FEEDS,
    SECRET_BYTES,
    Address,
    Config,
    Departed,
    Event,
    Keyring,
    Member,
    Membership,
    NameConflict,
)

log = structlog.get_logger(__name__)

MULTICAST_GROUP: Final = "239.192.76.52"
"""Organisation-local scope (RFC 2365); with TTL 1 a hello stays on the network."""
MULTICAST_PORT: Final = 7947
RESOLVE_SECONDS: Final = 15.0
ROUTE_SECONDS: Final = 2.0
"""How often the address of the route is looked at."""
HELLO_SECONDS: Final = 10.0
LEAVE_SECONDS: Final = 2.0
_DRAINED_AT_ONCE: Final = 256
_RECEIVE_BYTES: Final = 65_536
_BUFFER_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """Where and with whom to gossip."""

    name: str
    cluster: str = "level4"
    host: str = "0.0.0.0"
    """Address to listen on."""
    port: int = PORT
    """UDP port; 0 takes a free one."""
    any_port: bool = False
    """Whether a free one serves too when that one is taken: where nobody was told the port."""
    advertise: str | None = None
    """`host[:port]` under which others reach this node; None: found out."""
    seeds: tuple[str, ...] = ()
    """`host:port` of some nodes, any number, tried for ever."""
    multicast_port: int | None = MULTICAST_PORT
    """Port of the hello group; None: no multicast."""
    keys: tuple[bytes, ...] = ()
    """Shared keys of 32 bytes, the first seals; none: the cluster is open to whoever reaches it."""
    config: Config = FEEDS


class Gossip:
    """The membership of this node. `on_event` is called in trio's thread for everything that happens, `on_address` when
    this node has another address."""

    def __init__(
        self,
        settings: GossipSettings,
        *,
        on_event: Callable[[Event], None],
        random: Random,
        meta: bytes = b"",
        generation: int | None = None,
        on_address: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_event = on_event
        self._on_address = on_address
        self._random = random
        self._meta = meta
        self._generation = generation if generation is not None else time.time_ns() // 1_000_000
        self._membership: Membership | None = None
        self._socket: socket.socket | None = None
        self._waiting = trio.CancelScope()
        self._departed = trio.Event()
        self._seeds: list[Address] = []
        self.unsent: Counter[str] = Counter()
        """Datagrams that the kernel did not take, by kind of error."""

    @property
    def running(self) -> bool:
        return self._membership is not None

    @property
    def membership(self) -> Membership:
        if self._membership is None:
            raise RuntimeError("the gossip does not run")
        return self._membership

    @property
    def address(self) -> Address | None:
        """Where others reach this node; None before gossip runs."""
        return None if self._membership is None else self._membership.own.address

    def members(self) -> list[Member]:
        """The live members, this node first."""
        return [] if self._membership is None else self._membership.members()

    async def run(self, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Gossip until cancelled; reports the advertised address. Raises ConfigError when it cannot be bound or
        advertised."""
        settings = self._settings
        with _bind_some(settings) as plain:
            self._socket = plain
            seeds = await resolve(settings.seeds)
            address = advertised(settings.advertise, plain.getsockname(), seeds)
            self._warn(address)
            self._membership = Membership(
                settings.name,
                self._generation,
                address,
                cluster=settings.cluster,
                rng=self._random,
                secret=os.urandom(SECRET_BYTES),
                now=trio.current_time(),
                config=settings.config,
                keyring=Keyring(settings.keys) if settings.keys else None,
                seeds=[seed for seed in seeds if seed != address],
                meta=self._meta,
            )
            self._seeds = seeds
            async with trio.open_nursery() as nursery:
                if settings.seeds:
                    nursery.start_soon(self._keep_resolving)
                if settings.advertise is None and ipaddress.ip_address(plain.getsockname()[0]).is_unspecified:
                    nursery.start_soon(self._follow_route)
                if settings.multicast_port is not None:
                    nursery.start_soon(self._multicast, settings.multicast_port)
                task_status.started(address)
                await self._talk()
                nursery.cancel_scope.cancel()

    def set_meta(self, meta: bytes) -> None:
        """Publish new meta to all members."""
        self._meta = meta
        if self._membership is not None:
            self._membership.set_meta(meta, trio.current_time())
            self._settle()

    def set_keys(self, keys: Sequence[bytes]) -> None:
        """Rotate keys. Raises ValueError when this membership speaks in clear."""
        self.membership.set_keyring(Keyring(tuple(keys)))

    async def leave(self) -> None:
        """Tell the others that this node goes; bounded."""
        if self._membership is not None:
            self._membership.leave(trio.current_time())
            self._settle()
            with trio.move_on_after(LEAVE_SECONDS):
                await self._departed.wait()

    # -- talking ------------------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        membership, plain = self.membership, self._socket
        assert plain is not None
        while not self._departed.is_set():
            due = membership.get_timer()
            with trio.CancelScope(deadline=float("inf") if due is None else due) as self._waiting:
                await trio.lowlevel.wait_readable(plain)
            for _ in range(_DRAINED_AT_ONCE):
                try:
                    data, source = plain.recvfrom(_RECEIVE_BYTES)
                except BlockingIOError:
                    break
                except OSError:  # an unreachable port answered an earlier datagram of ours
                    continue
                membership.receive_datagram(data, source[:2], trio.current_time())
            membership.handle_timer(trio.current_time())
            self._settle()

    def _settle(self) -> None:
        """Send what is to be sent, tell what has happened, look at the timers anew."""
        membership = self.membership
        for data, destination in membership.datagrams_to_send(trio.current_time()):
            self._send(data, destination)
        while (event := membership.next_event()) is not None:
            if isinstance(event, Departed):
                self._departed.set()
            elif isinstance(event, NameConflict):
                log.error("name conflict", reason=str(event))
            self._on_event(event)
        self._waiting.cancel()

    def _send(self, data: bytes, destination: Address) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(data, destination)
        except OSError as error:
            self.unsent[type(error).__name__] += 1

    # -- finding each other -------------------------------------------------------------------------------------

    async def _keep_resolving(self) -> None:
        while True:
            await trio.sleep(RESOLVE_SECONDS * self._random.uniform(0.8, 1.2))
            self._seeds = await resolve(self._settings.seeds)
            self.membership.set_seeds([seed for seed in self._seeds if seed != self.address])
            self._settle()

    async def _follow_route(self) -> None:
        """Tell the others when this machine has another address than before. Without a route the last one stays."""
        while True:
            await trio.sleep(ROUTE_SECONDS)
            own = self.membership.own.address
            host = route_towards(self._seeds, own)
            if host is None or host == own[0]:
                continue
            log.warning("this node has another address", was=own[0], now=host)
            self.membership.set_address((host, own[1]), trio.current_time())
            self._settle()
            self._on_address()

    async def _multicast(self, port: int) -> None:
        try:
            group = _join_group(port, self._settings.host)
        except OSError as error:
            log.warning("no multicast here; nodes find each other by seeds only", reason=str(error))
            return
        with group:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear_hellos, group)
                while True:
                    self._send(self.membership.hello(), (MULTICAST_GROUP, port))
                    await trio.sleep(HELLO_SECONDS * self._random.uniform(0.8, 1.2))

    async def _hear_hellos(self, group: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(group)
            for _ in range(_DRAINED_AT_ONCE):
                try:
                    data, source = group.recvfrom(_RECEIVE_BYTES)
                except (BlockingIOError, OSError):
                    break
                self.membership.receive_datagram(data, source[:2], trio.current_time())
            self._settle()

    def _warn(self, address: Address) -> None:
        loopback = ipaddress.ip_address(address[0]).is_loopback
        if not self._settings.keys and not loopback:
            log.warning(
                "the cluster is open: whoever reaches this UDP port can join and be believed",
                port=address[1],
                remedy="set LEVEL4_CLUSTER_KEYS, the same on all nodes",
            )


def _bind_some(settings: GossipSettings) -> socket.socket:
    try:
        return _bind(settings.host, settings.port)
    except ConfigError as error:
        if not settings.any_port:
            raise
        log.info("another port for gossip", reason=str(error))
        return _bind(settings.host, 0)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_DGRAM)
    try:
        plain.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            plain.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if family == socket.AF_INET:
            plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(_group_interface(host)))
        plain.bind((host, port))
    except OSError as error:
        plain.close()
        raise ConfigError(
            f"the gossip port {host}:{port} (UDP) cannot be bound: {error.strerror or error}; another node uses it?"
        ) from None
    return plain


def _group_interface(host: str) -> str:
    """On which interface hellos go out and are heard: a node that listens on loopback meets those of its machine."""
    try:
        return "127.0.0.1" if ipaddress.ip_address(host).is_loopback else "0.0.0.0"
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"


def _join_group(port: int, host: str) -> socket.socket:
    group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        group.setblocking(False)
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        group.bind((MULTICAST_GROUP, port))
        request = struct.pack("4s4s", socket.inet_aton(MULTICAST_GROUP), socket.inet_aton(_group_interface(host)))
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except OSError:
        group.close()
        raise
    return group
