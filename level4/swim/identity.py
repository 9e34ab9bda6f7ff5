"""This member's own record: refuting what is said of it, who else bears its name, and its end.

**Two processes of one name.** The older stays, the younger exits; so only the younger has to find out whether the
other lives, by pinging it *as that life* (name and generation), which nobody else answers. An answer is a conflict:
this process must exit. Silence buries the other: this one takes a rank above it. The older, when it hears that a
younger has taken its place, takes the place back by outbidding it; the younger then hears of it, asks, and exits. So it
ends the same way however the two meet: at joining, after a partition, or through others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from level4.swim.config import MAX_INCARNATION_JUMP, MAX_META_BYTES
from level4.swim.core import Core
from level4.swim.events import Active, Departed, NameConflict
from level4.swim.member import Accusation, Address, Member, Rumour, State
from level4.swim.messages import Heard, Ping, encode

ASKS: Final = 5
"""Pings to a rival, a probe timeout apart, before it is held for silent: at 5 % loss one in 100,000 is missed."""
SILENCE_SECONDS: Final = 10.0
"""How long a rival that was silent is not asked again."""
MAX_RIVALS: Final = 8
MAX_FORMER: Final = 16
LEAVE_INTERVALS: Final = 4
"""Probe periods after which leaving ends even if the news was not sent often enough."""


class Phase(Enum):
    JOINING = "joining"
    ACTIVE = "active"
    LEAVING = "leaving"
    GONE = "gone"


class _Rival:
    __slots__ = ("asked", "member", "sequences", "silent_since")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.asked = 0
        self.sequences: set[int] = set()
        self.silent_since: float | None = None


class Identity:
    def __init__(self, core: Core) -> None:
        self._core = core
        self.phase = Phase.JOINING
        self._rivals: dict[int, _Rival] = {}
        """By generation."""
        self._former: deque[Address] = deque(maxlen=MAX_FORMER)
        """Addresses that this life had before: a rumour with one of them is an old word of its own, no double."""
        self.on_silence: Callable[[float], None] = lambda now: None
        """Called when a rival was found silent."""

    @property
    def own(self) -> Member:
        return self._core.roster.own

    @property
    def asking(self) -> bool:
        """Whether it is being found out if another bears the name."""
        return any(rival.silent_since is None for rival in self._rivals.values())

    @property
    def silent(self) -> tuple[int, ...]:
        """Generations of the name that were found silent."""
        return tuple(generation for generation, rival in self._rivals.items() if rival.silent_since is not None)

    def activate(self, now: float) -> None:
        if self.phase is Phase.JOINING:
            self.phase = Phase.ACTIVE
            self._core.tell(Active(alone=not self._core.roster.live))
            self._core.spread(self.own, now)

    def _raise(
        self, rank: int, now: float, meta: bytes | None = None, address: Address | None = None
    ) -> None:
        """Publish a record above a rank."""
        own = self.own
        incarnation = max(own.rank, rank) + 1 - own.generation
        said = own.meta if meta is None else meta
        record = Member(own.name, own.generation, incarnation, address or own.address, said)
        self._core.roster.set_own(record, now)
        self._core.spread(record, now)

    def set_meta(self, meta: bytes, now: float) -> None:
        if len(meta) > MAX_META_BYTES:
            raise ValueError(f"expected at most {MAX_META_BYTES} bytes of meta, got {len(meta)}; the old meta stays")
        if meta != self.own.meta and self.phase in (Phase.JOINING, Phase.ACTIVE):
            self._raise(0, now, meta)

    def set_address(self, address: Address, now: float) -> None:
        if address != self.own.address and self.phase in (Phase.JOINING, Phase.ACTIVE):
            self._former.append(self.own.address)
            self._raise(0, now, address=address)

    def about_me(self, rumour: Rumour, now: float) -> None:
        """Something is said of this member's name."""
        own = self.own
        if self.phase in (Phase.LEAVING, Phase.GONE):
            return
        if rumour.rank > own.rank + MAX_INCARNATION_JUMP:
            self._core.stats.rumours_refused += 1
        elif rumour.generation != own.generation:
            self._rival(rumour, now)
        elif isinstance(rumour, Member):
            if rumour.address != own.address and rumour.address not in self._former:
                self._twin(rumour, now)
            elif rumour.incarnation > own.incarnation:  # nobody but this process may say so
                self._raise(rumour.rank, now)
        elif rumour.incarnation >= own.incarnation and rumour.accuser != own.name:
            self._core.stats.refutations += 1
            self._core.health.worsen(1)
            self._raise(rumour.rank, now)

    def _twin(self, rumour: Member, now: float) -> None:
        """Another process of this name that started in the same millisecond: the one at the lower address stays."""
        if rumour.address > self.own.address:
            self._raise(rumour.rank, now)
        else:
            self._conflict(rumour, now)

    def _rival(self, rumour: Rumour, now: float) -> None:
        outranked = rumour.rank >= self.own.rank
        if isinstance(rumour, Accusation):
            if outranked:
                self._raise(rumour.rank, now)
        elif rumour.generation > self.own.generation:
            if outranked:
                self._raise(rumour.rank, now)
                self._core.outlet.send(rumour.address, (encode(Heard(self.own)),), now)
        elif not self._was_silent(rumour, now):
            self._ask(rumour, now)
        elif outranked:
            self._raise(rumour.rank, now)

    def _was_silent(self, member: Member, now: float) -> bool:
        rival = self._rivals.get(member.generation)
        if member.address == self.own.address:
            return True  # this process has taken its place
        silent = rival.silent_since if rival is not None else None
        return silent is not None and now - silent < SILENCE_SECONDS

    def held(self, member: Member, now: float) -> None:
        """A member says that the name is held by this one."""
        if member.name == self.own.name and member.generation != self.own.generation:
            if self.phase is Phase.JOINING and self._was_silent(member, now):
                self._rivals.setdefault(member.generation, _Rival(member)).silent_since = now
                self._silence(member, now)
            else:
                self.about_me(member, now)

    def _ask(self, member: Member, now: float) -> None:
        rival = self._rivals.get(member.generation)
        if rival is not None and rival.silent_since is None:
            return
        if len(self._rivals) >= MAX_RIVALS and rival is None:
            del self._rivals[next(iter(self._rivals))]
        self._rivals[member.generation] = _Rival(member)
        self._ask_again(self._rivals[member.generation], now)

    def _ask_again(self, rival: _Rival, now: float) -> None:
        if self._rivals.get(rival.member.generation) is not rival or self.phase in (Phase.LEAVING, Phase.GONE):
            return
        if rival.asked == ASKS:
            rival.silent_since = now
            self._silence(rival.member, now)
            return
        rival.asked += 1
        sequence = self._core.next_sequence()
        rival.sequences.add(sequence)
        ping = encode(Ping(sequence, rival.member.name, rival.member.generation))
        self._core.outlet.send(rival.member.address, (ping,), now, news=False)
        self._core.timers.at(now + self._core.config.probe_timeout, self._ask_again, rival)

    def _silence(self, member: Member, now: float) -> None:
        if member.rank >= self.own.rank:
            self._raise(member.rank, now)
        elif self.phase is Phase.ACTIVE:
            self._core.spread(self.own, now)
        self.on_silence(now)

    def acked(self, sequence: int, now: float) -> bool:
        """Whether this ack is a rival's answer: then this process leaves."""
        for rival in self._rivals.values():
            if sequence in rival.sequences and rival.silent_since is None:
                self._conflict(rival.member, now)
                return True
        return False

    def _conflict(self, holder: Member, now: float) -> None:
        self._core.tell(NameConflict(holder))
        self.leave(now)

    def leave(self, now: float) -> None:
        """Tell the others, and end. At once if nobody knows of this member."""
        if self.phase in (Phase.LEAVING, Phase.GONE):
            return
        was, self.phase = self.phase, Phase.LEAVING
        self._core.timers.clear()
        self._core.gossiping = False
        if was is Phase.JOINING or not self._core.roster.live:
            self._end()
            return
        own = self.own
        self._core.spread(Accusation(State.LEFT, own.name, own.generation, own.incarnation, own.name), now)
        self._core.gossip(now)
        self._departing(now + LEAVE_INTERVALS * self._core.config.probe_interval, now)

    def _departing(self, deadline: float, now: float) -> None:
        if now >= deadline or self.own.name not in self._core.queue:
            self._end()
        else:
            self._core.timers.at(now + self._core.config.gossip_interval, self._departing, deadline)

    def _end(self) -> None:
        self.phase = Phase.GONE
        self._core.timers.clear()
        self._core.queue.clear()
        self._core.tell(Departed())
