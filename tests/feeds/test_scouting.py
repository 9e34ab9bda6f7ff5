"""The parts of scouting; what they come to is in test_outages.py."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from level4.exchanges import PROTOCOLS
from level4.feeds.outage import HALT_SECONDS
from level4.feeds.pacing import Allowance
from level4.feeds.scouting import HASTE_SECONDS, SCOUT_SECONDS, Scouting, patience

TEXT = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")


async def test_what_is_given_back_may_be_spent_again(autojump_clock: MockClock) -> None:
    allowance = Allowance(2, 10.0)
    for _ in range(100):
        await allowance.take()
        allowance.give_back()
    await allowance.take(2)
    assert trio.current_time() == 0.0
    await allowance.take()
    assert trio.current_time() > 10.0


def test_most_attempts_on_a_silent_address_are_short_and_some_are_not() -> None:
    assert [patience(failures) for failures in range(17)] == [
        *[float("inf"), *[HASTE_SECONDS] * 7] * 2,
        float("inf"),
    ]


@pytest.mark.parametrize("reached", [True, False])
async def test_one_of_those_who_wait_is_the_scout(autojump_clock: MockClock, reached: bool) -> None:
    scouting, began = Scouting(Allowance(10, 100.0), Random(1)), trio.current_time()
    waited: list[float] = []

    async def wait() -> None:
        await scouting.wait(60.0, began, reached=reached)
        waited.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
    longest = 1.5 * scouting.connects.spacing if reached else SCOUT_SECONDS
    assert SCOUT_SECONDS / 2 <= waited[0] <= longest
    assert waited[1:] == [60.0, 60.0]


async def test_whoever_is_let_in_wakes_the_others(autojump_clock: MockClock) -> None:
    scouting = Scouting(Allowance(10, 100.0), Random(1))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: scouting.wait(60.0, 0.0, reached=True))
        await trio.sleep(1.0)
        scouting.returned()
    assert 1.0 <= trio.current_time() <= 2.0


def test_the_document_says_how_often_an_address_is_asked() -> None:
    for protocol, name in (("kraken.v2", "Kraken"), ("bitmex.v1", "BitMEX")):
        limits = PROTOCOLS[protocol].limits
        assert f"{1.5 * Allowance(limits.connects, limits.connects_seconds).spacing:.0f} s for {name}" in TEXT
    assert f"every {SCOUT_SECONDS / 2:.0f} to {SCOUT_SECONDS:.0f} s" in TEXT
    assert f"given up after {HASTE_SECONDS:.0f} s, each eighth after 10 s" in TEXT
    assert HALT_SECONDS == 300.0
    assert "nothing but failures came for five minutes" in TEXT
