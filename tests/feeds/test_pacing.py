"""Allowances: never more in any window than is allowed, and never slower than that demands; in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from level4.feeds.pacing import Allowance

WINDOW = 10.0


async def test_all_at_once_then_when_the_window_has_passed(autojump_clock: MockClock) -> None:
    allowance, moments = Allowance(3, WINDOW), []
    for _ in range(7):
        await allowance.take()
        moments.append(round(trio.current_time(), 3))
    assert moments == [0, 0, 0, 10.2, 10.2, 10.2, 20.4]


async def test_a_request_for_more_than_the_whole_takes_an_empty_window(autojump_clock: MockClock) -> None:
    allowance = Allowance(3, WINDOW)
    await allowance.take(1)
    await allowance.take(100)
    assert trio.current_time() == pytest.approx(10.2)
    assert allowance.remaining == 0


@pytest.mark.parametrize(("amount", "seconds"), [(0, 1.0), (1, 0.0), (-1, 1.0)])
def test_an_impossible_allowance(amount: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="positive amount and window"):
        Allowance(amount, seconds)


async def test_what_others_have_used_counts_for_a_window(autojump_clock: MockClock) -> None:
    allowance = Allowance(10, WINDOW)
    await allowance.take(2)
    allowance.learn_used(2)
    assert allowance.remaining == 8
    allowance.learn_used(7)
    assert allowance.remaining == 3
    allowance.learn_used(5)  # an older count, overtaken
    assert allowance.remaining == 3
    allowance.learn_used(500)
    assert allowance.remaining == 0
    await allowance.take(10)
    assert trio.current_time() == pytest.approx(10.2)


async def test_a_part_is_kept_for_what_is_urgent(autojump_clock: MockClock) -> None:
    allowance = Allowance(10, WINDOW, kept=0.2)
    await allowance.take(8)
    order: list[str] = []

    async def take(name: str, tokens: float, urgent: bool) -> None:
        await allowance.take(tokens, urgent=urgent)
        order.append(f"{name} at {trio.current_time():.1f}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "ordinary", 1, False)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, "urgent", 2, True)
        await trio.testing.wait_all_tasks_blocked()
        assert allowance.waiting == 1
    assert order == ["urgent at 0.0", "ordinary at 10.2"]


def most_in_any(moments: list[tuple[float, float]], seconds: float) -> float:
    return max(sum(tokens for when, tokens in moments if at <= when < at + seconds) for at, _ in moments)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 15), st.integers(1, 6), st.booleans()), min_size=1, max_size=25),
    st.integers(6, 12),
    st.integers(1, 3),
)
def test_never_more_in_any_window_and_in_order(asked: list[tuple[float, int, bool]], amount: int, nodes: int) -> None:
    """Each is asked for so long after the one before."""
    granted: list[tuple[float, float]] = []
    order: list[int] = []

    async def main() -> None:
        allowance = Allowance(amount, WINDOW, share=nodes, kept=0.2)

        async def take(number: int, tokens: int, urgent: bool) -> None:
            await allowance.take(tokens, urgent=urgent)
            granted.append((trio.current_time(), min(tokens, allowance.amount)))
            if not urgent:
                order.append(number)

        async with trio.open_nursery() as nursery:
            for number, (pause, tokens, urgent) in enumerate(asked):
                await trio.sleep(pause)
                nursery.start_soon(take, number, tokens, urgent)
                await trio.testing.wait_all_tasks_blocked()
        assert allowance.waiting == 0

    trio.run(main, clock=MockClock(autojump_threshold=0.0))
    assert len(granted) == len(asked)
    assert most_in_any(granted, WINDOW) <= max(1.0, amount / nodes) + 1e-6
    assert all(a < b for a, b in pairwise(order))
