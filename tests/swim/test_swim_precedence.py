"""The precedence table: every cell against the rules in words, and that it is an order."""

from __future__ import annotations

from itertools import product

import pytest

from level4.swim.member import Accusation, Member, Rumour, State
from level4.swim.precedence import PRECEDENCE, Verdict, judge

WHERE = ("10.0.0.1", 7946)
SIGNS = (-1, 0, 1)
CELLS = list(product(SIGNS, SIGNS, State, State))


def rumour(state: State, generation: int, incarnation: int) -> Rumour:
    if state == State.ALIVE:
        return Member("x", generation, incarnation, WHERE)
    return Accusation(state, "x", generation, incarnation, "y")


def held(state: State, generation: int, incarnation: int) -> Member:
    return Member("x", generation, incarnation, WHERE, b"", state)


def expected(rank: int, generation: int, came: State, have: State) -> Verdict:
    """The rules in words, written down a second time and otherwise."""
    if generation != 0:
        if came == State.SUSPECT:
            return Verdict.IGNORE  # no address to probe
        if rank == 0:
            return Verdict.TAKE if generation < 0 else Verdict.IGNORE  # the younger of two exits
        return Verdict.TAKE if rank > 0 else Verdict.IGNORE
    if rank != 0:
        return Verdict.TAKE if rank > 0 else Verdict.IGNORE
    if came == have == State.SUSPECT:
        return Verdict.CONFIRM
    return Verdict.TAKE if came > have else Verdict.IGNORE


@pytest.mark.parametrize(("rank", "generation", "came", "have"), CELLS)
def test_each_cell(rank: int, generation: int, came: State, have: State) -> None:
    base = held(have, 1000, 500)
    life = 1000 + 100 * generation
    heard = rumour(came, life, base.rank + rank - life)
    assert judge(heard, base) is expected(rank, generation, came, have)


def test_the_table_has_all_cells_and_no_more() -> None:
    assert len(CELLS) == 144
    assert {(r, g, c, h) for (r, g), cells in PRECEDENCE.items() for c, h in cells} == set(CELLS)


def test_what_the_paper_says_of_one_life() -> None:
    """SWIM, DSN 2002, section 4.2; a death is final there only for its incarnation and those below."""
    assert judge(rumour(State.ALIVE, 1, 5), held(State.SUSPECT, 1, 5)) is Verdict.IGNORE
    assert judge(rumour(State.ALIVE, 1, 6), held(State.SUSPECT, 1, 5)) is Verdict.TAKE
    assert judge(rumour(State.SUSPECT, 1, 5), held(State.ALIVE, 1, 5)) is Verdict.TAKE
    assert judge(rumour(State.SUSPECT, 1, 4), held(State.ALIVE, 1, 5)) is Verdict.IGNORE
    assert judge(rumour(State.SUSPECT, 1, 6), held(State.SUSPECT, 1, 5)) is Verdict.TAKE
    assert judge(rumour(State.DEAD, 1, 5), held(State.ALIVE, 1, 5)) is Verdict.TAKE
    assert judge(rumour(State.DEAD, 1, 4), held(State.ALIVE, 1, 5)) is Verdict.IGNORE
    assert judge(rumour(State.ALIVE, 1, 6), held(State.DEAD, 1, 5)) is Verdict.TAKE


def test_taking_is_a_maximum() -> None:
    """Of any two different beliefs exactly one beats the other, and never in a circle; so the order in which rumours
    come does not matter. Suspicions of another life are outside the order."""
    lives = [(state, generation, rank - generation) for state in State for generation in (1, 2, 3) for rank in (3, 4)]

    def beats(one: tuple[State, int, int], other: tuple[State, int, int]) -> bool:
        return judge(rumour(*one), held(*other)) is Verdict.TAKE

    for one, other in product(lives, lives):
        other_life = one[1] != other[1]
        if one == other:
            assert not beats(one, other)
        elif not (other_life and State.SUSPECT in (one[0], other[0])):
            assert beats(one, other) != beats(other, one)
    solid = [life for life in lives if life[0] != State.SUSPECT]
    for a, b, c in product(solid, solid, solid):
        if beats(a, b) and beats(b, c):
            assert beats(a, c)
