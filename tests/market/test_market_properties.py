"""A market under any sequence of calls: its invariants, and what every consumer may rely on."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from stage import Stage

from level4.book import Sync, binance_spot, seeded_by_rest, seeded_in_stream
from level4.market import Shadow
from level4.model import FeedState, Spread, Trade

PRICES = st.sampled_from(["9", "9.5", "10", "10.0", "10.5", "11"])
SIZES = st.sampled_from(["0", "1", "2.50", "x"])
LEVELS = st.lists(st.tuples(PRICES, SIZES), max_size=3)
CHANNELS = st.sampled_from(["book", "trades"])


class AnyLife(RuleBasedStateMachine):
    sync: Sync = seeded_in_stream()

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.sync, contiguous=True)
        self.number = 1000
        self.stage.begin()

    @rule(bids=LEVELS, asks=LEVELS, back=st.integers(-3, 3))
    def snapshot(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]], back: int) -> None:
        self.stage.market.snapshot(bids, asks, self.number + back)
        self.stage.settle()

    @rule(bids=LEVELS, asks=LEVELS, skip=st.sampled_from([0, 0, 0, 1]))
    def delta(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]], skip: int) -> None:
        first = self.number + 1 + skip
        self.number = first + 1
        try:
            self.stage.market.delta(bids, asks, first, self.number)
        except ValueError as error:  # as its connection would handle it
            self.stage.market.gap(str(error), self.stage.now_ns, self.stage.now)
        self.stage.settle()

    @rule(step=st.integers(0, 2))
    def trade(self, step: int) -> None:
        self.number += step
        self.stage.market.trade("buy", "10", "1", str(self.number))
        self.stage.settle()

    @rule(channel=CHANNELS)
    def disconnected(self, channel: str) -> None:
        self.stage.market.disconnected(channel, "reset", self.stage.now_ns, self.stage.now)

    @rule(channel=CHANNELS)
    def connected(self, channel: str) -> None:
        self.stage.market.connected(channel, self.stage.now_ns, self.stage.now)

    @rule(what=st.sampled_from(["gap", "stale", "halt"]))
    def trouble(self, what: str) -> None:
        getattr(self.stage.market, what)("trouble", self.stage.now_ns, self.stage.now)

    @rule(bids=LEVELS, asks=LEVELS, agrees=st.booleans())
    def probed(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]], agrees: bool) -> None:
        book = self.stage.market.book
        answer = (book.bids.top(5), book.asks.top(5)) if agrees else (bids, asks)
        self.stage.market.probed(*answer, None, self.stage.now_ns, self.stage.now)

    @rule()
    def probe_failed(self) -> None:
        self.stage.market.probe_failed("HTTP 503", self.stage.now_ns, self.stage.now)

    @rule(overlapped=st.booleans())
    def another_connection(self, overlapped: bool) -> None:
        stage = self.stage
        shadow = Shadow(stage.sync, stage.frame, ("book", "trades"), lambda: None)
        stage.market.expect_shadow()
        shadow.connected("book", stage.now_ns, stage.now)
        shadow.snapshot([("10", "1")], [("11", "2")], self.number)
        shadow.trade("buy", "10", "1", str(self.number))
        stage.frame.clear()
        shadow.settle(stage.now_ns, stage.now)
        stage.market.adopt(shadow, stage.now_ns, stage.now, overlapped=overlapped)
        stage.market.forget_shadow()

    @rule(channel=CHANNELS)
    def refused(self, channel: str) -> None:
        self.stage.market.refused(channel, "no", self.stage.now_ns, self.stage.now)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.stage.pass_time(seconds)

    @invariant()
    def streams_are_lawful(self) -> None:
        self.stage.market.check()
        place: dict[type, tuple[int, int]] = {}
        trusted = False
        for event in self.stage.events:
            if not isinstance(event, Spread | Trade):
                continue
            epoch, seq = place.get(type(event), (0, 0))
            assert (event.epoch == epoch and event.seq == seq + 1) or (event.epoch > epoch and event.seq == 1)
            place[type(event)] = event.epoch, event.seq
            if isinstance(event, Spread):
                assert (event.state is FeedState.LIVE) or event.bid_price is event.ask_price is None
                assert event.state is FeedState.LIVE or event.changed == "state"
                assert trusted or event.changed == "state", "trust comes back with a whole record only"
                trusted = event.state is FeedState.LIVE
        assert trusted == (self.stage.state is FeedState.LIVE), "what consumers believe is what the market knows"

    def teardown(self) -> None:
        """Whatever happened, a stopped market says so and falls silent."""
        self.stage.market.stop("end", self.stage.now_ns, self.stage.now)
        count = len(self.stage.events)
        self.stage.pass_time(100)
        assert len(self.stage.events) == count
        assert self.stage.state is FeedState.STOPPED


class AnyLifeByRest(AnyLife):
    sync = seeded_by_rest(joins=binance_spot, follows=binance_spot)


AnyLife.TestCase.settings = AnyLifeByRest.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None
)
test_any_life = AnyLife.TestCase
test_any_life_by_rest = AnyLifeByRest.TestCase
