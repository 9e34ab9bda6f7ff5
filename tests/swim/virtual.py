"""Clusters in virtual time for the tests: a network that also judges, and shorthands."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from level4.swim import Change, Event, MemberEvent, State
from level4.swim.simulation import Network
from level4.swim.simulation.network import Node


def randomness(seed: object) -> Callable[[str], Random]:
    return lambda purpose: Random(f"{seed} {purpose}")


class Judged(Network):
    """Asserts, after each step of a node: its own invariants; that no rank that it knows has fallen; that nobody but a
    member itself raised its incarnation; that no datagram is larger than allowed. Keeps all events."""

    def __init__(self, seed: object = 1, **options: Any) -> None:
        self.events: list[tuple[float, str, Event]] = []
        self._ranks: dict[tuple[int, str], int] = {}
        self._lives: dict[tuple[str, int], list[Node]] = {}
        """(name, generation) → its processes: one, but for twins that started in the same millisecond."""
        self._alive: dict[tuple[int, str], tuple[bool, tuple[int, int]]] = {}
        super().__init__(randomness(seed), watch=self._saw, checked=True, **options)
        self.largest = 0
        self.tap = self._sent

    def _sent(self, data: bytes, source: object, destination: object) -> None:
        self.largest = max(self.largest, len(data))
        assert len(data) <= self._config.packet_bytes

    def _saw(self, now: float, node: Node, event: Event) -> None:
        self.events.append((round(now, 3), node.membership.own.name, event))
        if isinstance(event, MemberEvent):
            member = event.member
            order = member.rank, -member.generation
            was, last = self._alive.get((id(node), member.name), (False, (-1, 0)))
            if event.change is Change.JOINED:
                assert not was
                assert order > last
            if event.change in (Change.DEAD, Change.LEFT):
                assert was
            self._alive[id(node), member.name] = member.live, order

    def settle(self, node: Node) -> None:
        own = node.membership.own
        lives = self._lives.setdefault((own.name, own.generation), [])
        if node not in lives:
            lives.append(node)
        if node.timer is None and not any(key[0] == id(node) for key in self._alive):
            for member in node.membership.members()[1:]:
                self._alive[id(node), member.name] = True, (member.rank, -member.generation)
        super().settle(node)
        for member in node.membership.members(dead=True):
            rank = self._ranks.get((id(node), member.name), -1)
            assert member.rank >= rank, f"{own.name}: the rank of {member.name} fell"
            self._ranks[id(node), member.name] = member.rank
            known = self._lives.get((member.name, member.generation))  # none: not started yet, only believed
            raised = [life.membership.own.incarnation for life in known or ()]
            assert not raised or member.incarnation <= max(raised), f"{member.name} was raised by another"

    def changes(self, of: str, seen_by: str | None = None) -> list[Change]:
        """What happened to a member, as seen by one (or all) of the others."""
        return [
            event.change
            for _, observer, event in self.events
            if isinstance(event, MemberEvent) and event.member.name == of and seen_by in (None, observer)
        ]

    def quiet(self) -> bool:
        """Whether all agree, nobody is suspected, and no news is on its way."""
        return self.agreed() and not any(
            node.membership._core.queue or node.membership._core.roster.suspicions for node in self.running()
        )


def states(node: Node) -> dict[str, State]:
    """What a node believes of the others."""
    return {member.name: member.state for member in node.membership.members(dead=True)[1:]}
