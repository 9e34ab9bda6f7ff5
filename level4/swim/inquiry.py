"""Asking members from outside: whether they answer, what they say of themselves, whom they know. Nobody joins.

The question is a ping for a life that nobody is, which a member corrects by its own record, with an empty digest, which
it fills by what it knows of others. Of full size (padded) it shows whether the path lets such datagrams pass; a member
answers it by one of full size, so that the way back is seen, too (those of version 0.1 answer by a small one). Where
keys are used, the challenge to a stranger is answered as any member does it.

Who is asked learns nothing and changes nothing: the asker's name is told to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from level4.swim.config import Config
from level4.swim.dissemination import Dissemination
from level4.swim.events import Stats
from level4.swim.member import Address, Member
from level4.swim.messages import Digest, Heard, Padding, Ping, Told, encode
from level4.swim.outlet import Outlet
from level4.swim.packet import SESSION_BYTES, Envelope, Keyring
from level4.swim.roster import Roster
from level4.swim.sessions import Sessions

if TYPE_CHECKING:
    from random import Random

PADDING_HEADER = 4
_NOBODY = "?"
_SESSIONS = 4096


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one datagram of a member."""

    member: Member | None
    """The member's own record; None in the further datagrams of an answer."""
    others: tuple[Member, ...]
    """Live members that it knows, as far as they fitted."""
    full: bool
    """Whether it came in a datagram of full size."""


class Inquiry:
    """`secret`: as for `Membership`. `stats.dropped` says why answers were not believed."""

    def __init__(self, cluster: str, secret: bytes, keyring: Keyring | None, config: Config, rng: Random) -> None:
        self.stats = Stats()
        own = Member(f"{_NOBODY}{rng.randrange(1 << 32):08x}", 1, 0, ("0.0.0.0", 1), b"")
        envelope = Envelope(cluster, secret[:SESSION_BYTES], keyring)
        sessions = Sessions(secret[SESSION_BYTES:], _SESSIONS)
        self._outlet = Outlet(config, envelope, sessions, Dissemination(1), Roster(own, rng, 1, 1), self.stats)

    def ask(self, address: Address, now: float, *, full: bool) -> None:
        """Ask whoever is there."""
        parts = [encode(Ping(0, _NOBODY, 1)), encode(Digest("", "", ()))]
        if full:
            left = self._outlet.room - sum(map(len, parts)) - PADDING_HEADER
            parts.append(encode(Padding(left)))
        self._outlet.send(address, parts, now, news=False)

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Datagrams since the last call, with their destinations; to be called after `receive`, too."""
        return self._outlet.drain()

    def receive(self, data: bytes, source: Address, now: float) -> Reply | None:
        """A datagram came; None: nothing of it can be believed. Whatever it is, this does not raise."""
        messages = self._outlet.receive(data, source, now)
        if not messages:
            return None
        heard = [one.rumour for one in messages if isinstance(one, Heard) and isinstance(one.rumour, Member)]
        told = [one.rumour for one in messages if isinstance(one, Told) and isinstance(one.rumour, Member)]
        own = next((member for member in heard if member.live), None)
        return Reply(own, tuple(member for member in told if member.live), isinstance(messages[-1], Padding))
