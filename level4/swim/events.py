"""What happened, for whoever runs the membership: `Membership.next_event()`; and the counters it keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from level4.swim.member import Member


class Change(Enum):
    JOINED = "joined"
    """Not a live member before: a newcomer, or one that was dead or had left and has refuted."""
    CHANGED = "changed"
    """A live member has another address or meta."""
    SUSPECTED = "suspected"
    REFUTED = "refuted"
    """A suspected member is alive."""
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """Another member changed, as seen here. When a new process of a name is taken for the old one's successor, DEAD of
    the old life comes before JOINED of the new one."""

    change: Change
    member: Member


@dataclass(frozen=True, slots=True)
class Active:
    """This node is a member now: of the cluster that welcomed it, or alone when nobody answered."""

    alone: bool


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another, older process of this node's name is alive: this node must exit. The membership leaves by itself."""

    holder: Member

    def __str__(self) -> str:
        host, port = self.holder.address
        return (
            f"expected the node name {self.holder.name!r} to be free, but the node at {host}:{port}, started earlier "
            f"(generation {self.holder.generation}), answers to it: this node must exit; give it another name"
        )


@dataclass(frozen=True, slots=True)
class Departed:
    """The membership has ended: everybody reachable was told, or the time for it is over."""


Event = MemberEvent | Active | NameConflict | Departed


@dataclass(slots=True)
class Stats:
    """Counters since the start, plain numbers."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams dropped, by reason (`packet.Refusal`)."""
    challenges: int = 0
    """Challenges sent: first contacts of this process's peers, or replays."""
    unknown_parts: Counter[int] = field(default_factory=Counter)
    """Parts of a kind that this version does not know, skipped. Kinds are one byte."""
    probes: int = 0
    failed_probes: int = 0
    refutations: int = 0
    rumours_refused: int = 0
    """Too far ahead, or beyond the largest number of members."""
    syncs: int = 0
    """Comparisons of views that were started here."""
    lags: int = 0
    """Times that this process did not run for longer than a probe may take."""
    events_lost: int = 0
    """Events that nobody fetched."""
