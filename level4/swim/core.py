"""What the parts of a membership share: its settings, table, queue, clocks' timers, and the way out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from level4.swim.config import Config
from level4.swim.dissemination import Dissemination
from level4.swim.events import Event, Stats
from level4.swim.health import LocalHealth
from level4.swim.member import Accusation, Member, Rumour, State
from level4.swim.messages import Heard, Told, encode
from level4.swim.outlet import Outlet
from level4.swim.roster import Roster
from level4.swim.timers import Timers

if TYPE_CHECKING:
    from random import Random

MAX_EVENTS: Final = 20_000


@dataclass(slots=True)
class Core:
    config: Config
    rng: Random
    timers: Timers
    roster: Roster
    queue: Dissemination
    health: LocalHealth
    outlet: Outlet
    stats: Stats
    events: deque[Event]
    sequence: int
    """Number of the last ping. Starts anywhere, so that an earlier life's acks fit nothing."""
    gossiping: bool = False

    def next_sequence(self) -> int:
        self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
        return self.sequence

    def tell(self, event: Event) -> None:
        """Have an event fetched. The oldest is lost, and counted, when nobody fetches them."""
        if len(self.events) >= MAX_EVENTS:
            self.events.popleft()
            self.stats.events_lost += 1
        self.events.append(event)

    def spread(self, rumour: Rumour, now: float) -> None:
        """Tell everybody, with what is sent anyway and by gossip of its own."""
        self.queue.add(rumour.name, encode(Heard(rumour)))
        if not self.gossiping:
            self.gossiping = True
            self.timers.at(now + self.rng.random() * self.config.gossip_interval, self.gossip)

    def gossip(self, now: float) -> None:
        """One round of news to a few random members, and to those that died lately, until there is no news."""
        self.gossiping = False
        if not self.queue:
            return
        dead_since = now - self.config.gossip_to_dead
        targets = self.roster.sample(self.config.gossip_fanout, dead_since=dead_since)
        if not targets and not self.roster.live:
            self.queue.clear()  # nobody to tell; whoever is met later compares views
            return
        for member in targets:
            self.outlet.send(member.address, (), now)
        self.gossiping = True
        self.timers.at(now + self.config.gossip_interval, self.gossip)


def accusation(member: Member) -> Accusation:
    """That this member is in the state in which it is held; nobody says so first-hand."""
    return Accusation(member.state, member.name, member.generation, member.incarnation, "")


def from_table(member: Member) -> bytes:
    """What a table says of a member, to be told not as news: its record, its death, or both for a suspect."""
    if member.state == State.ALIVE:
        return encode(Told(member))
    if member.state == State.SUSPECT:
        return encode(Told(member.believed(State.ALIVE))) + encode(Told(accusation(member)))
    return encode(Told(accusation(member)))
