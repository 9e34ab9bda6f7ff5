"""Decisions: who is gone, who gets a market, how it is handed over. Time and randomness are arguments."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from level4.model import MarketRequest, MarketType, Position
from level4.placement import (
    Entry,
    Lease,
    Mark,
    Ownership,
    Released,
    Room,
    Silence,
    choose,
    claim,
    gone,
    least_loaded,
    orphans,
    spread_over,
    stop,
    unplace,
)
from level4.placement.handover import (
    Answer,
    AskRelease,
    Claim,
    ClaimBack,
    GiveUp,
    Publish,
    Source,
    SourceState,
    StopAndFlush,
    Target,
    TargetState,
)

RELEASED = Released(Position(5_000_001, 7), Position(5_000_001, 9), "t9")


def test_dead_and_three_seconds_or_thirty_whatever_is_said() -> None:
    assert not gone(left=False, dead=True, silence=2.9)
    assert gone(left=False, dead=True, silence=3.0)
    assert not gone(left=False, dead=False, silence=29.9)
    assert gone(left=False, dead=False, silence=30.0)
    assert gone(left=True, dead=False, silence=0.0)


def test_silence_is_counted_only_while_own_records_come_back() -> None:
    silence = Silence()
    silence.own(0.0)
    silence.heard("b")
    for second in range(1, 4):
        silence.own(float(second))
    assert silence.of("b") == 3.0
    silence.own(1_000.0)  # paused, or cut off: that says nothing of others
    assert silence.of("b") <= 5.0
    silence.heard("b")
    assert silence.of("b") == 0.0
    assert silence.of("never heard") == 0.0
    silence.own(1_001.0)
    assert silence.of("never heard") == 1.0


def test_a_lease_is_as_old_as_the_record_that_came_back() -> None:
    lease = Lease()
    assert not lease.holds(0.0)
    lease.back(written=10.0)
    assert lease.holds(12.4)
    assert not lease.holds(12.5)
    lease.back(written=9.0)
    assert lease.holds(12.4), "an older one takes nothing away"
    lease.lost()
    assert not lease.holds(12.4)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_choice_has_room(sizes: list[tuple[int, int]], fraction: float) -> None:
    rooms = [Room(f"n{n}", active, capacity) for n, (active, capacity) in enumerate(sizes)]
    free = {room.node for room in rooms if room.active < room.capacity}
    assert (choose(rooms, fraction) in free) if free else choose(rooms, fraction) is None
    assert (least_loaded(rooms) in free) if free else least_loaded(rooms) is None
    assert choose(rooms, fraction) == choose(rooms[::-1], fraction)


def test_choices_follow_free_room() -> None:
    rooms = [Room("a", 0, 30), Room("b", 20, 30), Room("c", 30, 30)]
    chosen = [choose(rooms, n / 400) for n in range(400)]
    assert (chosen.count("a"), chosen.count("b"), chosen.count("c")) == (300, 100, 0)
    assert least_loaded(rooms) == "a"


@given(st.integers(0, 20), st.lists(st.integers(0, 8), max_size=4), st.randoms(use_true_random=False))
def test_what_is_spread_fills_no_node_beyond_its_capacity(count: int, capacities: list[int], random: object) -> None:
    rooms = [Room(f"n{n}", 0, capacity) for n, capacity in enumerate(capacities)]
    fractions = [random.random() for _ in range(count)]  # type: ignore[attr-defined]  # hypothesis' Random
    chosen = spread_over(count, rooms, fractions)
    assert len(chosen) == count
    for room in rooms:
        assert chosen.count(room.node) <= room.capacity
    assert chosen.count(None) == max(0, count - sum(capacities))


def test_orphans_are_running_markets_of_hosts_that_are_gone_and_those_without_one() -> None:
    fold = Ownership()
    entries = []
    for market_id, host in [(1, "a"), (2, "b"), (3, "a"), (4, "b")]:
        market = MarketRequest(market_id, "KRAKEN", MarketType.SPOT, "BTC", "USD")
        entries.append(Entry(market_id, claim(fold, Mark(host, 1, 1), market, 100)))
    mark = Mark("c", 1, 1)
    entries[2] = Entry(3, stop(fold, mark, entries[2], "asked to"))
    entries[3] = Entry(4, unplace(fold, mark, entries[3], "no room"))
    found = orphans(entries, lambda node: node == "a")
    assert [(orphan.market_id, orphan.host) for orphan in found] == [(1, "a"), (4, None)]


def test_a_handover_that_goes_well() -> None:
    target, source = Target(0.0), Source(100)
    assert target.released(RELEASED) is None, "nothing was asked yet"
    assert isinstance(target.live(1.0), AskRelease)
    assert isinstance(source.ask(), StopAndFlush)
    assert source.ask() is None
    assert source.flushed(RELEASED, 1.1) == Answer(RELEASED)
    assert target.released(RELEASED) == Claim(RELEASED)
    source.read(101, ours=False)
    assert source.state is SourceState.GONE
    assert target.won(101) == Publish(101, RELEASED)
    assert target.tick(1e9) is None
    assert source.tick(1e9) is None
    assert target.lost("late") is None


def test_a_target_that_does_not_come_gets_nothing_and_the_source_goes_on() -> None:
    target, source = Target(0.0), Source(100)
    source.ask()
    source.flushed(RELEASED, 10.0)
    assert source.tick(11.9) is None
    assert isinstance(source.tick(12.0), ClaimBack)
    assert source.tick(12.1) is None, "once per deadline"
    assert isinstance(source.tick(14.0), ClaimBack), "the first could not be written"
    source.read(101, ours=True)
    assert source.state is SourceState.OWNER
    assert isinstance(target.tick(20.0), GiveUp)
    assert target.live(21.0) is None


class Handover(RuleBasedStateMachine):
    """Answers and claims arrive in any order, late or never; the log gives each term to one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.target, self.source = Target(0.0), Source(100)
        self.holder, self.term = "source", 100
        self.publishing = {"source"}
        self.claims: list[tuple[str, int]] = []
        self.answers: list[Released] = []

    def act(self, step: object) -> None:
        if isinstance(step, AskRelease):
            if isinstance(self.source.ask(), StopAndFlush):
                self.publishing.discard("source")
        elif isinstance(step, Answer):
            self.answers.append(step.released)
        elif isinstance(step, Claim):
            self.claims.append(("target", self.term))
        elif isinstance(step, ClaimBack):
            self.claims.append(("source", self.term))
        elif isinstance(step, Publish):
            self.publishing.add("target")

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.act(self.target.tick(self.now))
        self.act(self.source.tick(self.now))

    @rule()
    def live(self) -> None:
        self.act(self.target.live(self.now))

    @rule()
    def flushed(self) -> None:
        self.act(self.source.flushed(RELEASED, self.now))

    @rule()
    def answer_arrives(self) -> None:
        if self.answers:
            self.act(self.target.released(self.answers.pop()))

    @rule(which=st.integers(0, 3))
    def log_judges_a_claim(self, which: int) -> None:
        if not self.claims:
            return
        who, supersedes = self.claims.pop(which % len(self.claims))
        if supersedes != self.term:
            if who == "target":
                self.act(self.target.lost("another claim was first"))
            return
        self.holder, self.term = who, self.term + 1
        self.source.read(self.term, ours=who == "source")
        self.publishing = {"source"} if who == "source" else set()
        if who == "target":
            self.act(self.target.won(self.term))

    @invariant()
    def at_most_one_publishes_and_it_holds_the_market(self) -> None:
        assert self.publishing <= {self.holder}
        assert (self.source.state is SourceState.OWNER) == ("source" in self.publishing)

    def teardown(self) -> None:
        """Left alone for long enough, one of both publishes."""
        for _ in range(4):
            self.flushed()
            self.time_passes(30.0)
            while self.claims:
                self.log_judges_a_claim(0)
        assert self.publishing == {self.holder}
        assert self.target.state in (TargetState.HOSTING, TargetState.OVER, TargetState.CLAIMING)


TestHandover = Handover.TestCase
TestHandover.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
