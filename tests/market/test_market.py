"""The life of a market, read as minutes: what is told to consumers, and what is wished of the feed."""

from __future__ import annotations

import pytest
from stage import Stage

from level4.book import KRAKEN_CHECKSUM, binance_spot, seeded_by_rest, seeded_in_stream
from level4.book.checksum import KrakenChecksum
from level4.market import MAX_KEPT
from level4.model import TRANSITIONS, FeedState, Position, Spread, Status


def live(**options: object) -> Stage:
    stage = Stage(**options)  # type: ignore[arg-type]  # options of Stage
    stage.begin()
    stage.snapshot("10x1 9x2", "11x1 12x2")
    return stage


def test_the_first_record_is_the_whole_book_and_follows_nothing() -> None:
    stage = live()
    assert stage.told() == ["1.1 LIVE state 10x1 11x1"]
    record = stage.spreads()[0]
    assert record.follows is None
    assert record.mid_price == "10.5"
    assert record.epoch == 7_000_001
    assert stage.statuses() == ["feed_started", "snapshot", "live"]


def test_one_event_for_a_frame_with_the_sides_that_changed() -> None:
    stage = live()
    stage.market.delta([("10", "0"), ("10.5", "3.00")], [("11", "2")], exchange_time=5)
    stage.market.delta([], [("10.9", "1")])
    stage.settle()
    stage.delta("9x5", "12x7")
    stage.delta("10.50x3", "")
    stage.delta("", "10.9x4")
    assert stage.told()[1:] == ["1.2 LIVE both 10.5x3 10.9x1", "1.3 LIVE ask 10.5x3 10.9x4"]


def test_price_trigger_leaves_sizes_out() -> None:
    stage = live(trigger="price")
    stage.delta("10x7", "11x9")
    stage.delta("10.1x1", "")
    stage.delta("", "11x10")
    stage.delta("", "11x0")
    assert stage.told()[1:] == ["1.2 LIVE bid 10.1x1 11x9", "1.3 LIVE ask 10.1x1 12x2"]


def test_empty_sides_are_null_and_have_no_mid() -> None:
    stage = live()
    stage.delta("10x0 9x0", "")
    stage.delta("", "11x0 12x0")
    stage.delta("8x1", "")
    assert stage.told()[1:] == ["1.2 LIVE bid -x- 11x1", "1.3 LIVE ask -x- -x-", "1.4 LIVE bid 8x1 -x-"]
    assert [event.mid_price for event in stage.spreads()[1:]] == [None, None, None]


def test_a_crossed_book_is_told_as_it_is() -> None:
    stage = live()
    stage.delta("20x1", "")
    assert stage.told()[-1] == "1.2 LIVE bid 20x1 11x1"


def test_updates_before_the_snapshot_are_ignored_and_trades_are_not() -> None:
    stage = Stage()
    stage.begin()
    stage.delta("10x1", "11x1")
    stage.market.trade("buy", "10.50", "1", "4", 9)
    stage.settle()
    assert stage.told() == []
    assert [(t.side, t.price, t.seq, t.exchange_us, t.follows) for t in stage.trades()] == [("buy", "10.5", 1, 9, None)]


def test_trades_go_before_the_spread_of_their_frame() -> None:
    stage = live()
    stage.market.delta([("10", "0")], [])
    stage.market.trade("sell", "10", "1", None)
    stage.settle()
    assert [type(event).__name__ for event in stage.events[-2:]] == ["Trade", "Spread"]


def test_an_in_band_snapshot_without_a_gap_goes_on_in_the_epoch() -> None:
    stage = live()
    stage.snapshot("10x1 8x1", "11x1")
    stage.snapshot("10.1x1", "11x1")
    assert stage.told()[1:] == ["1.2 LIVE bid 10.1x1 11x1"]


def test_a_gap_is_marked_in_the_stream_and_the_book_comes_back_in_a_new_epoch() -> None:
    stage = live()
    stage.market.gap("a reason", stage.now_ns, stage.now)
    assert stage.state is FeedState.SYNCING
    assert stage.wishes == ["resubscribe"]
    stage.delta("10.1x1", "")
    stage.snapshot("10x1", "11x1")
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-", "2.1 LIVE state 10x1 11x1"]
    assert stage.spreads()[-1].follows is None
    assert stage.statuses()[3:] == ["gap", "resync", "snapshot", "live"]


def test_a_bad_checksum_is_a_gap_and_nothing_of_its_frame_is_told() -> None:
    stage = Stage(KRAKEN_CHECKSUM)
    stage.begin()
    stage.snapshot("10x1", "11x1")
    stage.market.delta([("10.5", "1")], [], checksum=1)
    stage.market.delta([("10.6", "1")], [], checksum=1)
    stage.settle()
    stage.delta("10.7x1", "")
    assert stage.told() == ["1.1 LIVE state 10x1 11x1", "1.2 GAP state -x- -x-"]
    reasons = [event.reason for event in stage.events if isinstance(event, Status) and event.event == "gap"]
    assert reasons == ["expected the book's checksum 1, ours differs"]


def test_a_snapshot_in_the_frame_that_broke_the_book_is_taken() -> None:
    stage = Stage(KRAKEN_CHECKSUM)
    stage.begin()
    stage.snapshot("10x1", "11x1")
    stage.market.delta([("10.5", "1")], [], checksum=1)
    stage.market.snapshot([("9", "1")], [("11", "1")])
    stage.settle()
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-", "2.1 LIVE state 9x1 11x1"]
    assert stage.wishes == []


@pytest.mark.parametrize("size", ["x", "1_0"])
def test_a_best_size_that_is_no_number_is_a_gap(size: str) -> None:
    stage = live()
    stage.delta(f"10.5x{size}", "")
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-"]
    assert stage.wishes == ["resubscribe"]


def test_a_time_that_cannot_be_read_is_null_and_counted() -> None:
    stage = live()
    stage.market.delta([("10.5", "1")], [], exchange_time="noon")
    stage.settle()
    assert stage.spreads()[-1].exchange_us is None
    assert stage.market.stats.bad_times == 1
    assert stage.state is FeedState.LIVE


def test_a_lost_connection_ends_both_streams_and_they_come_back_anew() -> None:
    stage = live()
    stage.market.trade("buy", "10", "1", None)
    stage.settle()
    for channel in ("book", "trades"):
        stage.market.disconnected(channel, "reset", stage.now_ns, stage.now)
    assert stage.state is FeedState.GAP
    stage.pass_time(35)
    assert stage.wishes == [], "without a connection nothing is asked for"
    for channel in ("book", "trades"):
        stage.market.connected(channel, stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    stage.market.trade("buy", "10", "1", None)
    stage.settle()
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-", "2.1 LIVE state 10x1 11x1"]
    assert [(t.epoch % 1_000_000, t.seq, t.follows) for t in stage.trades()] == [(1, 1, None), (2, 1, None)]


def test_a_book_resync_does_not_touch_the_trades() -> None:
    stage = live()
    stage.market.trade("buy", "10", "1", None)
    stage.market.gap("a reason", stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    stage.market.trade("buy", "10", "1", None)
    stage.settle()
    assert [(t.epoch % 1_000_000, t.seq) for t in stage.trades()] == [(1, 1), (1, 2)]


def test_contiguous_trade_ids_prove_a_loss_or_that_there_was_none() -> None:
    stage = live(contiguous=True)

    def trade(number: int) -> None:
        stage.market.trade("buy", "10", "1", str(number))
        stage.settle()

    trade(5)
    trade(6)
    trade(9)
    stage.market.disconnected("trades", "reset", stage.now_ns, stage.now)
    trade(10)
    stage.market.disconnected("trades", "reset", stage.now_ns, stage.now)
    trade(12)
    assert [(t.epoch % 1_000_000, t.seq, t.follows) for t in stage.trades()][2:] == [
        (2, 1, None),
        (3, 1, Position(7_000_002, 1)),
        (4, 1, None),
    ]
    lost = [event.lost for event in stage.events if isinstance(event, Status) and event.event == "gap"]
    assert lost == [2, 1]


def test_stale_is_marked_and_evidence_brings_the_book_back_in_the_same_epoch() -> None:
    stage = live()
    stage.market.stale("silence", stage.now_ns, stage.now)
    stage.market.trade("buy", "10", "1", None)
    stage.settle()
    assert stage.state is FeedState.STALE, "a trade says nothing about the book"
    stage.delta("9x5", "")
    assert stage.told()[1:] == ["1.2 STALE state -x- -x-", "1.3 LIVE state 10x1 11x1"]


def test_halted_is_marked_and_ends_with_a_new_subscription() -> None:
    stage = live()
    stage.market.halt("maintenance", stage.now_ns, stage.now)
    stage.market.halt("maintenance", stage.now_ns, stage.now)
    stage.delta("9x5", "")
    assert stage.state is FeedState.HALTED
    stage.market.connected("book", stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    assert stage.told()[1:] == ["1.2 HALTED state -x- -x-", "2.1 LIVE state 10x1 11x1"]


def test_a_refused_book_is_halted_and_asked_for_again_for_ever() -> None:
    stage = Stage()
    stage.begin()
    for _ in range(12):
        stage.market.refused("book", "no such pair", stage.now_ns, stage.now)
        assert stage.state is FeedState.HALTED
        waited = 0
        while not stage.wishes:
            stage.pass_time(1)
            waited += 1
        assert waited <= 61
        assert stage.wishes == ["resubscribe"]
        stage.wishes.clear()
        stage.market.connected("book", stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    assert stage.state is FeedState.LIVE


def test_stopped_is_marked_and_final() -> None:
    stage = live()
    stage.market.stop("asked to", stage.now_ns, stage.now)
    stage.market.stop("asked to", stage.now_ns, stage.now)
    stage.market.connected("book", stage.now_ns, stage.now)
    stage.market.gap("late", stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    stage.pass_time(100)
    assert stage.told()[1:] == ["1.2 STOPPED state -x- -x-"]
    assert stage.statuses()[-1] == "feed_stopped"


def test_silence_is_filled_every_ten_seconds_and_alive_carries_both_positions() -> None:
    stage = live()
    stage.market.trade("buy", "10", "1", None)
    stage.settle()
    stage.pass_time(5)
    stage.delta("10x3", "")
    stage.pass_time(9.9)
    assert stage.told()[2:] == []
    stage.pass_time(10.2)
    assert stage.told()[2:] == ["1.3 LIVE none 10x3 11x1", "1.4 LIVE none 10x3 11x1"]
    first, last = stage.spreads()[1], stage.spreads()[-1]
    assert (last.received_us, last.exchange_us) == (first.received_us, first.exchange_us)
    alive = [event for event in stage.events if isinstance(event, Status) and event.event == "alive"]
    assert [(event.spread, event.timesales) for event in alive] == [
        (Position(7_000_001, 2), Position(7_000_001, 1)),
        (Position(7_000_001, 3), Position(7_000_001, 1)),
    ]


def test_no_book_is_told_of_and_asked_for_with_growing_delays() -> None:
    stage = Stage()
    stage.begin()
    stage.pass_time(400)
    assert stage.wishes[:4] == ["resubscribe", "resubscribe", "reconnect", "resubscribe"]
    assert 5 <= len(stage.wishes) <= 12
    assert stage.told() == []


def test_a_wrong_book_is_repaired_by_itself_where_numbers_run_over_the_connection() -> None:
    stage = Stage(seeded_in_stream(checksum=KrakenChecksum, connection_sequence=True))
    stage.begin()
    stage.snapshot("10x1", "11x1")
    stage.market.delta([], [], checksum=1)
    stage.settle()
    assert stage.wishes == ["resubscribe"]


BINANCE = seeded_by_rest(joins=binance_spot, follows=binance_spot)


def test_updates_are_kept_for_the_rest_snapshot_and_joined() -> None:
    stage = Stage(BINANCE)
    stage.begin()
    assert stage.wishes == ["fetch"]
    stage.delta("10x9", "", 990, 995)
    stage.delta("10x2", "", 996, 1003)
    stage.delta("10.5x1", "", 1004, 1010)
    assert stage.told() == []
    stage.snapshot("10x1", "11x1", 1000)
    stage.delta("", "11x5", 1011, 1011)
    stage.delta("", "11x6", 1005, 1011)
    assert stage.told() == ["1.1 LIVE state 10.5x1 11x1", "1.2 LIVE ask 10.5x1 11x5"]


def test_a_snapshot_older_than_the_kept_updates_is_fetched_again() -> None:
    stage = Stage(BINANCE)
    stage.begin()
    stage.delta("10x2", "", 1003, 1004)
    stage.snapshot("10x1", "11x1", 1000)
    assert stage.told() == []
    assert stage.wishes == ["fetch", "fetch"]
    stage.snapshot("10x1", "11x1", 1000)
    assert stage.wishes == ["fetch", "fetch"], "the next one after a moment"
    stage.pass_time(1)
    assert stage.wishes == ["fetch"] * 3
    stage.snapshot("10x1", "11x1", 1002)
    assert stage.told() == ["1.1 LIVE state 10x2 11x1"]


def test_a_gap_keeps_the_update_that_showed_it() -> None:
    stage = Stage(BINANCE)
    stage.begin()
    stage.snapshot("10x1", "11x1", 1000)
    stage.delta("10x5", "", 1002, 1004)
    stage.delta("10.1x1", "", 1005, 1005)
    stage.snapshot("10x1", "11x1", 1003)
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-", "2.1 LIVE state 10.1x1 11x1"]


def test_kept_updates_are_bounded() -> None:
    stage = Stage(BINANCE)
    stage.begin()
    for i in range(MAX_KEPT + 10):
        stage.delta("10x1", "", i, i)
    stage.market.check()
    assert "resync" in stage.statuses()
    assert stage.state is FeedState.SYNCING


def test_every_state_is_in_the_table_and_no_other_way_is_taken() -> None:
    assert set(TRANSITIONS) == set(FeedState)
    assert all(after in TRANSITIONS for afters in TRANSITIONS.values() for after in afters)
    stage = Stage()
    with pytest.raises(RuntimeError, match="no way from STARTING to LIVE"):
        stage.market._enter(FeedState.LIVE, None)
    reached = {FeedState.STARTING}
    while more := {after for state in reached for after in TRANSITIONS[state]} - reached:
        reached |= more
    assert reached == set(FeedState)


def test_a_repeat_says_what_the_last_record_said() -> None:
    stage = live()
    stage.pass_time(11)
    first, repeat = stage.spreads()
    assert isinstance(repeat, Spread)
    assert (repeat.changed, repeat.seq) == ("none", first.seq + 1)
    assert repeat.mid_price == first.mid_price


def test_bad_frames_while_a_retry_is_due_do_not_put_it_off() -> None:
    stage = Stage(KRAKEN_CHECKSUM)
    stage.begin()
    for second in range(1, 20):
        stage.market.gap("bad frame", stage.now_ns, stage.now)
        stage.pass_time(1)
        assert len(stage.wishes) >= min(3, 1 + second // 4)


def test_numbers_that_begin_anew_are_a_gap_and_no_evidence() -> None:
    stage = Stage(BINANCE)
    stage.begin()
    stage.snapshot("10x1", "11x1", 1000)
    stage.delta("10x2", "", 1001, 1001)
    for number in range(1, 60):
        stage.delta(f"9x{number}", "", number, number)
    assert stage.told()[2:] == ["1.3 GAP state -x- -x-"]
    assert stage.wishes == ["fetch", "fetch"]
    stage.snapshot("9x59", "11x1", 59)
    stage.delta("9.5x1", "", 60, 60)
    assert stage.told()[3:] == ["2.1 LIVE state 9x59 11x1", "2.2 LIVE bid 9.5x1 11x1"]
    for number in range(61, 261):
        stage.delta("9.5x1", "", 60, 60)
        stage.delta("9.5x3", "", number, number)
    assert stage.state is FeedState.LIVE, "a repeated message now and then is none"
