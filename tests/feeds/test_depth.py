"""How deep snapshots are taken: small ones while many markets wait, deeper ones at leisure and where the market moves;
in virtual time, and once against the simulator."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from fake_exchange import SYMBOLS, FakeRestScheme, Rig, listing, rig, scheme_with, settled, upd
from test_simulated import BTC, ETH, running
from trio.testing import MockClock

from level4.exchanges.binance import BinanceSpot
from level4.exchanges.scheme import Limits
from level4.feeds import depth as depth_module
from level4.market import Cause

IDS = (1, 2, 3, 4, 5)
LIMITS = Limits(rest_weight_per_minute=200, snapshot_weight=40, probe_weight=1)
SCHEME = scheme_with(FakeRestScheme, limits=LIMITS, snapshot_levels=((4, 5), (10, 40), (50, 90)))


class Ladders:
    """A REST service with a book of fifty levels a side, from 1000 and 1001 on."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.last = 100
        self.best = 1000
        self.status = 200

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/list":
            return httpx.Response(200, content=listing(*SYMBOLS))
        levels = int(request.url.params.get("limit", 10))
        self.asked.append((request.url.params["symbol"], levels))
        await trio.sleep(0.01)
        bids = [[str(self.best - number), "1"] for number in range(levels)]
        asks = [[str(1001 + number), "1"] for number in range(levels)]
        return httpx.Response(self.status, content=json.dumps({"b": bids, "a": asks, "last": self.last}))

    def levels(self, symbol: str) -> list[int]:
        return [levels for asked, levels in self.asked if asked == symbol]


def depth(r: Rig, market_id: int) -> int:
    market = r.feeds.market(market_id)
    assert market is not None
    return len(market.book.bids.top(1000))


def numbered(r: Rig, number: int, *prices: int, size: str = "0") -> None:
    """An update of the first market."""
    for price in prices:
        r.transport.sockets[0].give(upd("AAA-USD", str(price), size, first=number, last=number))


async def test_one_market_gets_the_usual_depth_at_once(autojump_clock: MockClock) -> None:
    ladders = Ladders()
    async with rig(SCHEME, answer=ladders) as r:
        await r.start(1)
        await trio.sleep(30)
        assert ladders.asked == [("AAA-USD", 10)]


async def test_many_markets_are_live_at_once_and_deeper_later(autojump_clock: MockClock) -> None:
    ladders = Ladders()
    async with rig(SCHEME, answer=ladders) as r:
        await r.start(*IDS)
        await trio.sleep(2.5)
        assert [r.state(market) for market in IDS] == ["LIVE"] * 5
        small = [market for market in IDS if depth(r, market) == 4]
        assert small, "the allowance is for two of the usual depth"
        assert [s.state for market in IDS for s in r.published.spreads(market)] == ["LIVE"] * 5
        for _ in range(20):
            await trio.sleep(20)
            r.transport.sockets[0].give('{"t":"nothing"}')
        assert [depth(r, market) for market in IDS] == [10] * 5
        assert {s.epoch for market in IDS for s in r.published.spreads(market)} == {7_000_001}
        assert {s.state for market in IDS for s in r.published.spreads(market)} == {"LIVE"}


async def test_a_market_that_moves_is_deepened_at_once_and_without_a_break(autojump_clock: MockClock) -> None:
    ladders = Ladders()
    async with rig(SCHEME, answer=ladders) as r:
        await r.start(1)
        await trio.sleep(2.5)
        for number in range(101, 107):
            numbered(r, number, 1101 - number)
        ladders.best, ladders.last = 994, 106
        await trio.sleep(2)
        assert ladders.levels("AAA-USD") == [10, 50]
        assert depth(r, 1) == 50
        assert r.published.spreads(1)[-1].bid_price == "994"
        assert [s.state for s in r.published.spreads(1) if s.changed == "state"] == ["LIVE"]


async def test_a_market_that_leaves_what_is_known_is_a_gap_and_comes_back_deeper(autojump_clock: MockClock) -> None:
    ladders = Ladders()
    async with rig(SCHEME, answer=ladders) as r:
        await r.start(1)
        await trio.sleep(2.5)
        ladders.best, ladders.last = 980, 101
        prices = [[str(price), "0"] for price in range(1000, 980, -1)]
        frame = {"t": "upd", "s": "AAA-USD", "b": prices, "a": [], "first": 101, "last": 101}
        r.transport.sockets[0].give(json.dumps(frame))
        await trio.sleep(3)
        assert [s.state for s in r.published.spreads(1) if s.changed == "state"] == ["LIVE", "GAP", "LIVE"]
        assert ladders.levels("AAA-USD") == [10, 50]
        assert r.published.spreads(1)[-1].bid_price == "980"
        (view,) = r.feeds.markets()
        assert view.stats.market.gaps == {Cause.DEPTH: 1}


async def test_a_deeper_snapshot_that_fails_or_comes_for_another_subscription_harms_nothing(
    autojump_clock: MockClock,
) -> None:
    ladders = Ladders()
    async with rig(SCHEME, answer=ladders) as r:
        await r.start(*IDS)
        await trio.sleep(2.5)
        ladders.status = 503
        for _ in range(6):
            await trio.sleep(20)
            r.transport.sockets[0].give('{"t":"nothing"}')
        assert len(ladders.asked) > 6
        told = [s.state for market in IDS for s in r.published.spreads(market)]
        assert set(told) <= {"LIVE", "STALE"}, "the probes fail, too"
        ladders.status = 200
        r.transport.sockets[0].cut()
        await trio.sleep(200)
        await settled()
        assert {r.state(market) for market in IDS} == {"LIVE"}


async def test_deepened_against_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Books of 50 levels, of which the first snapshots show a part: the walk soon comes near its end."""
    monkeypatch.setattr(BinanceSpot, "snapshot_levels", ((25, 5), (5000, 250)))
    monkeypatch.setattr(depth_module, "_LEISURE", 2.0)  # never
    async with running("BINANCE", rate=50.0) as r:
        await r.live(BTC, ETH)
        stats = {view.request.id: view.stats.market for view in r.feeds.markets()}
        with trio.fail_after(20):
            while not all(each.deepened for each in stats.values()):  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.05)
        await r.same_books(BTC, ETH)
        r.check_streams()
        assert {cause for each in stats.values() for cause in each.gaps} <= {Cause.DEPTH}
