"""Sharing markets evenly: the plan ends, moves the fewest markets that do it, and is empty for a balanced cluster."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from level4.placement import Room, balance

ROOMS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair))), min_size=0, max_size=6
).map(lambda pairs: [Room(f"n{i}", active, capacity) for i, (active, capacity) in enumerate(pairs)])


def after(rooms: list[Room]) -> dict[str, Room]:
    now = {room.node: room for room in rooms}
    for giver, taker in balance(rooms):
        now[giver] = Room(giver, now[giver].active - 1, now[giver].capacity)
        now[taker] = Room(taker, now[taker].active + 1, now[taker].capacity)
        assert now[giver].active >= 0
        assert now[taker].active <= now[taker].capacity
    return now


@given(ROOMS)
def test_what_is_balanced_stays(rooms: list[Room]) -> None:
    now = after(rooms)
    assert sum(room.active for room in now.values()) == sum(room.active for room in rooms)
    assert balance(list(now.values())) == []
    for giver in now.values():
        for taker in now.values():
            if giver.capacity and taker.free and giver.active:
                assert Fraction(giver.active, giver.capacity) <= Fraction(taker.active + 1, taker.capacity)


@given(ROOMS)
def test_nobody_gives_and_takes_and_the_order_does_not_count(rooms: list[Room]) -> None:
    moves = balance(rooms)
    assert not {giver for giver, _ in moves} & {taker for _, taker in moves}
    assert balance(rooms[::-1]) == moves


def test_shares_follow_capacity() -> None:
    now = after([Room("a", 30, 60), Room("b", 0, 20), Room("c", 0, 10)])
    assert {name: room.active for name, room in now.items()} == {"a": 21, "b": 6, "c": 3}
