"""Getting in, and finding back: seeds and remembered members are tried for ever.

A newcomer asks seeds until one welcomes it. An active member goes on: now and then it asks one address, at random, of
the seeds and of the members that died, unless a live member has it. So two halves of a healed partition always find
each other, however long it lasted. A contact carries the full record of who asks; the answer starts a comparison of
views. Every other contact is padded to full size and so is its answer: a path that lets small datagrams pass and drops
large ones is seen here, and not as members that come and go for no reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from level4.swim.antientropy import AntiEntropy
from level4.swim.core import Core, accusation
from level4.swim.identity import Identity, Phase
from level4.swim.member import Address, Member, State
from level4.swim.messages import Contact, Heard, Held, Padding, Welcome, encode
from level4.swim.reading import address as packed
from level4.swim.rumours import Rumours

AT_ONCE: Final = 3
"""Addresses that are tried together while nobody is known."""
PADDING_HEADER: Final = 4
LOST_TO_TELL: Final = 5
"""Contacts of full size without an answer, while small ones are answered, that tell of a path that drops large ones."""
HELLO_SECONDS: Final = 0.05
"""Least time between contacts that hellos cause."""
MAX_SEEDS: Final = 1024


class Contacts:
    def __init__(self, core: Core, identity: Identity, rumours: Rumours, antientropy: AntiEntropy) -> None:
        self._core = core
        self._identity = identity
        self._rumours = rumours
        self._antientropy = antientropy
        self._seeds: list[Address] = []
        self._gate: Address | None = None
        """Who said last that the name is held."""
        self._hello_at = float("-inf")
        self._asked = {True: 0, False: 0}
        self._welcomed = {True: 0, False: 0}
        """By whether the datagrams had full size."""

    def set_seeds(self, seeds: Iterable[Address]) -> None:
        """Addresses to be tried for ever. Raises ValueError for one that is no IP address and port."""
        chosen = list(dict.fromkeys(seeds))[:MAX_SEEDS]
        for seed in chosen:
            packed(seed)
        self._seeds = chosen

    def tick(self, now: float) -> None:
        config, rng = self._core.config, self._core.rng
        joining = self._identity.phase is Phase.JOINING
        for address in self._choose(AT_ONCE if joining or not self._core.roster.live else 1):
            full = self._asked[True] <= self._asked[False]
            self.contact(address, now, full=full)
        interval = config.probe_interval if joining else config.contact_interval
        self._core.timers.at(now + interval * (0.5 + rng.random()), self.tick)

    def _choose(self, count: int) -> list[Address]:
        roster = self._core.roster
        if not self._seeds and not roster.remembered:
            return []
        taken = {member.address for member in roster.members.values() if member.live}
        taken.add(roster.own.address)
        free = [address for address in dict.fromkeys([*self._seeds, *roster.remembered]) if address not in taken]
        return self._core.rng.sample(free, min(count, len(free)))

    def contact(self, address: Address, now: float, *, full: bool = False) -> None:
        """Ask whoever is at an address to be let in, or to compare views; `full`: by a datagram of full size."""
        if self._identity.phase in (Phase.JOINING, Phase.ACTIVE) and address != self._core.roster.own.address:
            self._asked[full] += 1
            parts = [encode(Contact(self._core.roster.own, self._identity.silent))]
            self._core.outlet.send(address, self.filled(parts) if full else parts, now, news=False)

    def filled(self, parts: list[bytes]) -> list[bytes]:
        """Parts of a datagram of full size."""
        left = self._core.outlet.room - sum(len(part) for part in parts) - PADDING_HEADER
        return [*parts, encode(Padding(left))] if left > 0 else parts

    @property
    def full_size_passes(self) -> bool | None:
        """Whether datagrams of full size get through both ways; None if that is not known yet."""
        if self._welcomed[True]:
            return True
        return False if self._welcomed[False] and self._asked[True] >= LOST_TO_TELL else None

    def hello(self, source: Address, now: float) -> None:
        """Somebody is there. Believed no more than that it is worth asking, and not too often."""
        if now - self._hello_at < HELLO_SECONDS or source == self._core.roster.own.address:
            return
        if all(member.address != source or not member.live for member in self._core.roster.members.values()):
            self._hello_at = now
            self.contact(source, now)

    def on_contact(self, contact: Contact, source: Address, now: float, *, full: bool) -> None:
        member, roster = contact.member, self._core.roster
        held = roster.known(member.name)
        if held is roster.own and held.generation == member.generation and held.address == member.address:
            return
        bears = held is not None and held.live and held.generation < member.generation
        if held is not None and bears and held.generation not in contact.silent and held.address != member.address:
            alive = held if held.state == State.ALIVE else held.believed(State.ALIVE)
            self._core.outlet.send(source, (encode(Held(alive)),), now, news=False)
            return
        self._rumours.hear(member, now)
        parts = [encode(Welcome(roster.own))]
        held = roster.known(member.name)
        if held is not None and (held.rank > member.rank or not held.live or held.address != member.address):
            parts.append(encode(Heard(held if held.state == State.ALIVE else accusation(held))))
        opening = self._antientropy.opening()
        if sum(len(part) for part in parts) + len(opening) <= self._core.outlet.room:
            parts.append(opening)
        self._core.outlet.send(source, self.filled(parts) if full else parts, now, news=False)

    def on_welcome(self, member: Member, now: float, *, full: bool) -> None:
        self._welcomed[full] += 1
        self._rumours.hear(member, now)
        if not self._identity.asking:
            self._identity.activate(now)

    def on_held(self, member: Member, source: Address, now: float) -> None:
        self._gate = source
        self._identity.held(member, now)

    def waited_long_enough(self, now: float) -> None:
        """Nobody has answered: be active alone, unless it is being found out whether the name is free."""
        if self._identity.asking:
            self._core.timers.at(now + self._core.config.probe_timeout, self.waited_long_enough)
        else:
            self._identity.activate(now)

    def on_silence(self, now: float) -> None:
        """The holder of this name was silent: ask again to be let in, now knowing that."""
        if self._identity.phase is Phase.JOINING and self._gate is not None:
            self.contact(self._gate, now)
