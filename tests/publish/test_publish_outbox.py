"""The outbox against a plain model: order kept, every event accounted for, the bound held."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import UNSET

from level4.model import Changed, Event, FeedState, Numbering, Position, Spread, Status, Trade
from level4.publish.outbox import Outbox, merge


def spread(market_id: int, bid: int, epoch: int = 1, changed: Changed = "bid", first: bool = False) -> Spread:
    return Spread(
        market_id=market_id,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        state=FeedState.LIVE,
        changed="state" if first else changed,
        bid_price=str(bid),
        bid_size="1",
        ask_price=str(bid + 1),
        ask_size="1",
        mid_price=None,
        epoch=epoch,
        seq=0,
        exchange_us=None,
        received_us=bid,
        published_us=0,
        node="n",
        follows=Position(epoch - 1, 7) if first else UNSET,
    )


def trade(market_id: int, seq: int, epoch: int = 1, first: bool = False) -> Trade:
    return Trade(
        market_id=market_id,
        exchange="KRAKEN",
        type="SPOT",
        symbol="BTC/USD",
        side="buy",
        price="1",
        size="1",
        trade_id=str(seq),
        epoch=epoch,
        seq=seq,
        exchange_us=None,
        received_us=seq,
        published_us=0,
        node="n",
        follows=None if first else UNSET,
    )


def status(market_id: int | None, event: str = "gap", reason: str = "") -> Status:
    return Status(
        market_id=market_id,
        event=event,
        state=None,
        reason=reason,
        member=None,
        epoch=1,
        seq=0,
        node="n",
        published_us=0,
    )


CHANGES: list[Changed] = ["bid", "ask", "both", "state", "none"]


@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        ("bid", "bid", "bid"),
        ("bid", "ask", "both"),
        ("ask", "bid", "both"),
        ("none", "ask", "ask"),
        ("ask", "none", "ask"),
        ("none", "none", "none"),
        ("both", "none", "both"),
        ("both", "bid", "both"),
        ("state", "bid", "state"),
        ("ask", "state", "state"),
    ],
)
def test_what_changed_is_the_union(older: Changed, newer: Changed, expected: Changed) -> None:
    merged = merge(spread(1, 10, changed=older), spread(1, 11, changed=newer))
    assert (merged.changed, merged.bid_price, merged.coalesced) == (expected, "11", 1)


def test_a_merged_first_record_still_says_what_it_follows() -> None:
    merged = merge(merge(spread(1, 10, epoch=5, first=True), spread(1, 11, epoch=5)), spread(1, 12, epoch=5))
    assert merged.follows == Position(4, 7)
    assert (merged.changed, merged.bid_price, merged.coalesced) == ("state", "12", 2)


def test_a_newer_epoch_survives_with_its_own_follows() -> None:
    newer = spread(1, 20, epoch=6, first=True)
    newer.follows = None
    merged = merge(spread(1, 10, epoch=5, first=True), newer)
    assert (merged.epoch, merged.follows, merged.coalesced) == (6, None, 1)
    late = merge(merged, spread(1, 11, epoch=5))
    assert (late.epoch, late.bid_price, late.coalesced) == (6, "20", 2)


def test_everything_is_kept_below_the_bound() -> None:
    outbox = Outbox(max_events=100)
    events: list[Event] = []
    for n in range(33):
        events += [spread(n % 3, n), trade(n % 3, n), status(n % 3)]
    for event in events:
        assert outbox.put(event, 0.0)
    assert [slot.event for slot in outbox.take(1_000)] == events
    outbox.check()


def test_at_the_bound_spreads_make_room_and_the_newest_trades_go() -> None:
    outbox = Outbox(max_events=10, reserve=3)
    for n in range(8):
        outbox.put(spread(1, n), float(n))
    for n in range(12):
        outbox.put(trade(1, n + 1), 100.0)
    outbox.put(spread(1, 99), 200.0)
    outbox.check()
    events = [slot.event for slot in outbox.take(100)]
    (newest, *trades) = events
    assert isinstance(newest, Spread)
    assert (newest.bid_price, newest.coalesced) == ("99", 8)
    assert [event.seq for event in trades] == list(range(1, 10))
    (loss,) = outbox.losses()
    assert (loss.trades, loss.last.seq) == (3, 12)
    assert not outbox.has_losses


def test_what_kafka_holds_counts_towards_the_bound() -> None:
    outbox = Outbox(max_events=10)
    outbox.outstanding_events = 9
    assert outbox.put(trade(1, 1), 0.0)
    assert not outbox.put(trade(1, 2), 0.0)
    outbox.outstanding_events = 0
    assert outbox.put(trade(1, 3), 0.0)


def test_the_bound_in_bytes() -> None:
    outbox = Outbox(max_bytes=10_000)
    for n in range(100):
        outbox.put(trade(1, n + 1), 0.0)
    outbox.check()
    assert 10_000 <= outbox.queued_bytes < 11_000
    assert outbox.counts.trades_dropped == 100 - len(outbox)


def test_status_events_have_a_reserve_and_alive_gives_way() -> None:
    outbox = Outbox(max_events=4, reserve=3)
    for n in range(6):
        outbox.put(trade(1, n + 1), 0.0)
    assert outbox.put(status(1, "alive", "a"), 0.0)
    assert outbox.put(status(1, "alive", "b"), 0.0)
    assert outbox.put(status(1, "gap"), 0.0)
    assert outbox.put(status(1, "alive", "c"), 0.0)
    assert not outbox.put(status(1, "live"), 0.0)
    outbox.check()
    statuses = [slot.event for slot in outbox.take(100) if isinstance(slot.event, Status)]
    assert [(event.event, event.reason) for event in statuses] == [("alive", "b"), ("gap", ""), ("alive", "c")]
    assert (outbox.counts.alive_superseded, outbox.counts.statuses_dropped) == (1, 1)


def test_a_trade_after_a_lost_first_one_claims_no_continuity() -> None:
    outbox = Outbox(max_events=2)
    for event in (trade(1, 1), trade(1, 2), trade(1, 1, epoch=2, first=True)):
        outbox.put(event, 0.0)
    outbox.take(2)
    outbox.put(trade(1, 2, epoch=2), 0.0)
    outbox.put(trade(1, 3, epoch=2), 0.0)
    (second, third) = (slot.event for slot in outbox.take(2))
    assert isinstance(second, Trade)
    assert isinstance(third, Trade)
    assert second.follows is None
    assert third.follows is UNSET


class OutboxMachine(RuleBasedStateMachine):
    """Puts and takes in any order; what comes out is compared with everything that went in."""

    @initialize(max_events=st.integers(4, 40), reserve=st.integers(0, 6), max_bytes=st.sampled_from([6_000, 10**9]))
    def start(self, max_events: int, reserve: int, max_bytes: int) -> None:
        self.outbox = Outbox(max_events, max_bytes, reserve)
        self.numbering = Numbering()
        self.states: dict[int, list[int]] = defaultdict(list)
        """Bid of every spread put, by market: the order of puts is the order of bids."""
        self.trades: dict[int, list[int]] = defaultdict(list)
        self.lost: dict[int, list[int]] = defaultdict(list)
        self.reported: dict[int, int] = defaultdict(int)
        self.out_states: dict[int, list[Spread]] = defaultdict(list)
        self.out_trades: dict[int, list[int]] = defaultdict(list)
        self.statuses: dict[int, list[str]] = defaultdict(list)
        self.out_statuses: dict[int, list[str]] = defaultdict(list)
        self.epochs: dict[int, int] = defaultdict(lambda: 1)
        self.clock = 0

    @rule(market=st.integers(1, 3), changed=st.sampled_from(CHANGES), new_epoch=st.booleans(), times=st.integers(1, 9))
    def put_spreads(self, market: int, changed: Changed, new_epoch: bool, times: int) -> None:
        for _ in range(times):
            self.clock += 1
            self.epochs[market] += new_epoch
            event = spread(market, self.clock, self.epochs[market], changed, first=new_epoch)
            assert self.outbox.put(event, self.clock)
            self.states[market].append(self.clock)
            new_epoch = False

    @rule(market=st.integers(1, 3), times=st.integers(1, 9))
    def put_trades(self, market: int, times: int) -> None:
        for _ in range(times):
            seq = len(self.trades[market]) + 1
            self.trades[market].append(seq)
            if not self.outbox.put(trade(market, seq), self.clock):
                self.lost[market].append(seq)

    @rule(market=st.integers(1, 3), alive=st.booleans())
    def put_status(self, market: int, alive: bool) -> None:
        self.clock += 1
        event = status(market, "alive" if alive else "gap", str(self.clock))
        if self.outbox.put(event, self.clock):
            self.statuses[market].append(str(self.clock))

    @rule(limit=st.integers(1, 30), outstanding=st.integers(0, 5))
    def take(self, limit: int, outstanding: int) -> None:
        self.outbox.outstanding_events = outstanding
        for slot in self.outbox.take(limit):
            event = slot.event
            self.numbering.number(event, 1)
            if isinstance(event, Spread):
                self.out_states[event.market_id].append(event)
            elif isinstance(event, Trade):
                self.out_trades[event.market_id].append(event.seq)
            else:
                self.out_statuses[event.market_id or 0].append(event.reason or "")

    @rule()
    def report(self) -> None:
        for loss in self.outbox.losses():
            self.reported[loss.last.market_id] += loss.trades

    @invariant()
    def holds(self) -> None:
        self.outbox.check()

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.take(10**6, 0)
        self.report()
        assert len(self.outbox) == 0
        for market, bids in self.states.items():
            out = self.out_states[market]
            assert [int(event.bid_price or 0) for event in out] == sorted(int(event.bid_price or 0) for event in out)
            assert int(out[-1].bid_price or 0) == bids[-1], "the newest state always arrives"
            assert sum(event.coalesced + 1 for event in out) == len(bids)
            last: Spread | None = None
            for event in out:
                if last is None or event.epoch > last.epoch:
                    assert (event.seq, event.changed) == (1, "state")
                    assert event.follows is not UNSET
                else:
                    assert event.epoch == last.epoch
                    assert event.seq == last.seq + 1
                    assert event.follows is UNSET
                last = event
        for market, seqs in self.trades.items():
            assert sorted(self.out_trades[market] + self.lost[market]) == seqs
            assert self.out_trades[market] == sorted(self.out_trades[market])
            assert self.reported[market] == len(self.lost[market])
        for market, texts in self.statuses.items():
            out_texts = self.out_statuses[market]
            assert out_texts == sorted(out_texts, key=int)
            assert set(out_texts) <= set(texts)
        superseded = sum(map(len, self.statuses.values())) - sum(map(len, self.out_statuses.values()))
        assert superseded == self.outbox.counts.alive_superseded


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from(CHANGES)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_merging_in_any_mixture_loses_no_state_silently(puts: list[tuple[int, Changed]]) -> None:
    outbox = Outbox(max_events=3, reserve=0)
    for n, (market, changed) in enumerate(puts):
        outbox.put(spread(market, n, changed=changed), float(n))
        outbox.check()
    out = [slot.event for slot in outbox.take(100)]
    assert sum(event.coalesced + 1 for event in out if isinstance(event, Spread)) == len(puts)
