"""Connections that are replaced before they end: the streams go on, no trade is missing and none comes twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import trio
from fake_exchange import FakeScheme, FakeVenue, books, rig, say, scheme_with, snap, until, upd
from test_simulated import BTC, ETH, EXCHANGES, running
from trio.testing import MockClock

from level4.exchanges import venue
from level4.exchanges.scheme import Limits, Scheme
from level4.feeds import Disconnected, Venue
from level4.model import MarketType


def trade(number: int) -> str:
    return say("trade", s="AAA-USD", p="10", id=str(number))


def numbered(**facts: Any) -> type[FakeScheme]:
    return scheme_with(contiguous_trade_ids=True, **facts)


async def test_the_new_connection_is_made_before_the_old_one_goes(autojump_clock: MockClock) -> None:
    async with rig(numbered()) as r:
        r.transport.answers = books
        old = await r.live(1, 2)
        old.give(trade(1), say("notice", what="reconnect"))
        await trio.sleep(0.2)
        assert len(r.transport.open) == 2
        new = r.transport.open[1]
        assert (old.closed, new.sent) == (False, ["sub book+trades AAA-USD,BBB-USD"])
        old.give(trade(2), trade(3), upd("AAA-USD", "9.5"))
        new.give(trade(2), trade(3), trade(4), upd("AAA-USD", "9.5"))
        await trio.sleep(2)
        assert old.closed
        new.give(trade(5), upd("AAA-USD", "10.5"))
        await trio.sleep(1)
        assert [t.trade_id for t in r.published.trades(1)] == ["1", "2", "3", "4", "5"]
        assert {t.epoch for t in r.published.trades(1)} == {s.epoch for s in r.published.spreads(1)} == {7_000_001}
        assert [s.bid_price for s in r.published.spreads(1)] == ["10", "10.5"]
        assert r.published.statuses(1).count("switched") == r.published.statuses(2).count("switched") == 1
        assert "gap" not in r.published.statuses(1)
        assert r.feeds.markets()[0].stats.market.trades_repeated == 2


async def test_what_the_new_book_has_is_told_at_the_switch(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = lambda text: [snap("AAA-USD", "10.2")] if text.startswith("sub") else []
        socket = await r.start_only(1)
        socket.give(say("notice", what="reconnect"))
        r.transport.answers = lambda text: [snap("AAA-USD", "10.3")] if text.startswith("sub") else []
        await trio.sleep(15)
        assert [(s.changed, s.bid_price) for s in r.published.spreads(1)][:2] == [("state", "10.2"), ("bid", "10.3")]


async def test_when_the_new_connection_fails_the_old_one_stays(autojump_clock: MockClock) -> None:
    limits = Limits(lifetime_seconds=2000.0, silence_seconds=10_000.0)
    async with rig(numbered(limits=limits)) as r:
        r.transport.answers = books
        old = await r.live(1)
        r.transport.refuse_always = Disconnected(503, "later")
        await trio.sleep(1985)
        assert r.transport.open == [old]
        assert r.state(1) == "LIVE"
        r.transport.refuse_always = None
        await trio.sleep(100)
        assert old not in r.transport.open
        assert {s.epoch for s in r.published.spreads(1)} == {7_000_001}


async def test_a_refused_market_stays_until_the_old_connection_goes(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        old = await r.live(1)
        r.transport.answers = lambda text: [say("refuse", s="AAA-USD", why="full")]
        old.give(say("notice", what="reconnect"))
        await trio.sleep(0.05)
        r.transport.answers = books
        await trio.sleep(20)
        assert old.closed, "the exchange has said that it will end"
        assert r.state(1) == "LIVE"
        assert {s.epoch for s in r.published.spreads(1)} == {7_000_001, 7_000_002}


async def test_an_old_connection_that_ends_too_early_costs_nothing_once_the_new_book_is_there(
    autojump_clock: MockClock,
) -> None:
    async with rig(numbered()) as r:
        r.transport.answers = books
        old = await r.live(1)
        old.give(trade(1), say("notice", what="reconnect"))
        await trio.sleep(0.2)
        old.cut()
        await trio.sleep(0.2)
        r.transport.open[-1].give(trade(2))
        await trio.sleep(5)
        assert {s.epoch for s in r.published.spreads(1)} == {7_000_001}
        assert [t.follows for t in r.published.trades(1)][1] is not None, "a new epoch, but proven to follow"
        assert r.state(1) == "LIVE"


async def test_a_market_stopped_meanwhile_is_gone_from_both(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        old = await r.live(1)
        old.give(say("notice", what="reconnect"))
        await trio.sleep(0.2)
        await r.feeds.stop(1, "test")
        await trio.sleep(5)
        assert r.transport.open == []
        assert r.feeds.connections() == []


def short_lived(seconds: float) -> Callable[[str, MarketType], Venue]:
    def of(scheme: type[Scheme]) -> type[Scheme]:
        return type(scheme.__name__, (scheme,), {"limits": replace(scheme.limits, lifetime_seconds=seconds)})

    def find(exchange: str, type_: MarketType) -> Venue:
        found = venue(exchange, type_)
        book = of(found.book)
        return FakeVenue(book, book if found.trades is found.book else of(found.trades))

    return find


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_streams_outlive_the_connections_of_real_sockets(exchange: str) -> None:
    async with running(exchange, venue=short_lived(150.0)) as r:  # three seconds: delays are a fiftieth here
        await until(lambda: all(r.published.statuses(m).count("switched") >= 2 for m in (BTC, ETH)), 40)
        await r.flows(BTC)
        await r.same_books(BTC, ETH)
        for market_id in (BTC, ETH):
            assert {s.epoch for s in r.published.spreads(market_id)} == {7_000_001}
            trades = r.published.trades(market_id)
            assert {t.epoch for t in trades} == {7_000_001}
            assert all(after.seq == before.seq + 1 for before, after in pairwise(trades))
            told = r.simulator.trades(exchange, r.native(market_id))
            assert told is not None
            ids = [each["id"] for each in told]
            first = ids.index(trades[0].trade_id or "")
            assert [t.trade_id for t in trades] == ids[first : first + len(trades)]
            assert len(trades) > 5
            assert {"gap", "stale"}.isdisjoint(r.published.statuses(market_id))
