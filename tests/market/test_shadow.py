"""A market that changes its connection: when it may, what it tells, and what it does with trades that come twice."""

from __future__ import annotations

import pytest
from stage import Stage, levels

from level4.book import Sync, binance_spot, seeded_by_rest, seeded_in_stream
from level4.market import Shadow
from level4.model import FeedState

STREAM = seeded_in_stream()
REST = seeded_by_rest(joins=binance_spot, follows=binance_spot)


def live(sync: Sync = STREAM, **options: object) -> Stage:
    stage = Stage(sync, **options)  # type: ignore[arg-type]  # options of Stage
    stage.begin()
    stage.market.snapshot(levels("10x1 9x2"), levels("11x1"), 100, exchange_time=1000)
    stage.settle()
    return stage


def shadow(stage: Stage, bids: str = "10x1 9x2", last: int = 100, time: int | None = 1000) -> Shadow:
    """A second source whose book has come."""
    stage.market.expect_shadow()
    made = Shadow(stage.sync, stage.frame, ("book", "trades"), lambda: stage.wishes.append("shadow fetch"))
    made.connected("book", stage.now_ns, stage.now)
    made.snapshot(levels(bids), levels("11x1"), last, exchange_time=time)
    settle(made, stage)
    return made


def settle(made: Shadow, stage: Stage) -> None:
    stage.frame.clear()
    made.settle(stage.now_ns, stage.now)
    made.check()


def test_the_same_book_goes_on_without_a_word_in_the_stream() -> None:
    stage = live()
    other = shadow(stage)
    assert other.ready(stage.market, stage.now)
    stage.market.adopt(other, stage.now_ns, stage.now)
    stage.delta("10.5x1", "")
    assert stage.told() == ["1.1 LIVE state 10x1 11x1", "1.2 LIVE bid 10.5x1 11x1"]
    assert stage.statuses()[-1] == "switched"


def test_a_newer_book_is_told_in_the_same_epoch() -> None:
    stage = live()
    stage.market.adopt(shadow(stage, "10.20x1", time=1001), stage.now_ns, stage.now)
    assert stage.told()[1:] == ["1.2 LIVE bid 10.2x1 11x1"]


@pytest.mark.parametrize(("sync", "last", "time"), [(REST, 99, 2000), (STREAM, 100, 999)])
def test_a_book_that_is_behind_waits_and_is_taken_at_last(sync: Sync, last: int, time: int) -> None:
    stage = live(sync)
    other = shadow(stage, "10.2x1", last, time)
    assert not other.ready(stage.market, stage.now)
    assert other.ready(stage.market, stage.now + 5)
    other.delta(levels("10.3x1"), [], 100, 101, exchange_time=2000)
    settle(other, stage)
    assert other.ready(stage.market, stage.now)


def test_a_snapshot_that_is_too_old_is_fetched_again() -> None:
    stage = live(REST)
    stage.wishes.clear()
    other = Shadow(REST, stage.frame, ("book",), lambda: stage.wishes.append("shadow fetch"))
    other.connected("book", stage.now_ns, stage.now)
    other.delta(levels("10x1"), [], 103, 104)
    other.snapshot(levels("10x1"), levels("11x1"), 100)
    settle(other, stage)
    assert stage.wishes == ["shadow fetch", "shadow fetch"]
    assert not other.whole()
    other.snapshot(levels("10x1"), levels("11x1"), 102)
    settle(other, stage)
    assert other.ready(stage.market, stage.now)


@pytest.mark.parametrize("contiguous", [True, False])
def test_trades_of_both_connections_are_published_once(contiguous: bool) -> None:
    stage = live(contiguous=contiguous)

    def trade(number: int) -> None:
        stage.market.trade("buy", "10", "1", str(number))
        stage.settle()

    trade(1)
    other = shadow(stage)
    trade(2)
    trade(3)
    other.trade("buy", "10", "1", "2")
    stage.market.adopt(other, stage.now_ns, stage.now)
    trade(3)
    trade(4)
    stage.market.forget_shadow()
    trade(5)
    assert [(t.trade_id, t.seq) for t in stage.trades()] == [(str(i), i) for i in range(1, 6)]
    assert stage.market.stats.trades_repeated == 2
    assert stage.market.stats.trades_lost == 0


def test_trades_that_did_not_overlap_are_a_new_epoch() -> None:
    stage = live()
    stage.market.trade("buy", "10", "1", "1")
    stage.settle()
    other = shadow(stage)
    other.trade("buy", "10", "1", "7")
    stage.market.adopt(other, stage.now_ns, stage.now, overlapped=False)
    assert [(t.epoch % 1_000_000, t.seq) for t in stage.trades()] == [(1, 1), (2, 1)]


@pytest.mark.parametrize("state", [FeedState.STALE, FeedState.GAP, FeedState.SYNCING, FeedState.HALTED])
def test_a_market_in_trouble_comes_back_by_its_shadow_in_a_new_epoch(state: FeedState) -> None:
    stage = live()
    other = shadow(stage, "10.2x1")
    market, when = stage.market, (stage.now_ns, stage.now)
    {
        FeedState.STALE: lambda: market.stale("silence", *when),
        FeedState.GAP: lambda: market.disconnected("book", "reset", *when),
        FeedState.SYNCING: lambda: market.gap("bad frame", *when),
        FeedState.HALTED: lambda: market.halt("maintenance", *when),
    }[state]()
    assert stage.state is state
    market.adopt(other, *when)
    assert stage.told()[-1] == "2.1 LIVE state 10.2x1 11x1"
    market.check()
    stage.pass_time(30)
    assert stage.wishes.count("reconnect") == 0


def test_a_shadow_that_breaks_is_of_no_use() -> None:
    stage = live()
    other = shadow(stage)
    other.refused("trades", "full", stage.now_ns, stage.now)
    assert (other.failed, other.whole()) == ("trades: full", False)


def test_the_last_trade_before_the_subscription_shows_a_loss_before_the_first() -> None:
    stage = live(contiguous=True)
    stage.market.last_trade("10")
    stage.market.trade("buy", "10", "1", "13")
    stage.settle()
    assert stage.market.stats.trades_lost == 2
    stage.market.last_trade("20")  # a later subscription: what was published counts
    stage.market.trade("buy", "10", "1", "14")
    stage.settle()
    assert stage.market.stats.trades_lost == 2


def test_the_offset_of_the_clocks_is_the_least_difference_of_a_minute() -> None:
    stage = live()
    for late_us in (5_000, 700, 90_000):
        stage.market.delta(levels(f"10x{late_us}"), [], exchange_time=stage.now_ns // 1000 - late_us)
        stage.settle()
    stage.pass_time(10)
    assert stage.market.stats.clock_us == 700
    for _ in range(7):
        stage.market.delta(levels(f"10x{stage.now}"), [], exchange_time=stage.now_ns // 1000 - 3_000_000)
        stage.settle()
        stage.pass_time(10)
    assert stage.market.stats.clock_us == 3_000_000
