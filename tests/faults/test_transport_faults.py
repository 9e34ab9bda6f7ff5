"""Each fault of a transport once for each transport, on real sockets: marked, and in the end LIVE with the exchange's
own book; no task is left behind."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from random import Random
from typing import Any

import pytest
import trio
import trustme
from wired import Wired, until, wired

from level4.exchanges.binance import BinanceSpot
from level4.exchanges.kraken import KrakenSpotV2
from level4.feeds import TRANSPORTS, AddressBook, scouting
from level4.market import resync
from level4.simulator import Channel, FaultKind, session


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes a second."""
    for scheme in (KrakenSpotV2, BinanceSpot):
        monkeypatch.setattr(scheme, "limits", dataclasses.replace(scheme.limits, silence_seconds=1.5))
    monkeypatch.setattr(resync, "PATIENCE_SECONDS", 1.0)


# -- the end of a connection ----------------------------------------------------------------------------------------


async def test_close_codes(transport: str) -> None:
    async with wired("KRAKEN", transport) as w:
        for number, code in enumerate((1000, 1001, 1008, 1011, 1012, 1013, 4000, 4408), 1):
            w.inject(FaultKind.CLOSE, code=code)
            await w.marked(number)
            await w.right()
            assert f"({code})" in w.reasons()
        assert w.disconnects() == number


async def test_an_end_without_a_goodbye(transport: str) -> None:
    async with wired("KRAKEN", transport) as w:
        assert await w.gate.cut()
        await w.marked()
        await w.right()
        assert w.disconnects() == 1


async def test_a_reset(transport: str) -> None:
    async with wired("BINANCE", transport) as w:
        w.inject(FaultKind.RESET)
        await w.marked()
        await w.right()


async def test_a_stall_with_the_socket_open(transport: str, impatient: None) -> None:
    async with wired("KRAKEN", transport) as w:
        w.inject(FaultKind.STALL)
        await w.marked()
        await w.right()
        w.inject(FaultKind.UNSTALL)
        await w.right()


async def test_half_open(transport: str, impatient: None) -> None:
    """Nothing passes in either direction, not even the handshake of the next connections, and nobody is told."""
    async with wired("KRAKEN", transport) as w:
        w.gate.freeze()
        await w.marked()
        await until(lambda: w.gate.accepted >= 3)
        assert w.state != "LIVE"
        w.gate.thaw()
        await w.right()


async def test_a_reader_that_is_too_slow(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange cuts off a client that does not keep up."""
    monkeypatch.setattr(session, "MAX_QUEUED_FRAMES", 40)
    async with wired("KRAKEN", transport) as w:
        w.inject(FaultKind.STALL)  # its frames pile up at the exchange, which is what a slow reader looks like there
        await w.marked()
        await w.right()
        assert "1008" in w.reasons()


# -- no connection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_connections_are_refused(transport: str, status: int) -> None:
    async with wired("KRAKEN", transport) as w:
        w.inject(FaultKind.REFUSE_CONNECTION, status=status, count=3)
        w.inject(FaultKind.RESET)
        await until(lambda: not w.simulator.pending_faults())
        await w.marked()
        await w.right()
        assert sum(stats.refused for stats in w.feeds.connections()) == 3


async def test_connections_end_before_the_handshake(transport: str) -> None:
    async with wired("KRAKEN", transport) as w:
        left = [3]

        def dropped(head: bytes) -> bool:
            left[0] -= 1
            return left[0] >= 0

        w.gate.dropped = dropped
        assert await w.gate.cut()
        await w.marked()
        await w.right()
        assert left[0] < 0


class Resolver(trio.abc.HostnameResolver):
    """Names that cannot be resolved for a while."""

    def __init__(self) -> None:
        self.failing = 0
        self.failed = 0

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - so is the argument called
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        await trio.lowlevel.checkpoint()
        if self.failing:
            self.failing -= 1
            self.failed += 1
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_the_name_of_the_exchange_cannot_be_resolved(transport: str) -> None:
    resolver = Resolver()
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        async with wired("KRAKEN", transport, host="exchange.test") as w:
            resolver.failing = 3
            assert await w.gate.cut()
            await w.marked()
            await w.right()
            assert resolver.failed == 3
            assert "cannot connect" in " ".join(str(stats.last_reason) for stats in w.feeds.connections())
    finally:
        trio.socket.set_custom_hostname_resolver(before)


TIMES_FASTER = 10


@pytest.mark.parametrize("how", ["tcp", "dns", "503", "silence"])
async def test_the_return_of_an_exchange_is_noticed(monkeypatch: pytest.MonkeyPatch, transport: str, how: str) -> None:
    """Away for longer than the delays of a series are short; time runs ten times faster where it matters here. In
    virtual time, and for twenty minutes, this is tests/feeds/test_outages.py."""
    for name in ("SCOUT_SECONDS", "HASTE_SECONDS", "_LEAST_PAUSE", "_SPREAD_SECONDS"):
        monkeypatch.setattr(scouting, name, getattr(scouting, name) / TIMES_FASTER)
    monkeypatch.setattr(scouting, "_PATIENT_EVERY", 1000)
    monkeypatch.setattr(KrakenSpotV2, "limits", dataclasses.replace(KrakenSpotV2.limits, connects=100_000))
    resolver = Resolver()
    before = trio.socket.set_custom_hostname_resolver(resolver)
    try:
        async with wired("KRAKEN", transport, host="exchange.test", random=Random(1)) as w:
            if how == "tcp":
                w.gate.close()
            elif how == "dns":
                resolver.failing = 1_000_000
            elif how == "503":
                w.inject(FaultKind.REFUSE_CONNECTION, status=503, count=1_000_000)
            else:
                w.gate.silent = True
            assert await w.gate.cut()
            await w.marked()
            await until(lambda: sum(stats.attempts for stats in w.feeds.connections()) >= 12)
            assert w.state == "GAP"
            if how == "tcp":
                await w.gate.open()
            resolver.failing = 0
            w.simulator.clear_faults()
            w.gate.silent = False
            returned = trio.current_time()
            await w.right()
            assert trio.current_time() - returned < 5.0 / TIMES_FASTER + 1.0, "a second is the machine's"
    finally:
        trio.socket.set_custom_hostname_resolver(before)


async def test_tls_that_cannot_be_trusted_for_a_while(transport: str) -> None:
    """The exchange's certificate is suddenly somebody else's, and then its own again."""
    authority, stranger = trustme.CA(), trustme.CA()
    contexts = []
    for each in (authority, stranger):
        contexts.append(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        each.issue_cert("localhost").configure_cert(contexts[-1])
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def addresses(gate: int, simulator: int) -> AddressBook:
        """The WebSocket over TLS through the gate; REST plainly to the simulator itself."""
        overrides = {"kraken.v2": f"wss://localhost:{gate}/ws.kraken.com/v2"}
        return AddressBook(websocket_overrides=overrides, simulator=f"127.0.0.1:{simulator}")

    def encrypted(w: Wired) -> None:
        w.gate.tls = contexts[0]

    async with wired("KRAKEN", transport, addresses=addresses, before=encrypted, ssl_context=trusting) as w:
        accepted = w.gate.accepted
        w.gate.tls = contexts[1]
        assert await w.gate.cut()
        await w.marked()
        await until(lambda: w.gate.accepted >= accepted + 3)
        assert w.state != "LIVE"
        w.gate.tls = contexts[0]
        await w.right()


# -- subscriptions --------------------------------------------------------------------------------------------------


async def test_a_refused_subscription(transport: str) -> None:
    async with wired("KRAKEN", transport, before=lambda w: w.inject(FaultKind.REFUSE_SUBSCRIPTION), live=False) as w:
        await until(lambda: "halted" in w.statuses())
        await w.right()


async def test_a_subscription_that_nobody_hears(transport: str, impatient: None) -> None:
    """The socket opens and is silent: what we say is thrown away."""

    def deaf(w: Wired) -> None:
        w.gate.deaf = True

    async with wired("BINANCE", transport, before=deaf, live=False) as w:
        await until(lambda: w.disconnects() >= 1)
        w.gate.deaf = False
        await w.right()


# -- REST -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [418, 429, 500, 503])
async def test_rest_refuses_the_snapshot(transport: str, status: int) -> None:
    async with wired("BINANCE", transport) as w:
        w.inject(FaultKind.REST_STATUS, path="depth", status=status, count=2, retry_after=1)
        w.inject(FaultKind.DROP, channel=Channel.BOOK)
        await w.marked()
        await until(lambda: not w.simulator.pending_faults())
        await w.right()
        assert w.feeds.markets()[0].stats.snapshot_errors == 2


@pytest.mark.parametrize("seconds", [0.5, 3.0], ids=["late", "too late"])
async def test_a_snapshot_that_takes_its_time(transport: str, seconds: float) -> None:
    """Updates are kept meanwhile; one that takes longer than we wait is asked for again."""
    async with wired("BINANCE", transport) as w:
        slow = [1]

        def delay(said: bytes) -> float:
            if b"/depth" not in said:
                return 0.0
            slow[0] -= 1
            return seconds if slow[0] >= 0 else 0.0

        w.gate.delay = delay
        assert await w.gate.cut()
        await w.marked()
        await w.right()
        assert w.feeds.markets()[0].stats.snapshot_errors == (seconds > 2.0)
