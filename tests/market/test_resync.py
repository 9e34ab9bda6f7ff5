"""Delays grow over attempts that failed, not over gaps: the times at which a market asks, second by second."""

from __future__ import annotations

import pytest

from level4.book import KRAKEN_CHECKSUM, Sync, binance_spot, seeded_by_rest, seeded_in_stream
from level4.market.resync import AT_ONCE_SECONDS, HEALTHY_SECONDS, MAX_DELAY_SECONDS, PATIENCE_SECONDS, Resync

IN_STREAM, BY_REST = seeded_in_stream(), seeded_by_rest(joins=binance_spot, follows=binance_spot)


class Asked:
    """A repair, and what it asks for: (time, wish)."""

    def __init__(self, sync: Sync) -> None:
        self.now = 1000.0
        self.wishes: list[tuple[float, str]] = []
        self.resync = Resync(sync, self)

    def fetch_snapshot(self) -> None:
        self.wishes.append((self.now, "fetch"))

    def resubscribe(self) -> None:
        self.wishes.append((self.now, "resubscribe"))

    def reconnect(self, reason: str) -> None:
        self.wishes.append((self.now, "reconnect"))

    def probe(self) -> None:
        raise AssertionError("a repair probes nothing")

    def until_asked(self) -> float:
        """Let time pass until something is asked for; how long that took."""
        began, seen = self.now, len(self.wishes)
        while len(self.wishes) == seen:
            self.now = max(self.now, self.resync.due)
            self.resync.tick(self.now)
        return self.now - began

    def breaks(self) -> float:
        """The book breaks; how long until it is asked for."""
        seen = len(self.wishes)
        self.resync.failed("gap", self.now)
        return 0.0 if len(self.wishes) > seen else self.until_asked()

    def holds(self, seconds: float) -> None:
        self.resync.succeeded(self.now)
        self.now += seconds


@pytest.mark.parametrize("sync", [IN_STREAM, BY_REST, KRAKEN_CHECKSUM])
@pytest.mark.parametrize("seconds", [AT_ONCE_SECONDS, 25.0, 59.0, 3600.0])
def test_gaps_that_are_repaired_each_time_do_not_slow_the_repair(sync: Sync, seconds: float) -> None:
    asked = Asked(sync)
    for _ in range(100):
        asked.holds(seconds)
        assert asked.breaks() == 0.0
        asked.now += 0.5
    wishes = {wish for _, wish in asked.wishes}
    assert wishes == {"fetch" if sync.rest else "resubscribe"}


def test_a_book_that_breaks_again_at_once_is_asked_for_ever_less_often() -> None:
    asked = Asked(IN_STREAM)
    delays = []
    for _ in range(12):
        asked.holds(AT_ONCE_SECONDS - 1)
        delays.append(asked.breaks())
    assert delays == [0, 1, 2, 4, 8, 16, 32, *[MAX_DELAY_SECONDS] * 5]
    assert [wish for _, wish in asked.wishes[:6]] == ["resubscribe", "resubscribe", "reconnect"] * 2


def test_attempts_that_bring_nothing_are_made_ever_less_often() -> None:
    asked = Asked(BY_REST)
    asked.resync.subscribed(asked.now)
    delays = [asked.until_asked() for _ in range(9)]
    patience = PATIENCE_SECONDS
    assert delays == [patience, *(patience + 2.0**n for n in range(6)), *[patience + MAX_DELAY_SECONDS] * 2]


def test_a_repaired_book_does_not_pay_for_failures_before_it_and_its_next_failure_does() -> None:
    asked = Asked(IN_STREAM)
    for _ in range(5):
        asked.holds(1)
        asked.breaks()
    asked.holds(25)
    assert asked.breaks() == 0.0, "it held: this repair is prompt"
    asked.holds(1)
    assert asked.breaks() == 16.0, "and failed at once, as five before it"


def test_a_good_stretch_begins_anew() -> None:
    asked = Asked(IN_STREAM)
    for _ in range(5):
        asked.holds(1)
        asked.breaks()
    asked.holds(HEALTHY_SECONDS)
    assert asked.breaks() == 0.0
    asked.holds(1)
    assert asked.breaks() == 0.0, "the first failure of a series"
    asked.holds(1)
    assert asked.breaks() == 1.0


def test_a_lost_connection_is_no_failure_and_health_before_it_counts() -> None:
    asked = Asked(IN_STREAM)
    for _ in range(4):
        asked.holds(1)
        asked.breaks()
    asked.holds(HEALTHY_SECONDS)
    asked.resync.waiting_for_connection(asked.now)
    for _ in range(50):
        asked.resync.subscribed(asked.now)
        asked.holds(2)
        asked.resync.waiting_for_connection(asked.now)
    asked.resync.subscribed(asked.now)
    asked.holds(1)
    assert asked.breaks() == 0.0
    assert [wish for _, wish in asked.wishes[4:]] == ["resubscribe"]


def test_the_wait_for_the_exchange_s_allowance_is_no_failure() -> None:
    asked = Asked(BY_REST)
    asked.resync.subscribed(asked.now)
    for _ in range(200):
        asked.now += 1
        asked.resync.postpone(asked.now)
        asked.resync.tick(asked.now)
    assert asked.wishes == [(1000.0, "fetch")]
    assert asked.until_asked() == PATIENCE_SECONDS
