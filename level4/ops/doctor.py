"""Everything that can keep a node from doing its work, looked at before it does not.

Nothing is changed: no topic created, no market started. Each check is bounded in time and tells on its own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from contextlib import suppress

import httpx
import trio

from level4.exchanges import VENUES
from level4.feeds import TRANSPORTS
from level4.model import Level4Error, MarketType
from level4.ops.access import access_of, callable_host, credentials_of, warnings_of
from level4.ops.brokers import check_kafka
from level4.ops.cluster_check import check_cluster
from level4.ops.findings import Finding, fail, ok, warn
from level4.ops.kafka import kafka_settings
from level4.ops.machine import check_clock, check_descriptors, check_folder
from level4.ops.reach import check_exchanges
from level4.ops.settings import Settings
from level4.ops.values import Address
from level4.rpc.client import connect

_CALL_SECONDS = 3.0


async def examine(settings: Settings, exchanges: Collection[str] = ()) -> list[Finding]:
    """All checks. `exchanges`: names to look at; none: those of the settings' markets, or all there are."""
    kinds = _kinds(settings, exchanges)
    needed = bool(exchanges or settings.markets)
    findings = _settings(settings)
    findings.append(check_descriptors(settings.max_data_feeds))
    findings.append(check_folder(settings.cache_dir))
    findings.append(await _control_port(settings))
    if settings.http_port:
        free = _port("http port", settings.http_host, settings.http_port)
        findings.append(free or await _held(settings.http_host, settings.http_port))
    kafka = await _kafka(settings)
    reach = await check_exchanges(settings, kinds, needed, TRANSPORTS[settings.websocket_client]())
    cluster = await check_cluster(settings)
    return [*findings, *check_clock(reach.offsets), *kafka, *cluster, *reach.findings]


def _kinds(settings: Settings, exchanges: Collection[str]) -> list[tuple[str, MarketType]]:
    if exchanges:
        wanted = {name.upper() for name in exchanges}
        return [kind for kind in VENUES if kind[0] in wanted]
    kinds: set[tuple[str, MarketType]] = set()
    for market in settings.markets:
        all_types = [type_ for exchange, type_ in VENUES if exchange == market.exchange] or [MarketType.SPOT]
        kinds |= {(market.exchange, type_) for type_ in ([market.type] if market.type is not None else all_types)}
    return sorted(kinds) or list(VENUES)


def _settings(settings: Settings) -> list[Finding]:
    findings = [warn("settings", text) for text in warnings_of(settings)]
    try:
        access = access_of(settings)
    except Level4Error as error:
        return [*findings, fail("settings", str(error))]
    how = [
        "TLS" if access.tls is not None else "plaintext",
        *(["client certificates"] if settings.tls_ca is not None else []),
        *(["tokens"] if access.tokens is not None else []),
    ]
    given = sum(origin != "default" for origin in settings.origins.values())
    return [*findings, ok("settings", f"{given} are not defaults; control service: {', '.join(how)}")]


async def _kafka(settings: Settings) -> list[Finding]:
    try:
        kafka = kafka_settings(settings)
    except Level4Error as error:
        return [fail("kafka", str(error))]
    ids = [market.id for market in settings.markets]
    return await trio.to_thread.run_sync(check_kafka, kafka, ids, abandon_on_cancel=True)


def _port(check: str, host: str, port: int) -> Finding | None:
    """Whether the port can be bound; None: somebody has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return ok(check, f"{host}:{port} is free")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        return fail(check, f"{host}:{port} cannot be bound: {error.strerror or error}")


async def _held(host: str, port: int) -> Finding:
    """Who has the HTTP port."""
    address = str(Address(callable_host(host), port))
    async with httpx.AsyncClient(timeout=_CALL_SECONDS, trust_env=False) as client:
        try:
            answer = (await client.get(f"http://{address}/readyz")).json()
            name = answer["node"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            name = None
    if name is None:
        text = f"{host}:{port} is in use, and no node answers there"
        return fail("http port", text, "LEVEL4_HTTP_PORT chooses another")
    return ok("http port", f"node {name} answers on {host}:{port}")


async def _control_port(settings: Settings) -> Finding:
    host, port = settings.rpc_host, settings.rpc_port
    free = _port("control port", host, port)
    if free is not None:
        return free
    with suppress(Level4Error):
        address = callable_host(host)
        async with connect(address, port, timeout=_CALL_SECONDS, credentials=credentials_of(settings)) as control:
            names = sorted(node.name for node in await control.list_nodes())
            ready = "can host markets" if await control.is_serving() else "cannot host markets now"
            if settings.hostname in names:
                return ok("control port", f"a node answers on {host}:{port}; it {ready}; nodes: {', '.join(names)}")
            text = f"{host}:{port} is held by another node (it knows {', '.join(names)})"
            return fail("control port", text, "RPC_PORT chooses another")
    text = f"{host}:{port} is in use, and no node answers there"
    return fail("control port", text, "RPC_PORT chooses another; or are LEVEL4_TOKENS, LEVEL4_TLS_CA not the node's?")
