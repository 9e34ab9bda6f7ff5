"""The members of the cluster as this node sees them: gossip, with meaning.

* `dead` is what the takeover asks: a member that gossip has buried, or that has left. One that gossip never met is not
  dead, only unknown.
* A change of a member is announced once, by the lowest-named live node other than the member itself. A newcomer does
  not announce those that were there before it.
* A member on another Kafka cluster is *foreign*: it shares neither log nor topics with us and takes no part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog
import trio

from level4.cluster.gossip import Gossip, GossipSettings
from level4.cluster.meta import Meta, decode_meta, encode_meta
from level4.swim import Address, Change, Event, Member, MemberEvent, NameConflict, State

log = structlog.get_logger(__name__)

META_SECONDS: Final = 1.0
"""How often this node looks whether its meta is another one. Each change is news for every member."""

ANNOUNCED: Final = {Change.JOINED: "node_joined", Change.LEFT: "node_left", Change.DEAD: "node_failed"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A live member. `meta` None: it says nothing that this version understands."""

    name: str
    host: str
    """IP address that it gossips from."""
    meta: Meta | None


class Members:
    """`about`: this node's meta now. `announce`: told (event, member, reason) of what this node is to publish.
    `changed`: called whenever anything of any member changed. `readdressed`: when this node has another address."""

    def __init__(
        self,
        settings: GossipSettings,
        *,
        generation: int,
        random: Random,
        about: Callable[[], Meta],
        announce: Callable[[str, str, str], None],
        changed: Callable[[], None],
        readdressed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = settings.name
        self.conflict: NameConflict | None = None
        self.conflicting = trio.Event()
        """Set when this node must go, because an older one has its name."""
        self._generation = generation
        self._about = about
        self._announce = announce
        self._changed = changed
        self._known: set[str] = set()
        """Names seen leaving or failing: their return is news."""
        self.changes: Counter[Change] = Counter()
        """Of other members, by kind."""
        self.gossip = Gossip(
            settings, on_event=self._take, random=random, generation=generation, on_address=readdressed
        )

    # -- what is known ------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The IP address under which others reach this node; empty before gossip runs."""
        address = self.gossip.address
        return "" if address is None else address[0]

    def dead(self, node: str) -> bool:
        """Whether gossip takes a node for dead or gone."""
        member = self._member(node)
        return member is not None and member.state in (State.DEAD, State.LEFT)

    def live(self) -> list[Peer]:
        """The live members, by name, this node too."""
        found = [Peer(one.name, one.address[0], decode_meta(one.meta)) for one in self.gossip.members()]
        return sorted(found, key=lambda peer: peer.name)

    def foreign(self, peer: Peer) -> bool:
        """Whether a member is known to be on another Kafka cluster."""
        own = self._about().kafka
        return bool(own and peer.meta is not None and peer.meta.kafka and peer.meta.kafka != own)

    def sharing(self) -> int:
        """How many live nodes share this one's address towards the exchanges, itself included."""
        group = self._about().egress
        others = [peer for peer in self.live() if peer.name != self.name]
        return 1 + sum(peer.meta is None or peer.meta.egress == group for peer in others)

    def _member(self, node: str) -> Member | None:
        return self.gossip.membership.member(node) if self.gossip.running else None

    # -- what happens -------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Gossip until cancelled. Raises ConfigError when the port cannot be had."""
        self.gossip.set_meta(encode_meta(self._about()))
        async with trio.open_nursery() as nursery:
            address = await nursery.start(self.gossip.run)
            nursery.start_soon(self._tell)
            task_status.started(address)

    async def leave(self) -> None:
        await self.gossip.leave()

    async def _tell(self) -> None:
        told = b""
        while True:  # the address of this node is known only now
            meta = encode_meta(self._about())
            if meta != told:
                told = meta
                self.gossip.set_meta(meta)
            await trio.sleep(META_SECONDS)

    def _take(self, event: Event) -> None:
        if isinstance(event, NameConflict):
            self.conflict = event
            self.conflicting.set()
        elif isinstance(event, MemberEvent):
            self.changes[event.change] += 1
            self._take_change(event.change, event.member)
            self._changed()

    def _take_change(self, change: Change, member: Member) -> None:
        if change not in ANNOUNCED:
            return
        log.info(ANNOUNCED[change].replace("_", " "), member=member.name, address=f"{member.address[0]}")
        was_here_first = change is Change.JOINED and member.generation < self._generation
        news = not was_here_first or member.name in self._known
        if change is not Change.JOINED:
            self._known.add(member.name)
        lowest = min((peer.name for peer in self.live() if peer.name != member.name), default=self.name)
        if news and lowest == self.name:
            self._announce(ANNOUNCED[change], member.name, f"at {member.address[0]}:{member.address[1]}")
