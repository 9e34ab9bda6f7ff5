"""An address that goes on refusing us: halted with a reason that helps, asked for ever, taken up at once."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from fake_exchange import ADDRESS, SYMBOLS, FakeRestScheme, books, listing, rig, settled
from trio.testing import MockClock

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
        assert 60 <= len(r.transport.attempts) - attempts <= 600
        r.transport.refuse_always = None
        await trio.sleep(61)
        assert (r.state(1), r.state(2)) == ("LIVE", "LIVE")


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


async def test_no_connection_at_all_is_no_refusal(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.refuse_always = Disconnected(None, "cannot connect")
        await r.start(1)
        await trio.sleep(1000)
        assert "halted" not in r.published.statuses(1)


async def test_snapshots_that_are_refused(autojump_clock: MockClock) -> None:
    status = 451

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/list":
            return httpx.Response(200, content=listing(*SYMBOLS))
        return httpx.Response(status, content=json.dumps({"b": [["10", "1"]], "a": [["11", "1"]], "last": 100}))

    async with rig(FakeRestScheme, answer=answer) as r:
        await r.start(1)
        for _ in range(20):
            await trio.sleep(20)
            r.transport.open[-1].give('{"t":"nothing"}')
        assert r.state(1) == "HALTED"
        assert "https://api.fake.example has refused" in str(r.published.reasons(1, "halted")[0])
        status = 200
        for _ in range(4):
            await trio.sleep(20)
            r.transport.open[-1].give('{"t":"nothing"}')
        await settled()
        assert r.state(1) == "LIVE"
