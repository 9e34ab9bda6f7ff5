"""The difference of the best levels, and checksums with exchanges' own vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.book import ASK, BID, BatchBook, OrderBook, RankedBook, Verdict, binance_spot
from level4.book.checksum import KrakenChecksum
from level4.book.orderbook import BID_PRICE, BID_SIZE
from level4.model import Level


def books() -> list[OrderBook]:
    return [BatchBook(), RankedBook(KrakenChecksum())]


@pytest.mark.parametrize("book", books(), ids=["batch", "ranked"])
def test_changes_tell_which_of_the_best_numbers_moved(book: OrderBook) -> None:
    assert book.changes() == 0
    book.load([("10", "1"), ("9", "2")], [("11", "1")])
    assert book.changes() == BID | ASK
    assert book.changes() == 0
    book.apply([("10", "3")], [])
    assert book.changes() == BID_SIZE
    book.apply([("10", "3.000")], [])
    assert book.changes() == 0, "the same number in another spelling is no change"
    book.apply([("8", "1")], [("12", "1")])
    assert book.changes() == 0
    book.apply([("10", "0")], [])
    assert book.changes() == BID
    assert (book.best().bid_price, book.best().bid_size) == ("9", "2")
    book.apply([], [("11", "0"), ("12", "0")])
    assert book.changes() == ASK
    assert book.best().ask_price == ""
    book.apply([("20", "2")], [("11", "1")])
    assert book.changes() == BID_PRICE | ASK, "a crossed book is kept as it is"
    book.check()


@pytest.mark.parametrize("book", books(), ids=["batch", "ranked"])
def test_a_price_that_goes_and_comes_back_within_a_frame_is_no_change(book: OrderBook) -> None:
    book.load([("10", "1")], [("11", "1")])
    book.seen()
    book.apply([("10", "0"), ("10", "1")], [])
    assert book.changes() == 0
    book.load([("10.0", "1")], [("11", "1.00")])
    assert book.changes() == 0


SIZES = st.sampled_from(["0", "1", "2", "2.0"])


@given(
    frames=st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(["1", "2", "3", "4.0", "4"]), SIZES), max_size=3),
            st.lists(st.tuples(st.sampled_from(["3", "4", "5", "6"]), SIZES), max_size=3),
        ),
        max_size=20,
    )
)
def test_changes_never_miss_and_never_invent(frames: list[tuple[list[Level], list[Level]]]) -> None:
    for book in books():
        before: tuple[float | None, ...] = (None,) * 4
        for bids, asks in frames:
            book.apply(bids, asks)
            best = book.best()
            texts = (best.bid_price, best.bid_size, best.ask_price, best.ask_size)
            after = tuple(float(text) if text else None for text in texts)
            bits = sum(bit for bit, old, new in zip((1, 2, 4, 8), before, after, strict=True) if old != new)
            assert book.changes() == bits
            before = after


ASKS = """\
45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660
45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"""
BIDS = """\
45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586
45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"""


def pairs(text: str) -> list[Level]:
    texts = text.split()
    return list(zip(texts[::2], texts[1::2], strict=True))


def test_kraken_checksum_official_example() -> None:
    book = RankedBook(KrakenChecksum())
    book.load(pairs(BIDS), pairs(ASKS))
    assert book.verify(3310070434)
    assert not book.verify(3310070435)
    book.apply([("45276.6", "0.15445239")], [])
    assert not book.verify(3310070434), "the tenth level counts"
    book.apply([("45276.6", "0.15445238"), ("45200.0", "1.0")], [("45300.0", "2.0")])
    assert book.verify(3310070434), "the eleventh does not"


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(100, 130), st.integers(0, 3)),
        max_size=60,
    )
)
def test_the_cached_halves_of_the_checksum_equal_a_fresh_one(moves: list[tuple[bool, int, int]]) -> None:
    book = RankedBook(KrakenChecksum())
    for bid, price, size in moves:
        level = [(f"{price}.10", f"{size}.500" if size else "0.000")]
        book.apply(*((level, []) if bid else ([], level)))
        book.trim(12)
        fresh = RankedBook(KrakenChecksum())
        fresh.load(book.bids.top(99), book.asks.top(99))
        assert book.verify(KrakenChecksum().value(fresh.bids, fresh.asks))
        book.check()


def test_binance_spot_rule() -> None:
    """Worked example of the exchange's procedure: snapshot 1000."""
    assert binance_spot(1000, 990, 995, None) is Verdict.OLD
    assert binance_spot(1000, 996, 1003, None) is Verdict.APPLY
    assert binance_spot(1003, 1004, 1010, None) is Verdict.APPLY
    assert binance_spot(1010, 1012, 1015, None) is Verdict.GAP
