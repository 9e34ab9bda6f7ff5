"""The room's public face, and one market's task: starting and stopping, REST seeding, bugs, shutting down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio
from fake_exchange import (
    BOOK,
    SYMBOLS,
    TRADES,
    FakeRestScheme,
    FakeScheme,
    Rig,
    listing,
    request,
    rig,
    say,
    scheme_with,
    settled,
    snap,
    upd,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

from level4.exchanges.scheme import Limits
from level4.feeds import AddressBook, Disconnected, Feeds, FeedSettings, Instruments, Rest
from level4.market import Market
from level4.model import ConfigError, MarketRequest, MarketType, UnavailableError


class Depths:
    """A REST service with snapshots. `last` is the number of the next one; `failures` are answered first."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.failures: list[httpx.Response] = []
        self.last = 100
        self.delay = 0.0
        self.before_answer: Callable[[], None] = lambda: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/list":
            return httpx.Response(200, content=listing(*SYMBOLS))
        self.asked.append((trio.current_time(), request.url.params["symbol"]))
        if self.failures:
            return self.failures.pop(0)
        self.before_answer()
        await trio.sleep(self.delay)
        return httpx.Response(200, content=json.dumps({"b": [["10", "1"]], "a": [["11", "1"]], "last": self.last}))


def numbered(symbol: str, bid: str, first: int, last: int) -> str:
    return upd(symbol, bid, first=first, last=last)


# -- start and stop ---------------------------------------------------------------------------------------------


async def test_starting_names_what_is_wrong(autojump_clock: MockClock) -> None:
    async with rig() as r:
        await r.start(1)
        with pytest.raises(ConfigError, match="market id 1 runs on this node already"):
            await r.feeds.start(request(1), term=8)
        with pytest.raises(ConfigError, match="base ZZZ is not listed"):
            await r.feeds.start(MarketRequest(5, "FAKE", MarketType.SPOT, "ZZZ", "USD"), term=8)
        with pytest.raises(ConfigError, match="market 5 does not run on this node; it runs \\[1\\]"):
            await r.feeds.stop(5, "test")
        assert [view.request.id for view in r.feeds.markets()] == [1]


async def test_a_protocol_without_trades_is_refused_and_leaves_nothing(autojump_clock: MockClock) -> None:
    async with rig(scheme_with(websocket={BOOK: "wss://ws.fake.example"})) as r:
        with pytest.raises(ConfigError, match="carries no trades"):
            await r.feeds.start(request(1), term=7)
        assert r.published.events == []
        assert (r.feeds.markets(), r.feeds.connections()) == ([], [])


async def test_two_starts_of_one_id_at_once(autojump_clock: MockClock) -> None:
    async with rig() as r:
        outcomes: list[str] = []

        async def start() -> None:
            try:
                await r.feeds.start(request(1), term=7)
                outcomes.append("started")
            except ConfigError:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            nursery.start_soon(start)
        assert sorted(outcomes) == ["refused", "started"]


async def test_an_exchange_that_is_away_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    answers = [httpx.Response(503), httpx.Response(200, content=listing(*SYMBOLS))]
    async with rig(answer=lambda request: answers.pop(0)) as r:
        with pytest.raises(UnavailableError):
            await r.feeds.start(request(1), term=7)
        assert r.feeds.markets() == []
        await r.live(1)


async def test_views(autojump_clock: MockClock) -> None:
    async with rig() as r:
        await r.live(1)
        (view,) = r.feeds.markets()
        assert (view.request, view.term, view.state) == (request(1), 7, "LIVE")
        assert view.instrument.native_symbol == "AAA-USD"
        assert set(view.channels.values()) == {"wss://ws.fake.example/v1"}
        market = r.feeds.market(1)
        assert market is not None
        assert market.runs() == (1, 1)
        assert r.feeds.market(2) is None


async def test_a_stop_while_the_connection_is_down(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.refuse_always = Disconnected(None, "away")
        await r.start(1)
        await trio.sleep(5)
        await r.feeds.stop(1, "test")
        tries = len(r.transport.attempts)
        await trio.sleep(500)
        assert len(r.transport.attempts) == tries
        assert r.published.statuses(1)[-1] == "feed_stopped"


async def test_the_allowance_of_attempts_is_divided_among_nodes(autojump_clock: MockClock) -> None:
    limits = Limits(markets_per_connection=1, connects=4, connects_seconds=40.0)
    async with rig(scheme_with(limits=limits)) as r:
        r.feeds.share(2)
        await r.start(1, 2, 3)
        await trio.sleep(45)
        assert [round(at) for at in r.transport.attempts][:3] == [0, 0, 41]


async def test_timers_reach_the_market(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        for _ in range(4):
            await trio.sleep(10)
            socket.give(say("nothing"))
        assert [s.changed for s in r.published.spreads(1)][:4] == ["state", "none", "none", "none"]
        assert r.published.statuses(1).count("alive") >= 3


# -- REST-seeded books ------------------------------------------------------------------------------------------


async def test_the_snapshot_is_fetched_after_the_subscription(autojump_clock: MockClock) -> None:
    depths = Depths()
    slow = Limits(messages_per_second=0.5, symbols_per_message=1)
    async with rig(scheme_with(FakeRestScheme, limits=slow), answer=depths) as r:
        depths.before_answer = lambda: r.transport.sockets[0].give(numbered("BBB-USD", "10.7", 99, 101))
        await r.start(1, 2)
        r.transport.sockets[0].give(say("ack", s="AAA-USD", ch="book"))
        await settled()
        assert [symbol for _, symbol in depths.asked] == ["AAA-USD"]  # BBB's subscription waits for its turn
        await trio.sleep(5)  # no acknowledgement: the snapshot is fetched after a while all the same
        assert [symbol for _, symbol in depths.asked] == ["AAA-USD", "BBB-USD"]
        await settled()
        assert r.state(1) == r.state(2) == "LIVE"
        assert r.published.spreads(2)[-1].bid_price == "10.7"


async def test_waiting_for_the_rest_allowance_is_no_failed_repair(autojump_clock: MockClock) -> None:
    depths = Depths()
    scarce = Limits(rest_weight_per_minute=1, snapshot_weight=1)
    async with rig(scheme_with(FakeRestScheme, limits=scarce), answer=depths) as r:
        await r.start(1, 2, 3)
        for second in range(240):
            for symbol in ("AAA-USD", "BBB-USD", "CCC-USD"):
                r.transport.sockets[0].give(numbered(symbol, "10", 100 + second, 101 + second))
            await trio.sleep(1)
        assert [r.state(market) for market in (1, 2, 3)] == ["LIVE"] * 3
        assert "resync" not in [status for market in (1, 2, 3) for status in r.published.statuses(market)]
        assert len(depths.asked) == 3, "each snapshot was asked for once"
        assert len(r.transport.sockets) == 1


async def test_a_failed_snapshot_is_asked_for_again(autojump_clock: MockClock) -> None:
    depths = Depths()
    depths.failures = [
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "9"}),
        httpx.Response(200, content=b"<html>"),
    ]
    async with rig(FakeRestScheme, answer=depths) as r:
        await r.start(1)
        socket = r.transport.sockets[0]
        for _ in range(30):
            socket.give(numbered("AAA-USD", "10", 100, 101))
            await trio.sleep(1)
            if r.state(1) == "LIVE":
                break
        assert r.state(1) == "LIVE"
        assert len(depths.asked) == 4
        assert depths.asked[2][0] - depths.asked[1][0] >= 9
        assert r.feeds.markets()[0].stats.snapshot_errors == 2


async def test_a_gap_is_repaired_by_rest_alone(autojump_clock: MockClock) -> None:
    depths = Depths()
    async with rig(FakeRestScheme, answer=depths) as r:
        await r.start(1)
        socket = r.transport.sockets[0]
        socket.give(say("ack", s="AAA-USD", ch="book"))
        await settled()
        socket.give(numbered("AAA-USD", "10.1", 101, 102))
        await settled()
        assert r.published.spreads(1)[-1].bid_price == "10.1"
        depths.last = 109
        socket.give(numbered("AAA-USD", "10.2", 110, 110))
        await settled()
        assert [s.state for s in r.published.spreads(1)] == ["LIVE", "LIVE", "GAP", "LIVE"]
        assert r.published.spreads(1)[-1].bid_price == "10.2"
        assert socket.sent == ["sub book+trades AAA-USD"]


async def test_a_snapshot_of_an_earlier_subscription_is_thrown_away(autojump_clock: MockClock) -> None:
    depths = Depths()

    def cut_once() -> None:
        depths.before_answer = lambda: None
        r.transport.sockets[0].cut()

    async with rig(FakeRestScheme, answer=depths) as r:
        depths.before_answer = cut_once
        depths.delay = 0.1
        await r.start(1)
        await trio.sleep(5)
        assert len(r.transport.sockets) == 2
        assert len(depths.asked) == 2
        assert r.state(1) == "LIVE"
        assert r.published.statuses(1).count("live") == 1


# -- bugs -------------------------------------------------------------------------------------------------------


def _break(market: Market, method: str) -> None:
    def broken(*args: Any, **keywords: Any) -> None:
        raise AssertionError(f"a bug in {method}")

    setattr(market, method, broken)


def _break_class(patch: pytest.MonkeyPatch, method: str) -> None:
    def broken(*args: Any, **keywords: Any) -> None:
        raise AssertionError(f"a bug in {method}")

    patch.setattr(Market, method, broken)


@pytest.mark.parametrize("method", ["settle", "tick", "connected", "gap"])
async def test_a_bug_in_one_market_restarts_that_feed(method: str, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with rig() as r:
            socket = await r.live(1, 2)
            market = r.feeds.market(1)
            assert market is not None
            before = r.published.spreads(1)[-1]
            _break(market, method)
            if method == "settle":
                socket.give(upd("AAA-USD", "10.5"))
            elif method == "gap":
                socket.give(upd("AAA-USD", "10.5")[:-5])
            elif method == "connected":
                socket.cut()
            for _ in range(30):
                await trio.sleep(1)
                r.transport.open[-1].give(snap("AAA-USD", bid="9"), snap("BBB-USD"))
                await settled()
                if r.feeds.market(1) is not market and r.state(1) == "LIVE":
                    break
            after = r.published.spreads(1)[-1]
            assert r.state(1) == "LIVE"
            assert after.bid_price == "9"
            assert after.epoch > before.epoch
            assert "HALTED" in [s.state for s in r.published.spreads(1)] or method == "connected"
            assert r.feeds.markets()[0].stats.restarts == 1
            assert r.state(2) == "LIVE"
            assert r.published.statuses(2).count("halted") == 0
    (bug,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert bug["market"] == "1=FAKE:SPOT:AAA/USD"
    assert bug["exc_info"]


async def test_a_market_that_breaks_again_and_again_is_restarted_ever_more_slowly(autojump_clock: MockClock) -> None:
    with capture_logs():
        async with rig(random=Random(5)) as r:
            socket = await r.live(1, 2)
            for _ in range(300):
                market = r.feeds.market(1)
                assert market is not None
                _break(market, "tick")
                _break(market, "next_tick")
                await trio.sleep(1)
                socket.give(say("nothing"), upd("BBB-USD", "10"))
            restarts = r.feeds.markets()[0].stats.restarts
            assert 8 <= restarts <= 60
            assert r.published.statuses(2).count("gap") == 0


async def test_a_new_market_that_cannot_be_made_is_tried_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture_logs():
        async with rig() as r:
            await r.live(1, 2)
            market = r.feeds.market(1)
            assert market is not None
            _break(market, "tick")
            with monkeypatch.context() as patch:
                _break_class(patch, "start")
                await trio.sleep(15)
                r.transport.open[0].give(say("nothing"))
                assert r.feeds.markets()[0].stats.restarts >= 2
            for _ in range(60):
                await trio.sleep(1)
                r.transport.open[0].give(snap("AAA-USD"), say("nothing"))
                if r.state(1) == "LIVE" and r.feeds.market(1) is not market:
                    break
            assert r.state(1) == "LIVE"
            assert r.published.statuses(2).count("gap") == 0


async def test_a_bug_while_stopping_does_not_keep_the_market(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with rig() as r:
            await r.live(1)
            market = r.feeds.market(1)
            assert market is not None
            _break(market, "stop")
            await r.feeds.stop(1, "test")
            assert r.feeds.markets() == []
            await settled()
            assert r.transport.open == []
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["bug in a market as it stopped"]


# -- the end ----------------------------------------------------------------------------------------------------


async def test_cancellation_leaves_no_task_and_no_socket(autojump_clock: MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with rig(FakeScheme, trades=scheme_with(protocol="fake.other")) as r:
        await r.start(1, 2, 3)
        assert len(r.transport.open) == 2
        assert trio.lowlevel.current_statistics().tasks_living > before
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert r.transport.open == []


async def test_a_cancelled_stop_is_whole(autojump_clock: MockClock) -> None:
    async with rig() as r:
        await r.live(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await r.feeds.stop(1, "test")
        assert r.published.statuses(1)[-1] == "feed_stopped"
        await settled()
        assert r.transport.open == []


async def test_feeds_that_do_not_run_start_nothing(tmp_path: Path) -> None:
    async with Rest(transport=httpx.MockTransport(Depths())) as rest:
        published: list[object] = []
        feeds = Feeds(
            FeedSettings(node="node1"),
            publisher=Rig,  # type: ignore[arg-type] # never used
            venue=lambda _exchange, _type: type("V", (), {"book": FakeScheme, "trades": FakeScheme})(),
            transport=Rig,  # type: ignore[arg-type] # never used
            rest=rest,
            instruments=Instruments(rest, AddressBook()),
            random=Random(1),
        )
        with pytest.raises(UnavailableError, match="do not run"):
            await feeds.start(request(1), term=7)
        assert published == []


async def test_trades_by_another_protocol_use_its_own_symbols(autojump_clock: MockClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        symbols = [s.replace("-", "-x") for s in SYMBOLS] if request.url.path == "/other" else list(SYMBOLS)
        entries = [{"s": s, "b": s.split("-")[0], "q": "USD"} for s in symbols]
        return httpx.Response(200, content=json.dumps(entries))

    trades = scheme_with(
        protocol="fake.other", instruments_paths=("/other",), websocket={TRADES: "wss://trades.fake.example"}
    )
    async with rig(FakeScheme, trades=trades, answer=answer) as r:
        await r.start(1)
        assert r.transport.at("wss://trades.fake.example").sent == ["sub trades AAA-xUSD"]
