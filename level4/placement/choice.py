"""Which node is to host a market: random, weighted by free room, or the least loaded.

Random is the default, because nodes decide at the same moment with views that differ a little: the least loaded node
would be chosen by all of them at once, a random one is not. No node is ever given more than its capacity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """A node that may take markets. One that drains or cannot reach Kafka is not offered here."""

    node: str
    active: int
    """Markets it hosts or is about to."""
    capacity: int

    @property
    def free(self) -> int:
        return max(0, self.capacity - self.active)


def choose(rooms: Sequence[Room], fraction: float) -> str | None:
    """A node, with probability in proportion to its free room; None when there is none.

    `fraction`: a random number, 0 ≤ fraction < 1. Alike for any order of `rooms`.
    """
    ordered = sorted(rooms, key=lambda room: room.node)
    total = sum(room.free for room in ordered)
    ticket = int(fraction * total)
    for room in ordered:
        if ticket < room.free:
            return room.node
        ticket -= room.free
    return None


def least_loaded(rooms: Sequence[Room]) -> str | None:
    """The node with the smallest share of its capacity in use; by name among equals; None when there is no room."""
    free = [room for room in rooms if room.free]
    if not free:
        return None
    return min(free, key=lambda room: (room.active / room.capacity, room.node)).node


def spread_over(count: int, rooms: Sequence[Room], fractions: Sequence[float]) -> list[str | None]:
    """Nodes for `count` markets, one after the other, each filling what the last ones left. None: unplaced."""
    left = {room.node: room for room in rooms}
    chosen = []
    for fraction in fractions[:count]:
        node = choose(list(left.values()), fraction)
        chosen.append(node)
        if node is not None:
            room = left[node]
            left[node] = Room(node, room.active + 1, room.capacity)
    return chosen
