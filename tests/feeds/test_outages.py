"""An address that refuses us, or is away: halted with a reason that helps, asked for ever, taken up within seconds."""

from __future__ import annotations

import json
from random import Random

import httpx
import pytest
import trio
from fake_exchange import (
    ADDRESS,
    SYMBOLS,
    FakeRestScheme,
    FakeTransport,
    books,
    listing,
    rig,
    scheme_with,
    settled,
    until,
)
from trio.testing import MockClock

from level4.exchanges.scheme import Limits
from level4.feeds import Disconnected


@pytest.mark.parametrize(
    ("status", "remedy"), [(451, "country"), (418, "banned"), (403, "not let in"), (503, "status")]
)
async def test_an_address_that_refuses_for_five_minutes(autojump_clock: MockClock, status: int, remedy: str) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        r.transport.refuse_always = Disconnected(status, "handshake rejected: not here")
        socket.cut()
        await trio.sleep(290)
        assert r.state(1) != "HALTED"
        await trio.sleep(80)
        assert r.state(1) == "HALTED"
        (reason,) = r.published.reasons(1, "halted")
        assert reason is not None
        for part in (ADDRESS, f"HTTP {status}", remedy, "not here", "for ever"):
            assert part in reason
        await r.start(2)
        attempts = len(r.transport.attempts)
        await trio.sleep(3600)
        assert r.state(2) == "HALTED"
        least, most = (900, 1800) if status == 503 else (60, 600)
        assert least <= len(r.transport.attempts) - attempts <= most
        r.transport.refuse_always = None
        await until(lambda: r.state(1) == r.state(2) == "LIVE", 61)


async def test_the_exchange_may_say_when_to_come_back(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        r.transport.refuse = [Disconnected(429, "too many", retry_after=45.0)]
        socket.cut()
        await trio.sleep(10)
        await trio.sleep(60)
        assert r.transport.attempts[2] - r.transport.attempts[1] >= 45
        assert r.state(1) == "LIVE"


AWAY = {
    "tcp": Disconnected(None, "cannot connect to ws.fake.example:443: connection refused", reached=False),
    "dns": Disconnected(None, "cannot connect to ws.fake.example:443: name not known", reached=False),
    "503": Disconnected(503, "handshake rejected with HTTP status 503"),
    "silence": None,
}


def away(transport: FakeTransport, how: str) -> None:
    transport.refuse_always, transport.silent = AWAY[how], how == "silence"
    for socket in transport.open:
        socket.cut("gone")


def back(transport: FakeTransport) -> None:
    transport.refuse_always, transport.silent = None, False


@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("markets", [1, 5])
async def test_an_exchange_that_is_away_for_twenty_minutes(autojump_clock: MockClock, how: str, markets: int) -> None:
    """Never given up, told once a reason, and LIVE within 5 s of its return, each market on a connection of its own.
    Only a return in the midst of one of the few patient attempts on a silent address is noticed later."""
    limits = Limits(markets_per_connection=1, connects=1000, connects_seconds=60.0)
    ids = range(1, markets + 1)
    async with rig(scheme_with(limits=limits), random=(random := Random(how))) as r:
        r.transport.answers = books
        await r.start(*ids)
        assert [r.state(each) for each in ids] == ["LIVE"] * markets
        waited = []
        for _ in range(20):
            away(r.transport, how)
            await trio.sleep(1200 + random.uniform(0, 60))
            assert [r.state(each) for each in ids] == ["HALTED"] * markets
            r.published.events.clear()
            back(r.transport)
            returned = trio.current_time()
            await until(lambda: all(r.state(each) == "LIVE" for each in ids))
            waited.append(trio.current_time() - returned)
            assert r.published.statuses(1).count("live") == 1
        assert max(waited) <= (11 if how == "silence" else 5), waited
        assert sum(seconds > 5 for seconds in waited) <= (10 if how == "silence" else 0), waited


async def test_an_exchange_that_opens_sockets_and_is_mute(autojump_clock: MockClock) -> None:
    """A socket without any frame is left after 30 s, and the next is made soon however long this has lasted."""
    async with rig() as r:
        r.transport.answers = books
        await r.start(1)
        waited = []
        for _ in range(10):
            r.transport.answers = None
            r.transport.open[0].cut("gone")
            await trio.sleep(1200)
            r.transport.answers = books
            returned = trio.current_time()
            await until(lambda: r.state(1) == "LIVE")
            waited.append(trio.current_time() - returned)
        assert max(waited) < 30 + 5, waited


@pytest.mark.parametrize("how", AWAY)
async def test_what_is_told_of_an_outage(autojump_clock: MockClock, how: str) -> None:
    async with rig() as r:
        r.transport.answers = books
        await r.start(1)
        away(r.transport, how)
        await trio.sleep(299)
        assert r.state(1) == "GAP"
        await trio.sleep(25)
        assert r.state(1) == "HALTED"
        (reason,) = r.published.reasons(1, "halted")
        assert reason is not None
        for part in (ADDRESS, "for 5 minutes", "for ever", "status page"):
            assert part in reason
        assert ("could not be reached" in reason) == (how != "503")
        told = r.published.reasons(1, "reconnecting")
        assert len(told) == 4 if how != "silence" else len(told) < 60, "once for each channel and reason"


async def test_one_scout_asks_and_wakes_the_others(autojump_clock: MockClock) -> None:
    limits = Limits(markets_per_connection=1, connects=1000, connects_seconds=60.0)
    async with rig(scheme_with(limits=limits)) as r:
        r.transport.answers = books
        await r.start(1, 2, 3, 4, 5)
        away(r.transport, "tcp")
        await trio.sleep(600)
        before = len(r.transport.attempts)
        await trio.sleep(600)
        asked = len(r.transport.attempts) - before
        assert 150 <= asked <= 300 + 4 * 30, "one every 2 to 4 s, the others every half minute"


async def test_the_scout_keeps_within_the_allowance_where_attempts_are_counted(autojump_clock: MockClock) -> None:
    limits = Limits(markets_per_connection=1, connects=10, connects_seconds=100.0)
    async with rig(scheme_with(limits=limits)) as r:
        r.transport.answers = books
        await r.start(1)
        for how, least, most in (("503", 50, 80), ("tcp", 240, 600)):
            away(r.transport, how)
            await trio.sleep(200)
            before = len(r.transport.attempts)
            await trio.sleep(1000)
            assert least <= len(r.transport.attempts) - before <= most
            back(r.transport)
            await until(lambda: r.state(1) == "LIVE", 20)


async def test_sockets_that_open_and_end_at_once_are_no_return(autojump_clock: MockClock) -> None:
    """They must not wake one another without end."""
    limits = Limits(markets_per_connection=1, connects=1000, connects_seconds=60.0)
    async with rig(scheme_with(limits=limits)) as r:

        def goodbye(text: str) -> list[str]:
            for socket in r.transport.open:
                socket.cut("try again later")
            return []

        r.transport.answers = goodbye
        await r.start(1, 2, 3)
        await trio.sleep(600)
        before = len(r.transport.attempts)
        await trio.sleep(1000)
        assert len(r.transport.attempts) - before <= 3 * 60


@pytest.mark.parametrize(("status", "said"), [(451, "has refused"), (None, "could not be reached")])
async def test_snapshots_that_cannot_be_had(autojump_clock: MockClock, status: int | None, said: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/list":
            return httpx.Response(200, content=listing(*SYMBOLS))
        if status is None:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(status, content=json.dumps({"b": [["10", "1"]], "a": [["11", "1"]], "last": 100}))

    async with rig(FakeRestScheme, answer=answer) as r:
        await r.start(1)
        market = r.feeds.market(1)
        assert market is not None
        for _ in range(20):
            await trio.sleep(20)
            assert "waits for its snapshot: GET" in str(market.reason) or r.state(1) == "HALTED"
            r.transport.open[-1].give('{"t":"nothing"}')
        assert r.state(1) == "HALTED"
        assert len(r.transport.sockets) == 1, "the connection cannot help it, and carries the trades"
        assert f"https://api.fake.example {said} for" in str(r.published.reasons(1, "halted")[0])
        status = 200
        for _ in range(4):
            await trio.sleep(20)
            r.transport.open[-1].give('{"t":"nothing"}')
        await settled()
        assert r.state(1) == "LIVE"
