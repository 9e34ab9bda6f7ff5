"""Checks of the cluster: where this node says that it is, who answers by gossip, and how large datagrams may be.

Seeds are asked, and all members that those who answered know; a node that runs here, too. Nobody joins
(`level4.swim.inquiry`). Gossip of another cluster or with another key is dropped in silence, so that a stranger learns
nothing. Two things tell that silence from a firewall's: somebody answers calls there; and the count of dropped
datagrams in that node's metrics, if they can be read.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from random import Random
from typing import Final

import httpx
import trio
from prometheus_client.parser import text_string_to_metric_families

from level4.cluster.meta import decode_meta
from level4.cluster.whereabouts import PORT, advertised, resolve
from level4.model import ConfigError, Level4Error
from level4.ops.access import credentials_of, is_loopback
from level4.ops.advertised import control_address, unreachable
from level4.ops.allowed import split_keys
from level4.ops.findings import Finding, fail, ok, warn
from level4.ops.settings import Settings
from level4.rpc.client import connect
from level4.swim import PROFILES, SECRET_BYTES, Address, Inquiry, Keyring, Member, Refusal

SECONDS: Final = 1.5
"""For answers to one round of questions, which is asked three times."""
_ASKED: Final = 3
_MOST: Final = 128
"""Members that are asked."""
_DATAGRAM: Final = 65_536
_KEYS: Final = {Refusal.UNSEALED, Refusal.SEALED, Refusal.UNKNOWN_KEY, Refusal.UNAUTHENTIC}


class Asked:
    """Who answered which size, and what was learnt."""

    def __init__(self, settings: Settings, random: Random) -> None:
        keys = settings.cluster_keys
        keyring = None if keys is None else Keyring(split_keys(keys.reveal()))
        config = PROFILES[settings.swim_profile]
        self._inquiry = Inquiry(settings.cluster, os.urandom(SECRET_BYTES), keyring, config, random)
        self.members: dict[str, Member] = {}
        """Live members that anybody told of, by name."""
        self.at: dict[Address, Member] = {}
        """Who answered, by the address that was asked."""
        self.full_there: set[Address] = set()
        self.full_back: set[Address] = set()
        self.closed: set[Address] = set()
        """Where nothing listens, as that machine says."""

    async def ask(self, addresses: Iterable[Address], *, full: bool) -> None:
        """Ask these, until all have answered or the time is over."""
        wanted = set(addresses)
        async with trio.open_nursery() as nursery:
            for address in wanted:
                nursery.start_soon(self._ask, address, full)

    async def _ask(self, address: Address, full: bool) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with trio.socket.socket(family, socket.SOCK_DGRAM) as plain, suppress(OSError):
            await plain.connect(address)  # so that "nothing listens here" comes back as an error
            for _ in range(_ASKED):
                self._inquiry.ask(address, trio.current_time(), full=full)
                with trio.move_on_after(SECONDS / _ASKED):
                    await self._hear(plain, address, full)
                    return

    async def _hear(self, plain: trio.socket.SocketType, address: Address, full: bool) -> None:
        """Until the member has answered, and a moment longer: what else it knows comes in datagrams of their own."""
        deadline = float("inf")
        while True:
            await self._send(plain)
            with trio.move_on_at(deadline) as scope:
                data = await self._received(plain, address)
            if scope.cancelled_caught:
                return
            reply = self._inquiry.receive(data, address, trio.current_time())
            if reply is None:
                continue
            self.members |= {one.name: one for one in reply.others}
            if reply.member is not None:
                self.members[reply.member.name] = self.at[address] = reply.member
                self.full_there |= {address} if full else set()
                self.full_back |= {address} if full and reply.full else set()
                deadline = trio.current_time() + 0.1

    async def _received(self, plain: trio.socket.SocketType, address: Address) -> bytes:
        try:
            return await plain.recv(_DATAGRAM)
        except ConnectionRefusedError:
            self.closed.add(address)
            raise

    async def _send(self, plain: trio.socket.SocketType) -> None:
        """What was put in the outbox since the last await: it is for this address."""
        for data, _ in self._inquiry.datagrams_to_send():
            await plain.send(data)


async def check_cluster(settings: Settings, random: Random | None = None) -> list[Finding]:
    """All of them. `random`: of the questions' names."""
    seeds = await resolve([str(seed) for seed in settings.seeds])
    try:
        own = await _own_address(settings, seeds)
    except (ConfigError, OSError) as error:
        return [fail("advertised address", str(error), "LEVEL4_GOSSIP_HOST, LEVEL4_GOSSIP_ADVERTISE")]
    findings = [*_advertised(settings, own), *await _seed_names(settings)]
    asked = Asked(settings, random or Random())
    await asked.ask({*seeds, own}, full=False)
    members = {member.address for member in asked.members.values()}
    await asked.ask(sorted(members - set(asked.at))[:_MOST], full=False)
    await asked.ask(asked.at, full=True)
    others = {*seeds, *members} - {own}
    for address in sorted(others | set(asked.at)):
        finding = await _verdict(settings, asked, address, member=address in members)
        findings.append(finding)
    findings += _company(settings, asked, own)
    if not settings.seeds and not asked.at:
        how = "by multicast" if settings.multicast else "by LEVEL4_SEEDS, and none are set"
        findings.append(ok("cluster", f"no seeds: nodes find each other {how}; none runs here"))
    return findings


async def _own_address(settings: Settings, seeds: list[Address]) -> Address:
    """Where others reach the gossip of a node with these settings."""
    host = settings.gossip_host
    answers = await trio.socket.getaddrinfo(host, settings.gossip_port or PORT, type=socket.SOCK_DGRAM)
    bound = str(answers[0][4][0]), int(answers[0][4][1])
    return advertised(settings.gossip_advertise, bound, seeds)


def _advertised(settings: Settings, own: Address) -> list[Finding]:
    check = "advertised address"
    problems = unreachable(settings, own[0], settings.rpc_port)
    if problems:
        return [fail(check, problem) for problem in problems]
    control = control_address(settings, own[0], settings.rpc_port)
    reach = " (this machine only)" if is_loopback(own[0]) else ""
    return [ok(check, f"gossip at {own[0]}:{own[1]} (UDP), calls at {control}{reach}")]


async def _seed_names(settings: Settings) -> list[Finding]:
    """Seeds that DNS does not know."""
    unknown = [str(seed) for seed in settings.seeds if not await resolve([str(seed)])]
    if not unknown:
        return []
    text = f"{', '.join(unknown)}: DNS does not know the name now"
    every = len(unknown) == len(settings.seeds)
    return [(fail if every else warn)("seeds", text, "LEVEL4_SEEDS; the node asks again and again")]


async def _verdict(settings: Settings, asked: Asked, address: Address, *, member: bool) -> Finding:
    where = f"{address[0]}:{address[1]}"
    found = asked.at.get(address)
    check = f"{'member' if member or found else 'seed'} {found.name if found else where}"
    if found is None:
        return await _silent(settings, asked, address, check, member)
    meta = decode_meta(found.meta)
    told = f"{where} answers; version {meta.version}, {meta.active} markets" if meta else f"{where} answers"
    if address not in asked.full_there:
        text = f"{told}; datagrams of {PROFILES[settings.swim_profile].packet_bytes} bytes do not get there"
        return fail(check, text, "the network drops large UDP datagrams: MTU, or fragments that a firewall drops")
    size = "full-size datagrams pass both ways" if address in asked.full_back else "full-size datagrams get there"
    return ok(check, f"{told}; {size}")


async def _silent(settings: Settings, asked: Asked, address: Address, check: str, member: bool) -> Finding:
    """Nobody answered there. Why, as far as anything tells?"""
    where = f"{address[0]}:{address[1]} (UDP)"
    judge = fail if member else warn
    if address in asked.closed:
        first = "; a new cluster's first node may find nobody" if not member else ""
        return judge(check, f"nothing listens at {where}{first}", "does a node run there? LEVEL4_GOSSIP_PORT")
    if (reason := await _refused(settings, address)) is not None:
        name = "LEVEL4_CLUSTER_KEYS" if reason in _KEYS else "LEVEL4_CLUSTER"
        text = f"the node at {where} hears us and does not believe us: {reason}"
        return fail(check, text, f"{name} is not that node's")
    if (node := await _answers_calls(settings, address[0])) is not None:
        text = f"node {node} answers calls at {address[0]}, but no gossip comes from {where}"
        return fail(check, text, "UDP is blocked, or LEVEL4_CLUSTER or LEVEL4_CLUSTER_KEYS are not that node's")
    text = f"no answer from {where} within {SECONDS:g} s"
    advice = "a firewall (UDP, both ways)? other LEVEL4_CLUSTER or LEVEL4_CLUSTER_KEYS? does a node run there?"
    return judge(check, text, advice)


async def _refused(settings: Settings, address: Address) -> str | None:
    """Why a node drops what we send, by its metrics: the count that rises when we ask again."""
    if not settings.http_port:
        return None
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client:
        try:
            before = await _dropped(client, f"http://{host}:{settings.http_port}/metrics")
            await Asked(settings, Random()).ask([address], full=False)
            after = await _dropped(client, f"http://{host}:{settings.http_port}/metrics")
        except (httpx.HTTPError, ValueError):
            return None
    risen = {reason: after[reason] - before[reason] for reason in after if after[reason] > before[reason]}
    return max(risen, key=lambda reason: risen[reason], default=None)


async def _dropped(client: httpx.AsyncClient, address: str) -> Counter[str]:
    answer = (await client.get(address)).raise_for_status()
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(answer.text):
        if family.name == "level4_cluster_dropped":
            for sample in family.samples:
                counts[sample.labels.get("reason", "")] += int(sample.value)
    return counts


async def _answers_calls(settings: Settings, host: str) -> str | None:
    """The name of the node whose control service answers on that machine."""
    with suppress(Level4Error, OSError):
        async with connect(host, settings.rpc_port, timeout=SECONDS, credentials=credentials_of(settings)) as control:
            nodes = await control.list_nodes()
            return nodes[0].name if nodes else None
    return None


def _company(settings: Settings, asked: Asked, own: Address) -> list[Finding]:
    """Whether those who are there fit together, and to this node."""
    findings = []
    holder = asked.members.get(settings.hostname)
    if holder is not None and holder.address != own:
        where = f"{holder.address[0]}:{holder.address[1]}"
        text = f"{settings.hostname} is the name of a node at {where}"
        findings.append(fail("name", text, "a node of this name would not start: give each a HOSTNAME of its own"))
    metas = [(name, decode_meta(member.meta)) for name, member in sorted(asked.members.items())]
    kafkas: dict[str, list[str]] = {}
    for name, meta in metas:
        if meta is not None and meta.kafka:
            kafkas.setdefault(meta.kafka, []).append(name)
    if len(kafkas) > 1:
        text = "; ".join(f"{', '.join(names)} on {kafka}" for kafka, names in sorted(kafkas.items()))
        findings.append(fail("cluster", f"its nodes are on different Kafka clusters: {text}", "KAFKA_ENDPOINTS"))
    elif metas:
        sealed = "sealed" if settings.cluster_keys is not None else "in clear"
        names = ", ".join(name for name, _ in metas)
        findings.append(ok("cluster", f"{settings.cluster}, {sealed}: {names}"))
    return findings
