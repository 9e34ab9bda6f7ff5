"""A checksum over the top of a book that was not made for it: the batch shape against the plain book."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.book import BatchBook
from level4.book.checksum import INTERLEAVED_WINDOW, interleaved
from level4.book.reference import ReferenceSide
from level4.model import Level

PRICE = st.sampled_from(["1", "1.0", "2.5", "2.50", "3", "7", "0.1"]) | st.integers(8, 60).map(str)
LEVELS = st.lists(st.tuples(PRICE, st.sampled_from(["0", "0.0", "1", "2.50"])), max_size=40)


@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=6))
def test_the_batch_shape_gives_the_plain_books_checksum(frames: list[tuple[list[Level], list[Level]]]) -> None:
    book, bids, asks = BatchBook(interleaved), ReferenceSide(+1), ReferenceSide(-1)
    for more_bids, more_asks in frames:
        book.apply(more_bids, more_asks)
        bids.apply(more_bids)
        asks.apply(more_asks)
        expected = interleaved(bids.top(INTERLEAVED_WINDOW), asks.top(INTERLEAVED_WINDOW))
        assert book.verify(expected)
        assert not book.verify(expected + 1)
        book.check()


def test_sides_are_taken_in_turns_and_the_longer_one_goes_on_alone() -> None:
    signed = interleaved([("3", "0.10")], [("4", "1"), ("5", "2")])
    assert signed % 2**32 == crc32(b"3:0.10:4:1:5:2")
    assert -(2**31) <= signed < 2**31
    assert interleaved([], []) == 0
    assert interleaved([], [("4", "1")], ask_sign="-") % 2**32 == crc32(b"4:-1")


def test_a_book_without_a_rule_cannot_verify() -> None:
    with pytest.raises(NotImplementedError):
        BatchBook().verify(0)
