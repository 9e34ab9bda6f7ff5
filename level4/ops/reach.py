"""Checks of the way to the exchanges: each address that the wanted markets need is really connected to."""

from __future__ import annotations

import datetime
import email.utils
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import httpx
import trio

from level4.exchanges import venue
from level4.exchanges.scheme import Channel
from level4.feeds import AddressBook
from level4.feeds.transport import Disconnected, Transport
from level4.model import ConfigError, MarketType
from level4.ops.findings import Finding, fail, ok, warn
from level4.ops.settings import Settings

SECONDS = 8.0
_AT_ONCE = 8
_MESSAGE_BYTES = 2**20
_ELSEWHERE = {403: "refuses this address", 451: "does not serve this country", 429: "asks for fewer requests",
              418: "has banned this address"}  # fmt: skip


@dataclass
class Reach:
    """What was found on the way. `offsets`: seconds by which the servers' clocks are ahead of ours."""

    findings: list[Finding] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)


def address_book(settings: Settings) -> AddressBook:
    """Where the exchanges are, with these settings."""

    def of_kind(kind: str) -> dict[str, str]:
        suffix = f".{kind}"
        given = settings.endpoints.items()
        return {name.removesuffix(suffix): address for name, address in given if name.endswith(suffix)}

    return AddressBook(
        websocket_overrides=of_kind("websocket"),
        rest_overrides=of_kind("rest"),
        simulator=None if settings.simulator is None else str(settings.simulator),
    )


async def check_exchanges(
    settings: Settings, kinds: Collection[tuple[str, MarketType]], needed: bool, transport: Transport
) -> Reach:
    """`kinds`: exchanges and types to look at. `needed`: whether what cannot be reached is a failure."""
    reach = Reach()
    try:
        sockets, hosts = _addresses(settings, kinds)
    except ConfigError as error:
        return Reach([fail("exchanges", str(error), "LEVEL4_PROTOCOLS and LEVEL4_ENDPOINTS")])
    limit = trio.CapacityLimiter(_AT_ONCE)
    async with httpx.AsyncClient(timeout=SECONDS, trust_env=False) as client, trio.open_nursery() as nursery:

        async def limited(look: Callable[[], Awaitable[None]]) -> None:
            async with limit:
                await look()

        for address, users in sockets.items():
            nursery.start_soon(limited, partial(_websocket, reach, transport, address, users, needed))
        for address, users in hosts.items():
            nursery.start_soon(limited, partial(_rest, reach, client, address, users, needed))
    reach.findings.sort(key=lambda finding: finding.check)
    return reach


def _addresses(
    settings: Settings, kinds: Iterable[tuple[str, MarketType]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """WebSocket and REST addresses, each with the protocols that use it."""
    book = address_book(settings)
    sockets: dict[str, list[str]] = {}
    hosts: dict[str, list[str]] = {}
    for exchange, kind in kinds:
        served = venue(exchange, kind, settings.protocols)
        for scheme, channel in ((served.book, Channel.BOOK), (served.trades, Channel.TRADES)):
            for table, address in ((sockets, book.websocket(scheme, channel)), (hosts, book.rest(scheme))):
                users = table.setdefault(address, []) if address else []
                if scheme.protocol not in users:
                    users.append(scheme.protocol)
    return sockets, hosts


async def _websocket(
    reach: Reach, transport: Transport, address: str, users: Sequence[str], needed: bool
) -> None:
    check = f"websocket {', '.join(users)}"
    began = trio.current_time()
    try:
        with trio.fail_after(SECONDS):
            async with transport.connect(address, _MESSAGE_BYTES):
                seconds = trio.current_time() - began
        reach.findings.append(ok(check, f"{address} opened in {1000 * seconds:.0f} ms"))
    except Disconnected as error:
        if error.code in _ELSEWHERE:
            reach.findings.append(_unreached(check, f"{address} {_ELSEWHERE[error.code]} ({error.code})", needed))
        else:
            reach.findings.append(_unreached(check, f"{address}: {error}", needed))
    except trio.TooSlowError:
        reach.findings.append(_unreached(check, f"{address}: nothing within {SECONDS:g} s", needed))


async def _rest(
    reach: Reach, client: httpx.AsyncClient, address: str, users: Sequence[str], needed: bool
) -> None:
    check = f"rest {', '.join(users)}"
    began = time.time()
    try:
        answer = await client.get(address)
    except httpx.HTTPError as error:
        reach.findings.append(_unreached(check, f"{address}: {type(error).__name__}: {error}", needed))
        return
    ended = time.time()
    date = answer.headers.get("date")
    if date:
        reach.offsets.append(_seconds_ahead(date, (began + ended) / 2))
    if answer.status_code in _ELSEWHERE:
        text = f"{address} {_ELSEWHERE[answer.status_code]} ({answer.status_code})"
        reach.findings.append(_unreached(check, text, needed))
    else:
        reach.findings.append(ok(check, f"{address} answered in {1000 * (ended - began):.0f} ms"))


def _seconds_ahead(date: str, ours: float) -> float:
    """How far a `Date` header is ahead. It is cut to whole seconds, so half of one is added."""
    try:
        theirs = email.utils.parsedate_to_datetime(date).astimezone(datetime.UTC).timestamp()
    except ValueError:
        return 0.0
    return theirs + 0.5 - ours


def _unreached(check: str, text: str, needed: bool) -> Finding:
    advice = "firewall, proxy, DNS? LEVEL4_ENDPOINTS names another address"
    return fail(check, text, advice) if needed else warn(check, text, advice)
