"""The table of members, and the view that follows from it. Decides nothing.

The view of a member is the set of live lives (name, generation, incarnation), itself included; a suspect counts as
live. Its fingerprint is the exclusive or of theirs, kept up with each change, so that two members can tell for eight
bytes whether they see the same.

Invariants, asserted by `check()`: no rank of a name ever falls, except by forgetting a tombstone; every suspect has a
suspicion and nobody else has; tombstones are bounded; the probe order has each live member once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from level4.swim.member import Address, Member, State
from level4.swim.suspicion import Suspicion

if TYPE_CHECKING:
    from random import Random


class Roster:
    def __init__(self, own: Member, rng: Random, max_tombstones: int, max_remembered: int) -> None:
        self.own = own
        self.members: dict[str, Member] = {}
        """All others that are known, by name, also the dead."""
        self.suspicions: dict[str, Suspicion] = {}
        self.graves: OrderedDict[str, float] = OrderedDict()
        """Dead and left members → since when; the oldest first."""
        self.remembered: OrderedDict[Address, None] = OrderedDict()
        """Where members died and none lives since. Outlasts their tombstones."""
        self.live = 0
        """Number of live others."""
        self.changed_at = float("-inf")
        self._rng = rng
        self._max_tombstones = max_tombstones
        self._max_remembered = max_remembered
        self._view = own.fingerprint
        self._order: list[str] = []
        """Probe order: a shuffled round. Names that died meanwhile are skipped."""
        self._at = 0
        self._sorted: list[str] | None = None

    @property
    def view(self) -> int:
        return self._view

    def preload(self, members: Iterable[Member]) -> None:
        """Believe these from the start."""
        for member in members:
            if member.name != self.own.name and member.live:
                self.members[member.name] = member
                self._view ^= member.fingerprint
                self._order.append(member.name)
        self._rng.shuffle(self._order)
        self.live = len(self._order)

    def set_own(self, own: Member, now: float) -> None:
        self._view ^= self.own.fingerprint ^ own.fingerprint
        self.own = own
        self.changed_at = now

    def known(self, name: str) -> Member | None:
        """A member of that name, dead or alive, this one included."""
        return self.own if name == self.own.name else self.members.get(name)

    def put(self, member: Member, suspicion: Suspicion | None, now: float) -> None:
        """Believe this of its name from now on. A suspect comes with its suspicion."""
        name = member.name
        held = self.members.get(name)
        was = held is not None and held.live
        if held is not None and was:
            self._view ^= held.fingerprint
        self.members[name] = member
        if member.live:
            self._view ^= member.fingerprint
        if held is None or was != member.live or held.fingerprint != member.fingerprint:
            self.changed_at = now
        if was != member.live:
            self._sorted = None
            self.live += 1 if member.live else -1
        if suspicion is not None:
            self.suspicions[name] = suspicion
        else:
            self.suspicions.pop(name, None)
        if member.live:
            self.graves.pop(name, None)
            if not was:
                self._insert(name)
        elif name not in self.graves:
            self.graves[name] = now
        if member.state == State.DEAD:
            self.remembered[member.address] = None
            self.remembered.move_to_end(member.address)
            if len(self.remembered) > self._max_remembered:
                self.remembered.popitem(last=False)
        else:
            self.remembered.pop(member.address, None)
        while len(self.graves) > self._max_tombstones:
            self._forget(next(iter(self.graves)))

    def forget_older(self, than: float) -> None:
        """Forget tombstones made before a time."""
        while self.graves and next(iter(self.graves.values())) < than:
            self._forget(next(iter(self.graves)))

    def _forget(self, name: str) -> None:
        del self.graves[name]
        del self.members[name]

    def _insert(self, name: str) -> None:
        """At a random place of what is left of the round, or the newest would be probed last by everybody."""
        order = self._order
        if name in self.members and order.count(name):
            order.remove(name)
            self._at = min(self._at, len(order))
        order.append(name)
        place = self._rng.randrange(min(self._at, len(order) - 1), len(order))
        order[place], order[-1] = order[-1], order[place]

    def next_target(self) -> Member | None:
        """The next live member of the round; a new round is shuffled."""
        for _ in range(2):
            while self._at < len(self._order):
                member = self.members.get(self._order[self._at])
                self._at += 1
                if member is not None and member.live:
                    return member
            self._order = [name for name in self._order if name in self.members and self.members[name].live]
            self._rng.shuffle(self._order)
            self._at = 0
        return None

    def sample(
        self, count: int, *, alive: bool = False, besides: str = "", dead_since: float | None = None
    ) -> list[Member]:
        """Up to so many random members: live ones, only unsuspected ones (`alive`), or also those that died later than
        a time. May be fewer than could be had when most of those known are dead."""
        order, rng, found = self._order, self._rng, dict[str, Member]()
        dead = [] if dead_since is None else self._dead_since(dead_since)
        size = len(order) + len(dead)
        for _ in range(4 * count if size else 0):
            pick = rng.randrange(size)
            name = order[pick] if pick < len(order) else dead[pick - len(order)]
            member = self.members.get(name)
            if member is None or name == besides or name in found:
                continue
            if member.state == State.ALIVE or (not alive and (member.live or pick >= len(order))):
                found[name] = member
                if len(found) == count:
                    break
        return list(found.values())

    def _dead_since(self, when: float) -> list[str]:
        dead = []
        for name in reversed(self.graves):
            if self.graves[name] < when:
                break
            if self.members[name].state == State.DEAD:
                dead.append(name)
        return dead

    def names(self) -> list[str]:
        """Names of the view, sorted. Not to be changed."""
        if self._sorted is None:
            live = [name for name, member in self.members.items() if member.live]
            self._sorted = sorted([*live, self.own.name])
        return self._sorted

    def names_between(self, first: str, end: str) -> list[str]:
        """Names of the view from `first` to before `end`; empty for the open ends."""
        names = self.names()
        return names[bisect_left(names, first) : bisect_left(names, end) if end else len(names)]

    def fingerprint(self, names: Iterable[str]) -> int:
        """Of the part of the view with these names."""
        result = 0
        for name in names:
            member = self.own if name == self.own.name else self.members[name]
            result ^= member.fingerprint
        return result

    def check(self) -> None:
        live = {name for name, member in self.members.items() if member.live}
        assert self.live == len(live)
        assert self.own.name not in self.members
        assert all(name == member.name for name, member in self.members.items())
        suspects = {name for name, member in self.members.items() if member.state == State.SUSPECT}
        assert suspects == self.suspicions.keys()
        assert self.graves.keys() == self.members.keys() - live
        assert len(self.graves) <= self._max_tombstones
        assert len(self.remembered) <= self._max_remembered
        assert len(self._order) == len(set(self._order))
        assert live <= set(self._order)
        assert self._view == self.fingerprint(live) ^ self.own.fingerprint
        assert self._sorted is None or self._sorted == sorted({*live, self.own.name})
        times = list(self.graves.values())
        assert times == sorted(times)
