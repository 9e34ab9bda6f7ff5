"""The fold of the ownership log: one winner, the same for all readers, whatever was raced, compacted, slept through."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from level4.model import Instrument, MarketRequest, MarketType
from level4.placement import (
    Desired,
    Mark,
    MarketRecord,
    Ownership,
    Passed,
    Replaced,
    Valid,
    Void,
    Writer,
    again,
    claim,
    encode,
    key_of,
    next_term,
    resume,
    stop,
    to_take_back,
    unplace,
)
from level4.placement.fold import Entry
from level4.placement.records import Barrier, NodeRecord, parse_key

IDS = (1, 2)


def request(market_id: int) -> MarketRequest:
    return MarketRequest(market_id, "KRAKEN", MarketType.SPOT, "BTC", "USD")


Names = tuple[int | None, int | None]


class Log:
    """A log in memory that can be compacted."""

    def __init__(self) -> None:
        self.records: list[tuple[int, str, bytes | None, Names]] = []
        self.end = 0

    def append(self, record: MarketRecord | NodeRecord | Barrier) -> int:
        return self.put(key_of(record), encode(record))

    def put(self, key: str, value: bytes | None, names: Names = (None, None)) -> int:
        self.records.append((self.end, key, value, names))
        self.end += 1
        return self.end - 1

    def compact(self, before: int) -> None:
        """Of the records before that offset, keep the newest of each key."""
        newest = {key: offset for offset, key, _, _ in self.records if offset < before}
        self.records = [one for one in self.records if one[0] >= before or newest[one[1]] == one[0]]

    def read(self, fold: Ownership, limit: int | None = None) -> None:
        waiting = [one for one in self.records if one[0] > fold.last_offset]
        for one in waiting[:limit]:
            fold.apply(*one)
            fold.check()


class Readers(RuleBasedStateMachine):
    """Any number of nodes that read, claim, stop and remove; the compactor; readers that begin anew.

    The reference is a fold that reads every record the moment it is written, before any compaction. Whoever has read
    as far agrees with it, but for a race that the holder has not answered yet by writing its record again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.truth = Ownership()
        self.readers = [Ownership(), Ownership()]
        self.waiting: list[tuple[str, bytes | None, Names]] = []
        """Records made and not yet written: another one may be faster."""
        self.serial = 0
        self.clock = 1_000

    def mark(self, reader: int) -> Mark:
        self.serial += 1
        return Mark(f"n{reader}", 1, self.serial)

    def write(self, key: str, value: bytes | None, names: Names = (None, None)) -> None:
        offset = self.log.put(key, value, names)
        self.truth.apply(offset, key, value, names)
        self.truth.check()

    def up_to_date(self, reader: int) -> Ownership:
        fold = self.readers[reader % len(self.readers)]
        self.log.read(fold)
        return fold

    @rule(reader=st.integers(0, 3), limit=st.integers(1, 4))
    def some_reading(self, reader: int, limit: int) -> None:
        self.log.read(self.readers[reader % len(self.readers)], limit)

    @rule(reader=st.integers(0, 3), market=st.sampled_from(IDS), ticks=st.integers(0, 2))
    def make_claim(self, reader: int, market: int, ticks: int) -> None:
        self.clock += ticks
        record = claim(self.up_to_date(reader), self.mark(reader), request(market), self.clock)
        self.waiting.append((key_of(record), encode(record), (None, None)))

    @rule(reader=st.integers(0, 3), market=st.sampled_from(IDS), place=st.booleans())
    def make_stop(self, reader: int, market: int, place: bool) -> None:
        fold = self.up_to_date(reader)
        entry = fold.market(market)
        if entry is not None:
            record = (unplace if place else stop)(fold, self.mark(reader), entry, "asked to")
            self.waiting.append((key_of(record), encode(record), (None, None)))

    @rule(reader=st.integers(0, 3), market=st.sampled_from(IDS))
    def make_tombstone(self, reader: int, market: int) -> None:
        fold = self.up_to_date(reader)
        entry = fold.market(market)
        self.waiting.append((str(market), None, (entry.offset if entry else None, fold.newest(market))))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 7))
    def write_one(self, which: int) -> None:
        self.write(*self.waiting.pop(which % len(self.waiting)))

    @precondition(lambda self: self.log.end)
    @rule(cut=st.integers(1, 12))
    def compact(self, cut: int) -> None:
        """The compactor comes long after holders have written their records again."""
        for market in self.truth.all_overwritten():
            entry = self.truth.market(market)
            if entry is None:
                self.write(str(market), None, (None, self.truth.newest(market)))
            else:
                record = again(self.truth, self.mark(0), entry)
                self.write(key_of(record), encode(record))
        assert not self.truth.all_overwritten()
        self.log.compact(max(0, self.log.end - cut))

    @precondition(lambda self: len(self.readers) < 4)
    @rule()
    def new_reader(self) -> None:
        self.readers.append(Ownership())

    @invariant()
    def who_has_read_all_agrees(self) -> None:
        for fold in [*self.readers, Ownership()]:
            if fold.last_offset < 0:
                self.log.read(fold)
            if fold.last_offset == self.truth.last_offset:
                raced = self.truth.all_overwritten()
                for market in IDS:
                    assert market in raced or fold.market(market) == self.truth.market(market)


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def fold_of(*records: MarketRecord) -> Ownership:
    log, fold = Log(), Ownership()
    for record in records:
        log.append(record)
    log.read(fold)
    return fold


def test_the_first_claim_in_log_order_wins_and_the_other_is_void() -> None:
    empty = Ownership()
    first, second = (claim(empty, Mark(name, 1, 1), request(1), 100) for name in "ab")
    fold = Ownership()
    assert fold.apply(0, "1", encode(first)) == [Valid(1, Entry(0, first))]
    (outcome,) = fold.apply(1, "1", encode(second))
    assert isinstance(outcome, Void)
    assert outcome.record == second
    assert fold.overwritten(1)
    repair = again(fold, Mark("a", 1, 2), Entry(0, first))
    fold.apply(2, "1", encode(repair))
    assert not fold.overwritten(1)
    assert fold.market(1) == Entry(2, repair)
    assert repair.term == first.term, "the same tenure"


def test_a_reader_that_sees_only_the_void_claim_learns_from_the_holders_next_record() -> None:
    fold = Ownership()
    first, second = (claim(fold, Mark(name, 1, 1), request(1), 100) for name in "ab")
    fold.apply(0, "1", encode(first))
    fold.apply(1, "1", encode(second))
    repair = again(fold, Mark("a", 1, 2), Entry(0, first))
    late = Ownership()
    late.apply(1, "1", encode(second))
    assert late.market(1) == Entry(1, second), "nothing tells otherwise yet"
    late.apply(2, "1", encode(repair))
    assert late.market(1) == Entry(2, repair)


def test_terms_rise_within_a_second_and_when_the_clock_goes_back() -> None:
    assert next_term(0, 1_787_227_200) == 1_787_227_200
    assert next_term(1_787_227_200, 1_787_227_200) == 1_787_227_201
    assert next_term(1_787_227_200, 5) == 1_787_227_201
    first = claim(Ownership(), Mark("a", 1, 1), request(1), 100)
    fold = fold_of(first)
    assert claim(fold, Mark("a", 2, 1), request(1), 100).term == 101


def test_a_void_claims_term_is_not_used_again() -> None:
    first = claim(Ownership(), Mark("a", 1, 1), request(1), 100)
    void = claim(Ownership(), Mark("b", 1, 1), request(1), 900)
    fold = fold_of(first, void)
    assert claim(fold, Mark("c", 1, 1), request(1), 100).term == 901


def test_a_claim_that_takes_a_market_with_the_term_of_another_is_void() -> None:
    first = claim(Ownership(), Mark("a", 1, 1), request(1), 100)
    fold = fold_of(first)
    stale = MarketRecord(
        market=request(1), desired=Desired.RUNNING, term=100, by=Mark("b", 1, 1), host="b", generation=1, supersedes=0
    )
    (outcome,) = fold.apply(1, "1", encode(stale))
    assert isinstance(outcome, Void)
    assert "term 100" in outcome.why


def test_a_market_is_removed_by_a_tombstone_that_names_its_record() -> None:
    fold = fold_of(claim(Ownership(), Mark("a", 1, 1), request(1), 100))
    (outcome,) = fold.apply(1, "1", None)
    assert isinstance(outcome, Void)
    entry = fold.market(1)
    assert entry is not None
    fold.apply(2, "1", encode(stop(fold, Mark("b", 1, 1), entry, "asked to")))
    assert fold.apply(3, "1", None, (2, 2)) == [Valid(1, None)]
    assert fold.markets() == {}
    assert claim(fold, Mark("a", 2, 1), request(1), 5).term == 101, "terms outlive the market"


def test_facts_stay_with_the_market_and_go_with_another_one() -> None:
    facts = Instrument("KRAKEN", MarketType.SPOT, "BTC/USD", "XBT/USD", tick="0.1")
    fold = fold_of(claim(Ownership(), Mark("a", 1, 1), request(1), 100, instrument=facts))
    assert claim(fold, Mark("b", 1, 1), request(1), 100).instrument == facts
    other = MarketRequest(1, "KRAKEN", MarketType.SPOT, "ETH", "USD")
    assert claim(fold, Mark("b", 1, 1), other, 100).instrument is None


def test_what_an_earlier_process_of_the_name_held_is_to_be_taken_back() -> None:
    log, fold = Log(), Ownership()
    for market, mark in [(1, Mark("a", 1, 1)), (2, Mark("b", 1, 1)), (3, Mark("a", 2, 1)), (4, Mark("a", 1, 2))]:
        log.append(claim(fold, mark, request(market), 100))
    log.read(fold)
    stopped = fold.market(4)
    assert stopped is not None
    log.append(stop(fold, Mark("b", 1, 1), stopped, "asked to"))
    log.read(fold)
    assert set(to_take_back(fold, Writer("a", 2))) == {1}


def test_a_log_that_begins_again_is_another_one() -> None:
    first = claim(Ownership(), Mark("a", 1, 1), request(1), 100)
    fold = fold_of(first, again(fold_of(first), Mark("a", 1, 2), Entry(0, first)))
    outcomes = fold.apply(0, "node:b", encode(NodeRecord(by=Mark("b", 1, 1))))
    assert isinstance(outcomes[0], Replaced)
    assert fold.markets() == {}
    held = resume(fold, Mark("a", 1, 3), first)
    fold.apply(1, "1", encode(held))
    assert fold.market(1) == Entry(1, held)
    assert held.term == first.term


def test_what_a_stranger_writes_is_counted_and_changes_nothing() -> None:
    first = claim(Ownership(), Mark("a", 1, 1), request(1), 100)
    fold = fold_of(first)
    assert fold.apply(1, "what is this", b"x") == []
    (outcome,) = fold.apply(2, "1", b"{")
    assert isinstance(outcome, Void)
    (outcome,) = fold.apply(3, "1", encode(claim(fold, Mark("a", 1, 2), request(2), 100)))
    assert isinstance(outcome, Void), "another market's record under this key"
    assert fold.apply(4, "barrier:a", b"[]") == []
    assert fold.unreadable == 4
    assert fold.market(1) == Entry(0, first)
    assert fold.overwritten(1), "the compactor would keep what is not readable"


def test_barriers_and_nodes() -> None:
    fold = Ownership()
    barrier = Barrier(Mark("a", 1, 7))
    assert fold.apply(0, key_of(barrier), encode(barrier)) == [Passed(barrier.by)]
    node = NodeRecord(by=Mark("a", 1, 8), active=3, capacity=25)
    fold.apply(1, key_of(node), encode(node))
    assert fold.nodes == {"a": node}
    fold.apply(2, key_of(node), None)
    assert fold.nodes == {"a": None}


@pytest.mark.parametrize("key", ["", "x", "node", "-1", "1.5", "12345678901234567890", "١"])
def test_keys_of_no_kind(key: str) -> None:
    assert parse_key(key) is None
