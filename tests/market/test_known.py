"""Books whose snapshot was cut: right as long as the best is within what is known, deepened without a break, and never
silently wrong beyond."""

from __future__ import annotations

from random import Random

import pytest
from stage import Stage

from level4.book import Best, binance_spot, seeded_by_rest
from level4.book.rules import binance_futures, binance_futures_joins
from level4.market import Cause
from level4.market.kept import MAX_KEPT
from level4.market.known import Known
from level4.market.shadow import Shadow
from level4.model import FeedState, Level, Spread

SPOT = seeded_by_rest(joins=binance_spot, follows=binance_spot)
FUTURES = seeded_by_rest(joins=binance_futures_joins, follows=binance_futures)


def ladder(best: int, count: int, away: int) -> list[Level]:
    return [(str(best + away * number), "1") for number in range(count)]


def best(bid: str, ask: str) -> Best:
    return Best(bid, "1" if bid else "", ask, "1" if ask else "")


def test_marks_of_a_cut_book() -> None:
    known = Known(ladder(100, 10, -1), ladder(101, 4, +1), 10)
    assert known.cut
    assert not known.worn(best("95", "200")), "the asks are all there are"
    assert known.worn(best("94", "101"))
    assert not known.left(best("91", "101"))
    assert known.left(best("90.9", "101"))
    assert known.left(best("", "101"))
    assert not Known(ladder(100, 9, -1), [], 10).cut
    assert not Known(ladder(100, 10, -1), [], None).cut


def live(levels: int | None = 10, count: int = 10) -> Stage:
    stage = Stage(SPOT)
    stage.begin()
    seed(stage, levels, count)
    return stage


def seed(stage: Stage, levels: int | None, count: int, last: int = 1000) -> None:
    stage.market.levels = levels
    stage.market.snapshot(ladder(100, count, -1), ladder(101, count, +1), last)
    stage.market.levels = None
    stage.settle()


def take_bids(stage: Stage, first: int, last: int, number: int) -> None:
    """Prices from first down to last are gone."""
    stage.market.delta([(str(price), "0") for price in range(first, last - 1, -1)], [], number, number)
    stage.settle()


def spreads(stage: Stage) -> list[Spread]:
    return [event for event in stage.events if isinstance(event, Spread)]


def test_beyond_what_is_known_is_a_gap_and_the_next_snapshot_is_deeper() -> None:
    stage = live()
    take_bids(stage, 100, 92, 1001)
    assert (stage.state, stage.market.levels_wanted) == (FeedState.LIVE, 0)
    stage.market.delta([("50", "3")], [], 1002, 1002)
    stage.settle()
    stage.wishes.clear()
    take_bids(stage, 91, 91, 1003)
    assert stage.state is FeedState.SYNCING
    assert stage.wishes == ["fetch"]
    assert stage.market.stats.gaps == {Cause.DEPTH: 1}
    assert stage.market.levels_wanted == 11
    assert "50" not in [event.bid_price for event in spreads(stage)], "90 may well be there"


def test_a_whole_book_may_go_anywhere() -> None:
    for stage in (live(levels=11), live(levels=None)):
        take_bids(stage, 100, 91, 1001)
        assert stage.state is FeedState.LIVE
        assert (spreads(stage)[-1].bid_price, spreads(stage)[-1].ask_price) == (None, "101")
        assert not stage.market.wants_deeper(1000, leisure=True)


def test_a_snapshot_that_the_updates_have_left_at_once_is_not_believed() -> None:
    stage = Stage(SPOT)
    stage.begin()
    stage.market.delta([(str(price), "0") for price in range(100, 90, -1)], [], 1001, 1001)
    stage.settle()
    seed(stage, 10, 10)
    assert (stage.state, stage.market.stats.breaks[Cause.DEPTH]) == (FeedState.SYNCING, 1)
    assert spreads(stage) == []
    seed(stage, 100, 20, 1001)
    assert stage.state is FeedState.LIVE


def test_when_a_deeper_one_is_wanted() -> None:
    stage = live()
    market = stage.market
    assert not market.wants_deeper(1000, leisure=False)
    assert market.wants_deeper(1000, leisure=True)
    assert not market.wants_deeper(10, leisure=True)
    take_bids(stage, 100, 95, 1001)
    assert market.wants_deeper(10, leisure=False), "half is used up"
    market.delta([("100", "1")], [], 1002, 1002)
    stage.settle()
    assert not market.wants_deeper(10, leisure=False), "the market came back"
    take_bids(stage, 100, 95, 1003)
    market.expect_deeper()
    assert not market.wants_deeper(1000, leisure=True)
    market.forget_deeper()
    assert market.wants_deeper(1000, leisure=True)


def deepen(stage: Stage, count: int, last: int, levels: int = 100, *, bid: int = 100) -> None:
    stage.market.deepen(ladder(bid, count, -1), ladder(101, count, +1), last, levels, stage.now_ns, stage.now)
    stage.market.check()


def test_a_deeper_book_is_taken_over_with_the_updates_since_in_the_same_epoch() -> None:
    stage = live()
    stage.market.expect_deeper()
    stage.market.delta([("100", "0"), ("70", "9")], [], 1001, 1002)
    stage.settle()
    before = len(stage.events)
    deepen(stage, 50, 1000)
    assert len(stage.events) == before, "nothing shows"
    assert stage.market.stats.deepened == 1
    assert stage.market.book.bids.top(100)[0] == ("99", "1")
    assert ("70", "9") in stage.market.book.bids.top(100)
    assert len(stage.market.book.bids.top(100)) == 49
    stage.market.delta([("99", "0")], [], 1003, 1003)
    stage.settle()
    assert spreads(stage)[-1].bid_price == "98"
    assert len({event.epoch for event in spreads(stage)}) == 1
    assert [event.seq for event in spreads(stage)] == list(range(1, len(spreads(stage)) + 1))


def test_a_deeper_book_that_is_ahead_of_the_stream_waits_for_it_and_nothing_shows() -> None:
    stage = live()
    stage.market.expect_deeper()
    deepen(stage, 50, 1005, bid=99)
    stage.market.forget_deeper()  # its fetch is over
    assert not stage.market.wants_deeper(1000, leisure=True)
    for number in range(1001, 1005):
        stage.market.delta([(f"{99.1 + number / 10_000}", "1")], [], number, number)
        stage.settle()
        assert stage.market.stats.deepened == 0
    before = [event.bid_price for event in spreads(stage)]
    gone = [(f"{99.1 + number / 10_000}", "0") for number in range(1001, 1005)]
    stage.market.delta([("100", "0"), *gone, ("98.5", "4")], [], 1005, 1007)
    stage.settle()
    stage.market.check()
    assert stage.market.stats.deepened == 1
    assert [event.bid_price for event in spreads(stage)] == [*before, "99"], "once, by the update"
    assert ("50", "1") in stage.market.book.bids.top(100), "the deep part"
    assert stage.state is FeedState.LIVE
    assert len({event.epoch for event in spreads(stage)}) == 1


def test_a_deeper_book_that_the_stream_contradicts_when_it_gets_there_is_a_gap() -> None:
    stage = live()
    stage.market.expect_deeper()
    deepen(stage, 50, 1002, bid=99)
    for number in (1001, 1002):
        stage.market.delta([("98.5", "4")], [], number, number)
        stage.settle()
        assert stage.market.stats.deepened == 0
    assert FeedState.GAP in {event.state for event in spreads(stage)}


def test_with_its_book_a_waiting_deeper_one_goes_too() -> None:
    stage = live()
    stage.market.expect_deeper()
    deepen(stage, 50, 1005)
    stage.market.gap("test", stage.now_ns, stage.now)
    stage.market.snapshot(ladder(100, 5, -1), ladder(101, 5, +1), 2000)
    stage.settle()
    stage.market.delta([("98.5", "4")], [], 2001, 2001)
    stage.settle()
    assert stage.market.stats.deepened == 0


def test_a_shadow_whose_best_is_beyond_what_it_knows_is_not_believed() -> None:
    stage = live()
    shadow = Shadow(SPOT, [], ("book",), lambda: None)
    shadow.levels = 5
    shadow.snapshot(ladder(100, 5, -1), ladder(101, 5, +1), 1000)
    shadow.delta([(str(price), "0") for price in range(100, 95, -1)], [], 1001, 1001)
    shadow.settle(stage.now_ns, stage.now)
    stage.market.adopt(shadow, stage.now_ns, stage.now)
    assert (stage.state, stage.market.stats.gaps) == (FeedState.SYNCING, {Cause.DEPTH: 1})
    assert [event.state for event in spreads(stage)] == ["LIVE", "GAP"]


def test_an_older_one_is_dropped() -> None:
    stage = live()
    stage.market.delta([], [], 1001, 1001)
    stage.settle()
    stage.market.expect_deeper()
    stage.market.delta([("99", "7")], [], 1002, 1002)
    stage.settle()
    deepen(stage, 50, 999)
    assert (stage.market.stats.deepened, len(stage.market.book.bids.top(100))) == (0, 10)
    assert stage.state is FeedState.LIVE


def test_another_book_with_the_same_number_proves_ours_wrong() -> None:
    stage = live()
    stage.market.expect_deeper()
    deepen(stage, 50, 1000, bid=99)
    assert stage.state is FeedState.SYNCING
    assert stage.market.stats.gaps == {Cause.SNAPSHOT: 1}


@pytest.mark.parametrize("end", ["gap", "disconnected", "too many", "snapshot", "stale"])
def test_whatever_ends_the_book_ends_the_deepening(end: str) -> None:
    stage = live()
    market = stage.market
    market.expect_deeper()
    if end == "gap":
        market.gap("test", stage.now_ns, stage.now)
    elif end == "disconnected":
        market.disconnected("book", "test", stage.now_ns, stage.now)
    elif end == "too many":
        for number in range(MAX_KEPT + 1):
            market.delta([], [], 1001 + number, 1001 + number)
        stage.settle()
    elif end == "snapshot":
        seed(stage, 10, 10)
    else:
        market.stale("test", stage.now_ns, stage.now)
    state = stage.state
    deepen(stage, 50, 1000)
    assert (market.stats.deepened, stage.state) == (0, state)


@pytest.mark.parametrize("seed_number", range(30))
@pytest.mark.parametrize("sync", [SPOT, FUTURES], ids=["spot", "futures"])
def test_no_record_is_ever_wrong_whatever_the_market_does(sync: object, seed_number: int) -> None:
    """A market that wanders, snapshots that are cut, deepenings that come early, late and never."""
    random = Random(seed_number)
    stage = Stage(sync)  # type: ignore[arg-type]
    stage.begin()
    truth = {"b": {1000 - n: 1 for n in range(60)}, "a": {1001 + n: 1 for n in range(60)}}
    number, answers = 1000, list[tuple[int, int, list[Level], list[Level]]]()

    def shown(levels: int) -> tuple[list[Level], list[Level]]:
        bids = sorted(truth["b"].items(), reverse=True)[:levels]
        asks = sorted(truth["a"].items())[:levels]
        return [(str(p), str(s)) for p, s in bids], [(str(p), str(s)) for p, s in asks]

    def fetch() -> None:
        levels = 5 if stage.market.levels_wanted <= 5 or random.random() < 0.3 else 20
        stage.market.levels = levels
        stage.market.snapshot(*shown(levels), number)
        stage.market.levels = None
        stage.settle()

    fetch()
    for _ in range(400):
        stage.pass_time(0.1)
        side, move = random.choice("ba"), random.random()
        levels = truth[side]
        top = max(levels) if side == "b" else min(levels)
        away = -1 if side == "b" else 1
        if move < 0.5 and len(levels) > 3:
            price, size = top + away * min(int(random.expovariate(1)), 2), 0
        elif move < 0.7 and (better := top - away) not in truth["a" if side == "b" else "b"]:
            price, size = better, random.randint(1, 9)
        else:
            price, size = top + away * random.randint(0, 80), random.randint(1, 9)
        levels.pop(price, None)
        if size:
            levels[price] = size
        previous, number = number, number + 1
        change = [(str(price), str(size))]
        bids, asks = (change, []) if side == "b" else ([], change)
        stage.market.delta(bids, asks, number, number, previous if sync is FUTURES else None)
        stage.settle()
        if stage.state is FeedState.LIVE:
            record = spreads(stage)[-1]
            true = str(max(truth["b"])), str(min(truth["a"]))
            assert (record.bid_price, record.ask_price) == true, f"seed {seed_number} at {number}"
        elif random.random() < 0.3:
            fetch()
        if answers and random.random() < 0.3:
            last, asked, deep_bids, deep_asks = answers.pop()
            stage.market.deepen(deep_bids, deep_asks, last, asked, stage.now_ns, stage.now)
        elif not answers and stage.market.wants_deeper(20, leisure=random.random() < 0.1):
            stage.market.expect_deeper()
            answers.append((number, 20, *shown(20)))
        stage.market.check()
    assert stage.market.stats.deepened > 0
    assert stage.market.stats.gaps.keys() <= {Cause.DEPTH}
