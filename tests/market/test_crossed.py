"""Books whose best bid is not below the best ask: published as they are, and given up when it lasts."""

from __future__ import annotations

import pytest
from stage import Stage

from level4.book import KRAKEN_CHECKSUM
from level4.market import Cause
from level4.model import FeedState


def crossed(ask: str = "9.5", **options: object) -> Stage:
    stage = Stage(**options)  # type: ignore[arg-type]  # options of Stage
    stage.begin()
    stage.snapshot("10x1 9x2", "11x1 12x2")
    stage.delta("", f"{ask}x1")
    return stage


def keep_alive(stage: Stage, seconds: int) -> None:
    for _ in range(seconds):
        stage.pass_time(1)
        stage.delta("8x1", "")


@pytest.mark.parametrize("ask", ["9.5", "10", "10.0"])
def test_a_book_that_stays_crossed_or_locked_is_a_gap(ask: str) -> None:
    stage = crossed(ask)
    assert stage.told()[-1].startswith("1.2 LIVE ask 10x1"), "published as it is"
    stage.pass_time(4.9)
    assert stage.state is FeedState.LIVE
    stage.pass_time(0.2)
    assert stage.told()[-1] == "1.3 GAP state -x- -x-"
    assert stage.wishes == ["resubscribe"]
    assert stage.market.stats.gaps == {Cause.CROSSED: 1}
    stage.snapshot("10x1", "11x1")
    assert stage.told()[-1] == "2.1 LIVE state 10x1 11x1"


def test_one_that_uncrosses_in_time_is_no_gap() -> None:
    stage = crossed()
    for _ in range(20):
        stage.pass_time(4)
        stage.delta("", "9.5x0")
        stage.delta("", "9.5x1")
    assert stage.market.stats.gaps == {}
    assert stage.market.stats.crossed == 21


def test_an_exchange_that_says_so_again_is_believed_until_it_uncrosses() -> None:
    stage = crossed()
    stage.pass_time(5.1)
    stage.snapshot("10x1", "9.5x1")
    keep_alive(stage, 600)
    assert stage.market.stats.gaps == {Cause.CROSSED: 1}
    stage.delta("", "9.5x0 11x1")
    stage.delta("", "9.6x1")
    keep_alive(stage, 6)
    assert stage.market.stats.gaps == {Cause.CROSSED: 2}


def test_an_exchange_may_have_auctions() -> None:
    stage = crossed(crossed_seconds=None)
    keep_alive(stage, 1000)
    assert stage.market.stats.gaps == {}


def test_prices_that_differ_beyond_floating_point_are_not_crossed() -> None:
    stage = Stage()
    stage.begin()
    stage.snapshot("0.10000000000000000001x1", "0.10000000000000000002x1")
    assert stage.market.stats.crossed == 0


def test_a_lost_book_is_no_longer_crossed() -> None:
    stage = crossed(sync=KRAKEN_CHECKSUM)
    stage.market.disconnected("book", "reset", stage.now_ns, stage.now)
    stage.pass_time(100)
    assert Cause.CROSSED not in stage.market.stats.gaps
