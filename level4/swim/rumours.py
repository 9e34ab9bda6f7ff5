"""What is believed of what is heard: the precedence table applied to the roster, with suspicions and events."""

from __future__ import annotations

from level4.swim.config import MAX_INCARNATION_JUMP
from level4.swim.core import Core
from level4.swim.events import Change, MemberEvent
from level4.swim.identity import Identity
from level4.swim.member import Accusation, Member, Rumour, State
from level4.swim.messages import Heard, encode
from level4.swim.precedence import Verdict, judge
from level4.swim.suspicion import Suspicion


class Rumours:
    def __init__(self, core: Core, identity: Identity) -> None:
        self._core = core
        self._identity = identity

    def hear(self, rumour: Rumour, now: float, *, told: bool = False) -> None:
        """Take a rumour for what it is worth, and pass it on if it is news.

        `told`: it comes out of somebody's table, perhaps from the other side of a healed partition. A death that is
        told is only suspected, so that the member can refute it before anybody acts on it; leaving is believed.
        """
        roster = self._core.roster
        if rumour.name == roster.own.name:
            self._identity.about_me(rumour, now)
            return
        held = roster.members.get(rumour.name)
        if held is None:
            if isinstance(rumour, Member):
                self._admit(rumour, now)
            return
        if rumour.rank - held.rank > MAX_INCARNATION_JUMP * (2 if isinstance(rumour, Member) else 1):
            self._core.stats.rumours_refused += 1
            return
        verdict = judge(rumour, held)
        if verdict is Verdict.IGNORE:
            if isinstance(rumour, Member) and rumour.rank == held.rank and rumour.address != held.address:
                self._twins(rumour, held, now)
            return
        if isinstance(rumour, Member):
            self._alive(rumour, held, now)
        elif verdict is Verdict.CONFIRM:
            self._confirm(rumour, now)
        elif rumour.state == State.SUSPECT:
            self._suspect(rumour, held, now)
        elif told and rumour.state == State.DEAD and held.live:
            if rumour.generation == held.generation and (held.state == State.ALIVE or rumour.rank > held.rank):
                self._suspect(rumour, held, now)
        else:
            self._bury(rumour, held, now)

    def accuse(self, member: Member, state: State, now: float) -> None:
        """Say first-hand that a member is suspect, or that the time in which it could refute is over."""
        own = self._core.roster.own.name
        self.hear(Accusation(state, member.name, member.generation, member.incarnation, own), now)

    def _twins(self, one: Member, other: Member, now: float) -> None:
        """Two processes of one name that started in the same millisecond: let them know of each other."""
        if one.generation == other.generation and other.live:
            self._core.outlet.send(one.address, (encode(Heard(other.believed(State.ALIVE))),), now, news=False)
            self._core.outlet.send(other.address, (encode(Heard(one)),), now, news=False)

    def _admit(self, member: Member, now: float) -> None:
        roster = self._core.roster
        if roster.live >= self._core.config.max_members:
            self._core.stats.rumours_refused += 1
            return
        roster.put(member, None, now)
        self._core.spread(member, now)
        self._core.tell(MemberEvent(Change.JOINED, member))

    def _alive(self, member: Member, held: Member, now: float) -> None:
        if not held.live and self._core.roster.live >= self._core.config.max_members:
            self._core.stats.rumours_refused += 1
            return
        self._core.roster.put(member, None, now)
        self._core.spread(member, now)
        if held.live and held.generation != member.generation:
            self._core.tell(MemberEvent(Change.DEAD, held.believed(State.DEAD)))
        if not held.live or held.generation != member.generation:
            self._core.tell(MemberEvent(Change.JOINED, member))
            return
        if held.state == State.SUSPECT:
            self._core.tell(MemberEvent(Change.REFUTED, member))
        if (held.address, held.meta) != (member.address, member.meta):
            self._core.tell(MemberEvent(Change.CHANGED, member))

    def _suspect(self, rumour: Accusation, held: Member, now: float) -> None:
        core, members = self._core, self._core.roster.live + 1
        accused = Accusation(State.SUSPECT, rumour.name, rumour.generation, rumour.incarnation, rumour.accuser)
        member = Member(held.name, held.generation, rumour.incarnation, held.address, held.meta, State.SUSPECT)
        config = core.config
        wanted = config.wanted_confirmations(members)
        suspicion = Suspicion(rumour.accuser, now, config.suspicion_bounds(members), wanted)
        core.roster.put(member, suspicion, now)
        core.spread(accused, now)
        core.timers.at(suspicion.deadline, self._expire, member.name)
        if not held.live:
            core.tell(MemberEvent(Change.JOINED, member))
        core.tell(MemberEvent(Change.SUSPECTED, member))

    def _confirm(self, rumour: Accusation, now: float) -> None:
        suspicion = self._core.roster.suspicions[rumour.name]
        if suspicion.confirm(rumour.accuser):
            self._core.spread(rumour, now)
            self._core.timers.at(max(now, suspicion.deadline), self._expire, rumour.name)

    def _expire(self, name: str, now: float) -> None:
        suspicion = self._core.roster.suspicions.get(name)
        if suspicion is not None and now >= suspicion.deadline:
            self.accuse(self._core.roster.members[name], State.DEAD, now)

    def _bury(self, rumour: Accusation, held: Member, now: float) -> None:
        member = Member(
            held.name, rumour.generation, rumour.incarnation, held.address, held.meta, rumour.state
        )
        self._core.roster.put(member, None, now)
        self._core.spread(rumour, now)
        if held.live:
            gone = member if member.generation == held.generation else held.believed(State.DEAD)
            self._core.tell(MemberEvent(Change.LEFT if gone.state == State.LEFT else Change.DEAD, gone))
