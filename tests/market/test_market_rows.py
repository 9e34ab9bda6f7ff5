"""A market whose book's rows have names."""

from __future__ import annotations

from stage import Stage

from level4.book import seeded_in_stream
from level4.model import FeedState


def live() -> Stage:
    stage = Stage(seeded_in_stream(named_rows=True))
    stage.begin()
    stage.market.rows("insert", [(9, "10", 9)], [], 1)
    stage.settle()
    assert stage.told() == [], "a change before the snapshot is ignored"
    stage.market.rows("partial", [(1, "10", 5), (2, "9.5", 3)], [(1, "11", 7)], 2_000)
    stage.settle()
    return stage


def test_rows_lead_to_the_same_events_as_levels() -> None:
    stage = live()
    stage.market.rows("update", [(1, None, 6)], [], 3_000)
    stage.settle()
    stage.market.rows("insert", [(3, "10.5", 1)], [], 4_000)
    stage.market.rows("delete", [], [(1, None, None)])
    stage.settle()
    assert stage.told() == [
        "1.1 LIVE state 10x5 11x7",
        "1.2 LIVE bid 10x6 11x7",
        "1.3 LIVE both 10.5x1 -x-",
    ]
    assert stage.spreads()[1].exchange_us == 3_000


def test_an_unknown_row_is_a_gap_and_a_new_snapshot_a_new_epoch() -> None:
    stage = live()
    stage.market.rows("update", [(1, None, 6)], [], 3_000)
    stage.market.rows("update", [(7, "10", 6)], [], 3_000)
    stage.settle()
    assert stage.told()[1:] == ["1.2 GAP state -x- -x-"]
    assert stage.market.reason == "expected the update of a known row, got row 7"
    assert stage.wishes == ["resubscribe"]
    stage.market.rows("update", [(1, None, 8)], [], 4_000)
    stage.settle()
    assert stage.state is FeedState.SYNCING
    stage.market.rows("partial", [(4, "10", 5)], [], 5_000)
    stage.settle()
    assert stage.told()[2:] == ["2.1 LIVE state 10x5 -x-"]


def test_a_snapshot_in_mid_stream_goes_on_in_the_epoch() -> None:
    stage = live()
    stage.market.rows("partial", [(4, "10", 5)], [(1, "11", 7)], 5_000)
    stage.settle()
    stage.market.rows("partial", [(4, "9", 5)], [(1, "11", 7)], 6_000)
    stage.settle()
    assert stage.told()[1:] == ["1.2 LIVE bid 9x5 11x7"]
