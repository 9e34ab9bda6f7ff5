"""Which nodes are to give markets to which, so that none has more than its share.

Load is the part of its capacity that a node uses. One market at a time goes from the most to the least loaded node, as
long as the giver stays more loaded than the taker becomes: no market moves back, so the plan ends, and a balanced
cluster gets an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from level4.placement.choice import Room


def balance(rooms: Sequence[Room]) -> list[tuple[str, str]]:
    """(giver, taker) of each market that is to move, in order. Alike for any order of `rooms`."""
    now = {room.node: room for room in sorted(rooms, key=lambda room: room.node) if room.capacity}
    moves: list[tuple[str, str]] = []
    while len(now) > 1:
        giver = max(now.values(), key=lambda room: (_load(room, 0), room.node))
        taker = min(now.values(), key=lambda room: (_load(room, 1), room.node))
        if giver.node == taker.node or not taker.free or not giver.active or _load(giver, 0) <= _load(taker, 1):
            break
        now[giver.node] = replace(giver, active=giver.active - 1)
        now[taker.node] = replace(taker, active=taker.active + 1)
        moves.append((giver.node, taker.node))
    return moves


def _load(room: Room, more: int) -> Fraction:
    return Fraction(room.active + more, room.capacity)
