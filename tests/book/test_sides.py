"""The fast shapes of a book side against the plain one, on any sequence of levels."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.book.batch import BatchSide
from level4.book.checksum import KrakenChecksum
from level4.book.ranked import RankedSide
from level4.book.reference import ReferenceSide
from level4.book.side import Side
from level4.model import Level

SIGNS = (+1, -1)


def shapes(sign: int) -> list[Side]:
    return [BatchSide(sign), RankedSide(sign, 10, KrakenChecksum.fragment)]


# Few distinct prices, in several spellings, so that updates, deletes and respellings really meet.
PRICES = st.builds(
    lambda units, zeros: f"{units // 10}.{units % 10}" + "0" * zeros, st.integers(1, 60), st.integers(0, 2)
)
CLOSE = st.sampled_from(["1.00000000000000001", "1.00000000000000002", "1.00000000000000003", "1.0"])
SIZES = st.sampled_from(["0", "0.0", "0.00000000", "1", "1.50", "0.00000001", "12345.678", "-1"])
LEVELS = st.lists(st.tuples(PRICES | CLOSE, SIZES), max_size=8)


def numeric(levels: list[Level]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in levels]


@pytest.mark.parametrize("sign", SIGNS)
@given(snapshot=LEVELS, frames=st.lists(LEVELS, max_size=12), depth=st.integers(1, 30) | st.none())
def test_shapes_agree_with_the_reference(
    sign: int, snapshot: list[Level], frames: list[list[Level]], depth: int | None
) -> None:
    reference = ReferenceSide(sign)
    sides = shapes(sign)
    reference.load(snapshot)
    for side in sides:
        side.load(snapshot)
        side.check()
    for frame in frames:
        reference.apply(frame)
        if depth is not None:
            reference.trim(depth)
        for side in sides:
            side.apply(frame)
            if depth is not None:
                side.trim(depth)
            side.check()
            assert side.best() == reference.best()
            assert side.top(5) == reference.top(5)
            assert len(side) == len(reference)
            assert numeric(side.top(1000)) == numeric(reference.top(1000))


@pytest.mark.parametrize("sign", SIGNS)
def test_a_level_that_is_no_number_is_skipped_in_a_snapshot(sign: int) -> None:
    for side in shapes(sign):
        side.load([("40533.24", "0.020416"), ("40531.19", "0.-10000"), ("x", "1"), ("1", "inf"), ("2", "1_0")])
        assert side.top(9) == [("40533.24", "0.020416")]
        side.check()


@pytest.mark.parametrize("text", ["x", "", "1_0", "1,2", "inf", "NaN"])
def test_a_price_that_is_no_number_is_refused_in_an_update(text: str) -> None:
    for side in shapes(+1):
        side.load([("1", "1")])
        with pytest.raises(ValueError, match=r"number|could not convert"):
            side.apply([(text, "1")])


def test_a_size_that_only_looks_like_a_delete_is_never_taken_for_one() -> None:
    batch = BatchSide(+1)
    batch.load([("1", "1"), ("2", "1")])
    batch.apply([("2", "0.-10000")])
    with pytest.raises(ValueError, match="expected a size"):
        batch.best()
    ranked = RankedSide(+1, 10, KrakenChecksum.fragment)
    ranked.load([("1", "1")])
    with pytest.raises(ValueError, match="expected a size"):
        ranked.apply([("1", "0.-10000")])


def test_an_unusual_spelling_of_a_number_is_a_number() -> None:
    for side in shapes(-1):
        side.load([("+1", "1"), (".5", "01"), ("1e-7", "3")])
        assert side.top(3) == [("1e-7", "3"), (".5", "01"), ("+1", "1")]
        side.check()


def test_a_later_spelling_in_the_same_frame_wins_and_deletes() -> None:
    for side in shapes(+1):
        side.load([("1.0", "1")])
        side.apply([("1.00", "6"), ("1.0", "7")])
        assert side.best() == ("1.0", "7")
        side.apply([("1.000", "0")])
        assert side.best() is None
        side.check()


def test_dead_levels_do_not_pile_up() -> None:
    side = BatchSide(+1)
    side.load([("1", "1")])
    for i in range(2, 5000):
        side.apply([(str(i), "1")])
        side.apply([(str(i), "0")])
    side.apply([("0.5", "1")])
    side.check()
    assert len(side.d) < 500
    assert len(side) == 2
