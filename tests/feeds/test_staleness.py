"""Frozen markets through the whole room: in virtual time on fakes, and on real sockets against the simulator."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from fake_exchange import SYMBOLS, FakeRestScheme, books, listing, rig, scheme_with, settled, until, upd
from test_simulated import BTC, ETH, EXCHANGES, running
from trio.testing import MockClock

from level4.exchanges.scheme import Limits
from level4.simulator import Fault, FaultKind


async def test_a_frozen_market_is_stale_in_three_seconds_and_live_by_itself(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1, 2)
        socket.answers = None
        for number in range(100):
            await trio.sleep(0.05)
            socket.give(upd("AAA-USD", "9", str(number + 1)), upd("BBB-USD", "9", str(number + 1)))
        for number in range(60):  # the neighbour lives on
            await trio.sleep(0.05)
            socket.give(upd("BBB-USD", "9", str(number + 1)))
        assert "stale" in r.published.statuses(1)
        assert socket.sent[1:3] == ["unsub book AAA-USD", "sub book AAA-USD"]
        for number in range(40):
            await trio.sleep(0.05)
            socket.give(upd("BBB-USD", "9", str(number + 1)))
        assert (r.state(1), r.state(2)) == ("LIVE", "LIVE")
        assert [s.state for s in r.published.spreads(1) if s.changed == "state"] == ["LIVE", "STALE", "GAP", "LIVE"]
        assert {s.state for s in r.published.spreads(2)} == {"LIVE"}
        assert len(r.transport.open) == 2


async def test_a_quiet_market_is_asked_by_a_subscription_that_nobody_notices(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        socket_silence = 25
        for _ in range(3600 // socket_silence):
            await trio.sleep(socket_silence)
            socket.give('{"t":"nothing"}')
        assert 4 < socket.sent.count("sub book AAA-USD") < 10
        assert len(r.transport.sockets) == 1
        assert {s.epoch for s in r.published.spreads(1)} == {7_000_001}
        assert {s.state for s in r.published.spreads(1)} == {"LIVE"}


class Tops:
    """REST with a list and with snapshots whose best bid a test sets."""

    def __init__(self) -> None:
        self.bid, self.last = "10", 100
        self.status = 200
        self.asked = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/list":
            return httpx.Response(200, content=listing(*SYMBOLS))
        self.asked += 1
        await trio.sleep(0.05)
        book = {"b": [[self.bid, "1"]], "a": [["11", "1"]], "last": self.last}
        return httpx.Response(self.status, content=json.dumps(book))


@pytest.mark.parametrize("trouble", ["another book", "503", "nonsense"])
async def test_rest_is_asked_where_rest_seeds_the_book(autojump_clock: MockClock, trouble: str) -> None:
    tops = Tops()
    async with rig(FakeRestScheme, answer=tops) as r:
        await r.start(1)
        await trio.sleep(3)
        assert r.state(1) == "LIVE"
        seeded = tops.asked
        await trio.sleep(20)
        r.transport.open[0].give('{"t":"nothing"}')
        await trio.sleep(20)
        r.transport.open[0].give('{"t":"nothing"}')
        await trio.sleep(20)
        assert tops.asked == seeded + 1, "the first probe, which agreed"
        assert r.state(1) == "LIVE"
        if trouble == "another book":
            tops.bid, tops.last = "10.5", 101
        elif trouble == "503":
            tops.status = 503
        else:
            tops.bid, tops.last = "x", 101
        for _ in range(4):
            r.transport.open[0].give('{"t":"nothing"}')
            await trio.sleep(16)
        assert [s.state for s in r.published.spreads(1) if s.changed == "state"][1] == "STALE"
        if trouble == "503":
            assert r.state(1) == "STALE", "the book may still be right: no reconnection, only the question again"
            tops.status = 200
            r.transport.open[0].give('{"t":"nothing"}')
            await trio.sleep(20)
            assert r.published.spreads(1)[-1].epoch == 7_000_001
        await trio.sleep(5)
        if trouble != "nonsense":
            assert r.state(1) == "LIVE"


async def test_a_probe_does_not_wait_behind_snapshots_that_wait_for_the_allowance(autojump_clock: MockClock) -> None:
    tops = Tops()
    scarce = Limits(rest_weight_per_minute=24, snapshot_weight=9, probe_weight=1)
    async with rig(scheme_with(FakeRestScheme, limits=scarce), answer=tops) as r:
        await r.start(1, 2, 3, 4, 5)
        for _ in range(12):
            await trio.sleep(20)
            r.transport.open[0].give('{"t":"nothing"}')
        assert [r.state(market) for market in (1, 2, 3, 4, 5)] == ["LIVE"] * 5
        assert tops.asked > 5, "there were probes"
        assert "stale" not in [status for market in (1, 2, 3, 4, 5) for status in r.published.statuses(market)]


async def test_a_probe_is_void_when_its_socket_goes(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        socket.answers = None
        for number in range(30):
            await trio.sleep(0.05)
            socket.give(upd("AAA-USD", "9", str(number + 1)))
        await trio.sleep(2.1)
        socket.cut()
        await trio.sleep(1.5)
        await settled()
        assert [s.state for s in r.published.spreads(1)] == ["LIVE", "GAP", "LIVE"]


@pytest.mark.parametrize(
    ("exchange", "market"),
    # frames lost of a Coinbase market break the numbers of its connection, which is seen at once
    [*((exchange, False) for exchange in EXCHANGES), ("KRAKEN", True), ("BINANCE", True)],
)
async def test_frozen_on_real_sockets(exchange: str, market: bool) -> None:
    async with running(exchange, rate=20.0) as r:
        await r.knows_rate(BTC)
        await r.knows_rate(ETH)
        native = r.native(BTC) if market else None
        r.simulator.inject(Fault(FaultKind.STALL, exchange=exchange, market=native))
        started = trio.current_time()
        await until(lambda: "stale" in r.published.statuses(BTC), 10)
        assert trio.current_time() - started < 3.2  # a fifth of a second is the machine's
        await r.live(BTC, ETH)
        assert trio.current_time() - started < 10
        r.simulator.inject(Fault(FaultKind.UNSTALL, exchange=exchange))
        await r.same_books(BTC, ETH)
        if market:
            assert "stale" not in r.published.statuses(ETH)
