"""When a market is called STALE: soon after it froze, and never while it is only quiet."""

from __future__ import annotations

from math import exp, log
from random import Random
from statistics import NormalDist

import pytest
from stage import Stage

from level4.book import Sync, binance_spot, seeded_by_rest, seeded_in_stream
from level4.market.freshness import (
    KNOWN_GAPS,
    LEAST_SECONDS,
    UNKNOWN_SECONDS,
    WINDOW_SECONDS,
    WINDOW_UPDATES,
    Doubt,
    Freshness,
)
from level4.model import FeedState, Status

STREAM = seeded_in_stream()
REST = seeded_by_rest(joins=binance_spot, follows=binance_spot)
BOTH = pytest.mark.parametrize("sync", [STREAM, REST], ids=["stream", "rest"])


def live(sync: Sync, rate: float = 20.0, updates: int = 100) -> Stage:
    """A market that had so many updates at that rate."""
    stage = Stage(sync)
    stage.begin()
    stage.snapshot("10x1 9x2", "11x1 12x2", 1000)
    for number in range(updates):
        stage.pass_time(1 / rate)
        update(stage, 1001 + number)
    stage.wishes.clear()
    return stage


def update(stage: Stage, number: int) -> None:
    stage.delta(f"9x{number}", "", number, number)


def reasons(stage: Stage, kind: str) -> list[str | None]:
    return [event.reason for event in stage.events if isinstance(event, Status) and event.event == kind]


# -- how much silence is harmless ---------------------------------------------------------------------------------


def hear(freshness: Freshness, gaps: list[float], start: float = 0.0) -> float:
    now = start
    for gap in gaps:
        now += gap
        freshness.heard(now)
    freshness.check()
    return now


def test_sixty_seconds_until_twenty_gaps_are_known_then_three_times_the_longest() -> None:
    freshness = Freshness()
    freshness.begin(0.0)
    now = hear(freshness, [0.1] * (KNOWN_GAPS - 1))
    assert freshness.limit() == UNKNOWN_SECONDS
    now = hear(freshness, [0.1], now)
    assert freshness.limit() == LEAST_SECONDS
    now = hear(freshness, [1.0, 0.5], now)
    assert freshness.limit() == 3.0
    assert freshness.due() == now + 3.0


def test_a_gap_is_forgotten_after_a_thousand_updates() -> None:
    freshness = Freshness()
    now = hear(freshness, [0.1] * 50 + [30.0])
    now = hear(freshness, [0.1] * (WINDOW_UPDATES - 1), now)
    assert freshness.limit() == 90.0
    hear(freshness, [0.1], now)
    assert freshness.limit() == LEAST_SECONDS


def test_a_gap_is_forgotten_after_an_hour_but_never_among_the_last_twenty() -> None:
    freshness = Freshness()
    now = hear(freshness, [100.0] + [60.0] * 21)
    assert freshness.limit() == 300.0
    now = hear(freshness, [60.0] * 40, now)
    assert now > WINDOW_SECONDS
    assert freshness.limit() == 180.0
    slow = Freshness()
    hear(slow, [1000.0] + [600.0] * (KNOWN_GAPS - 1))
    assert slow.limit() == 3000.0


def test_what_is_remembered_is_bounded() -> None:
    freshness = Freshness()
    hear(freshness, [5000.0 - i for i in range(4 * WINDOW_UPDATES)])
    freshness.check()


@pytest.mark.parametrize("rate", [0.003, 0.03, 0.3, 2.0, 20.0])
def test_the_longest_gap_is_that_of_a_plain_search(rate: float) -> None:
    random = Random(str(rate))
    freshness, ends, gaps, now = Freshness(), list[float](), list[float](), 0.0
    freshness.begin(now)
    for number in range(1, 4000):
        gap = random.lognormvariate(0, 2) / rate
        now += gap
        freshness.heard(now)
        ends.append(now)
        gaps.append(gap)
        if number % 7 == 0 and number >= KNOWN_GAPS:
            window = [
                gap
                for i, (gap, end) in enumerate(zip(gaps, ends, strict=True))
                if i >= number - KNOWN_GAPS or (i >= number - WINDOW_UPDATES and now - end <= WINDOW_SECONDS)
            ]
            assert freshness.limit() == pytest.approx(max(2.0, 3 * max(window)))


# -- frozen -------------------------------------------------------------------------------------------------------


@BOTH
def test_a_busy_market_that_freezes_is_stale_within_three_seconds(sync: Sync) -> None:
    stage = live(sync)
    stage.pass_time(3)
    assert stage.state is FeedState.STALE
    assert stage.wishes[0] == "probe"
    assert stage.told()[-1] == "1.2 STALE state -x- -x-"
    assert stage.market.stats.stale == stage.market.stats.probes_failed == 1


def test_a_probe_that_was_not_sent_yet_says_nothing() -> None:
    stage = live(REST)
    for _ in range(100):
        stage.pass_time(0.1)
        stage.market.probe_waits(stage.now)
    assert (stage.wishes, stage.state) == (["probe"], FeedState.LIVE)
    stage.pass_time(1)
    assert stage.state is FeedState.STALE
    assert reasons(stage, "stale") == ["nothing came for 10.7 s, and REST does not answer either"]


def test_a_subscription_that_brings_nothing_costs_the_connection() -> None:
    stage = live(STREAM)
    stage.pass_time(3)
    assert stage.wishes == ["probe", "reconnect"]
    assert reasons(stage, "stale") == ["nothing came for 2.7 s, and a new subscription brought no book"]


def test_rest_that_shows_another_book_costs_the_connection() -> None:
    stage = live(REST)
    stage.answer_probe = lambda: stage.market.probed([("10.5", "1")], [("11", "1")], 2000, stage.now_ns, stage.now)
    stage.pass_time(3)
    assert stage.wishes == ["probe", "reconnect"]
    assert reasons(stage, "stale") == ["nothing came for 2.5 s, and REST shows another book"]


def test_rest_may_overtake_the_update_that_it_contains() -> None:
    stage = live(REST)
    stage.answer_probe = lambda: stage.market.probed([("10.5", "1")], [("11", "1")], 1101, stage.now_ns, stage.now)
    stage.pass_time(2.3)
    stage.delta("10.5x1", "", 1101, 1101)
    stage.pass_time(1)
    assert stage.state is FeedState.LIVE
    assert stage.market.stats.stale == 0


def test_while_rest_is_away_a_silent_market_is_stale_and_keeps_its_book() -> None:
    stage = live(REST)
    stage.answer_probe = lambda: stage.market.probe_failed("HTTP 503", stage.now_ns, stage.now)
    stage.pass_time(60)
    assert stage.state is FeedState.STALE
    assert set(stage.wishes) == {"probe"}
    assert 5 < len(stage.wishes) < 15
    stage.answer_probe = stage.agree
    stage.pass_time(10)
    assert stage.told()[-1] == "1.3 LIVE state 10x1 11x1", "in the same epoch: nothing was missed"


def test_the_new_subscription_brings_another_book_the_old_one_had_died_unseen() -> None:
    stage = live(STREAM)
    stage.answer_probe = lambda: stage.snapshot("10.5x1", "11x1")
    stage.pass_time(2.1)
    assert stage.told()[1:] == ["1.2 STALE state -x- -x-", "2.1 LIVE state 10.5x1 11x1"]
    assert stage.spreads()[-1].follows is None
    assert stage.wishes == ["probe"]


@BOTH
def test_what_the_subscription_brings_late_ends_it(sync: Sync) -> None:
    stage = live(sync)
    stage.pass_time(3)
    update(stage, 1101)
    assert stage.state is FeedState.LIVE
    stage.pass_time(1.9)
    assert stage.state is FeedState.LIVE


def test_trades_prove_nothing_and_a_heartbeat_of_the_market_does() -> None:
    stage = live(STREAM)
    for _ in range(6):
        stage.pass_time(0.6)
        stage.market.heartbeat()
        stage.settle()
    assert stage.wishes == []
    for _ in range(3):
        stage.pass_time(1)
        stage.market.trade("buy", "10", "1", None)
        stage.settle()
    assert stage.state is FeedState.STALE


def test_a_silence_without_a_whole_book_means_nothing() -> None:
    stage = live(STREAM)
    stage.market.disconnected("book", "reset", stage.now_ns, stage.now)
    stage.pass_time(100)
    assert "probe" not in stage.wishes
    stage.market.connected("book", stage.now_ns, stage.now)
    stage.snapshot("10x1", "11x1")
    stage.pass_time(1.9)
    assert "probe" not in stage.wishes
    stage.pass_time(0.2)
    assert "probe" in stage.wishes, "the market's rate is still known"


# -- quiet --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_market_in_which_nothing_ever_happens_is_probed_seldom_and_never_stale(sync: Sync) -> None:
    stage = Stage(sync)
    stage.begin()
    stage.snapshot("10x1", "11x1", 1000)
    stage.answer_probe = stage.agree
    stage.pass_time(86_400)
    assert stage.market.stats.stale == 0
    assert stage.market.stats.probes < 160


WEEK = 7 * 86_400.0


@BOTH
@pytest.mark.parametrize("rate", [0.003, 0.02, 0.1])
def test_log_normal_gaps_never_make_a_market_stale(sync: Sync, rate: float) -> None:
    """Virtual weeks through the whole market; σ = 2: one gap in a hundred is a hundred times the median."""
    random = Random(f"{rate}")
    stage = live(sync, updates=0)
    stage.answer_probe = stage.agree
    end, number = stage.now + WEEK, 1001
    while stage.now < end:
        stage.pass_time(random.lognormvariate(-2.0, 2.0) / rate)
        update(stage, number)
        number += 1
    assert number > 0.8 * WEEK * rate
    assert stage.market.stats.stale == 0
    assert stage.market.stats.probes > 0, "the rule alone does not suffice: the probes must have agreed"


@pytest.mark.parametrize("rate", [1.0, 5.0, 20.0])
def test_log_normal_gaps_of_a_busy_market_lead_to_few_probes(rate: float) -> None:
    """A virtual week of silences alone: the gaps that can matter are drawn one by one, those between are counted."""
    random, normal = Random(f"{rate}"), NormalDist(-2.0, 2.0)
    floor = LEAST_SECONDS / 3
    short = normal.cdf(log(floor * rate))
    freshness, now, probes = Freshness(), 0.0, 0
    freshness.begin(now)
    while now < WEEK:
        for _ in range(int(random.expovariate(1.0) / -log(short))):  # how many short ones in a row
            now += floor * 0.1
            freshness.heard(now)
        gap = exp(normal.inv_cdf(short + random.random() * (1 - short))) / rate
        while freshness.due() < now + gap:
            at = freshness.due()
            assert freshness.tick(at) is Doubt.ASK
            freshness.agreed(at)
            probes += 1
        now += gap
        freshness.heard(now)
        freshness.check()
    assert 0 < probes < WEEK / 60
