"""Which of two rumours about one name is believed: the table the whole protocol hangs on, as data.

The order is: higher rank (generation + incarnation) first; at equal rank the older generation (the younger of two
processes of one name is the one that exits); in one life at equal rank alive < suspect < dead < left. So adopting
rumours is taking a maximum: it does not matter in which order they come, and all members end with the same belief.

One exception to the order: a suspicion of a life that is not the one held is ignored, whatever its rank, because it
brings no address to probe. The full record follows by anti-entropy.
"""

from __future__ import annotations

from enum import Enum

from level4.swim.member import Member, Rumour, State


class Verdict(Enum):
    IGNORE = "."
    TAKE = "T"
    CONFIRM = "c"
    """The same suspicion again: worth something if its accuser is new."""


Relation = tuple[int, int]
"""(rank, generation) of what comes relative to what is held: -1 lower, 0 equal, 1 higher."""

_ROWS: dict[Relation, str] = {
    # What comes, a row each: alive, suspect, dead, left. What is held, a column each: alive, suspect, dead, left.
    (1, 0): "TTTT TTTT TTTT TTTT",
    (0, 0): ".... Tc.. TT.. TTT.",
    (-1, 0): ".... .... .... ....",
    (1, 1): "TTTT .... TTTT TTTT",
    (1, -1): "TTTT .... TTTT TTTT",
    (0, -1): "TTTT .... TTTT TTTT",
    (0, 1): ".... .... .... ....",
    (-1, 1): ".... .... .... ....",
    (-1, -1): ".... .... .... ....",
}

PRECEDENCE: dict[Relation, dict[tuple[State, State], Verdict]] = {
    relation: {
        (came, held): Verdict(row[held])
        for came, row in zip(State, rows.split(), strict=True)
        for held in State
    }
    for relation, rows in _ROWS.items()
}
"""Relation → (state that comes, state held) → verdict."""


def _sign(difference: int) -> int:
    return (difference > 0) - (difference < 0)


def judge(rumour: Rumour, held: Member) -> Verdict:
    """What to do with a rumour about a name of which `held` is known."""
    generation = rumour.generation - held.generation
    relation = _sign(generation + rumour.incarnation - held.incarnation), _sign(generation)
    return PRECEDENCE[relation][rumour.state, held.state]
