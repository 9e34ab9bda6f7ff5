"""Books of named rows against a plain dictionary of rows, and what cannot be true of a complete book."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.book import BID, BatchBook, NamedBook
from level4.book.reference import ReferenceSide
from level4.model import Row, RowChange

PRICES = st.sampled_from(["1", "1.0", "2", "2.5", "2.50", "3e-1", "0.3", "10"])
SIZES = st.sampled_from([0, 1, 25, "1.5", "0.0", "7"])
CHANGES: st.SearchStrategy[RowChange] = st.sampled_from(["insert", "update", "delete"])
ROWS = st.lists(st.tuples(st.integers(1, 6), PRICES | st.none(), SIZES), min_size=1, max_size=3)


class PlainRows:
    """One side as the protocol's documentation has it: rows by id."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Decimal, str]] = {}

    def apply(self, change: RowChange, rows: list[Row]) -> bool:
        """Whether a complete book can change so."""
        for name, price, size in rows:
            known = self.rows.get(name)
            if change == "delete" or Decimal(str(size)) == 0:
                if known is None:
                    return False
                del self.rows[name]
            elif known is None:
                if change == "update" or price is None or Decimal(price) in {p for p, _ in self.rows.values()}:
                    return False
                self.rows[name] = Decimal(price), str(size)
            elif price is not None and Decimal(price) != known[0]:
                return False
            else:
                self.rows[name] = known[0], str(size)
        return True

    def levels(self, sign: int) -> list[tuple[Decimal, Decimal]]:
        side = ReferenceSide(sign)
        side.apply([(str(price), size) for price, size in self.rows.values()])
        return [(Decimal(price), Decimal(size)) for price, size in side.top(99)]


@pytest.mark.parametrize("sign", [+1, -1])
@given(frames=st.lists(st.tuples(CHANGES, ROWS), max_size=15))
def test_named_rows_agree_with_a_dictionary_of_rows(sign: int, frames: list[tuple[RowChange, list[Row]]]) -> None:
    book, plain = NamedBook(), PlainRows()
    book.rows("partial", [], [])
    for change, rows in frames:
        if change == "insert" and any(price is None for _, price, _ in rows):
            continue
        possible = plain.apply(change, rows)
        wrong = book.rows(change, *((rows, []) if sign > 0 else ([], rows)))
        assert (wrong is None) == possible
        if not possible:
            return
        book.check()
        side = book.bids if sign > 0 else book.asks
        assert [(Decimal(price), Decimal(size)) for price, size in side.top(99)] == plain.levels(sign)


def bids(*rows: Row) -> NamedBook:
    book = NamedBook()
    assert book.rows("partial", list(rows), []) is None
    book.check()
    return book


def test_a_change_needs_no_price_and_the_same_id_on_the_other_side_is_another_row() -> None:
    book = NamedBook()
    assert book.rows("partial", [(1, "10", 5), (2, "9.5", 3)], [(1, "11", 7)]) is None
    assert book.changes()
    assert book.rows("update", [(1, None, 6)], []) is None
    assert book.best().bid_size == "6"
    assert book.best().ask_size == "7"
    assert book.rows("delete", [(1, None, None)], []) is None
    assert book.changes() == BID
    assert book.best().bid_price == "9.5"
    book.check()


@pytest.mark.parametrize(
    ("change", "row", "wrong"),
    [
        ("update", (3, "8", 1), "update of a known row, got row 3"),
        ("update", (3, None, 0), "delete of a known row, got row 3"),
        ("delete", (3, "8", None), "delete of a known row, got row 3"),
        ("insert", (1, "8", 1), "row 1 at the price 10, got it at 8"),
        ("update", (1, "8", 1), "row 1 at the price 10, got it at 8"),
        ("insert", (3, "10.0", 1), "one row at the price 10, got row 3 beside row 1"),
        ("update", (1, "10", None), "a size of row 1, got none"),
    ],
)
def test_what_a_complete_book_cannot_meet_is_told(change: RowChange, row: Row, wrong: str) -> None:
    assert wrong in (bids((1, "10", 5)).rows(change, [row], []) or "")


def test_an_insert_of_a_known_row_at_its_price_is_an_update() -> None:
    book = bids((1, "1e1", 5))
    assert book.rows("insert", [(1, "10.0", 6)], []) is None
    assert book.bids.top(3) == [("10", "6")]


def test_a_snapshot_replaces_all_rows_and_must_have_one_for_each_price() -> None:
    book = bids((1, "10", 5), (4, "7", 0))
    assert book.rows("partial", [(2, "9", 4)], []) is None
    assert book.bids.top(3) == [("9", "4")]
    assert book.rows("update", [(1, None, 6)], []) is not None
    assert "one row of numbers for each price" in (book.rows("partial", [(1, "10", 5), (2, "10.0", 6)], []) or "")


def test_a_book_without_names_takes_no_rows() -> None:
    with pytest.raises(NotImplementedError):
        BatchBook().rows("insert", [(1, "1", 1)], [])
