"""The membership protocol of one node: SWIM (DSN 2002) with Lifeguard (DSN 2018), without I/O.

Whoever runs it owns the socket and the clock, and does four things:

    membership.receive_datagram(data, source, now)      for every datagram that came; all that wait before a timer
    membership.handle_timer(now)                        at get_timer() or later
    for data, address in membership.datagrams_to_send(now): …        after either
    while (event := membership.next_event()) is not None: …

`now` is monotonic seconds. Randomness is the `random.Random` and the secret bytes passed in, so equal inputs give
equal outputs. Nothing that comes from the network raises.

The parts: `roster` (the table), `rumours` (what is believed), `identity` (the own record, name conflicts, leaving),
`probing` (who is alive), `dissemination` (news on its way), `antientropy` (comparing views), `contacts` (finding in and
back), `outlet` (packets), with `sessions` and `packet` (why strangers and recordings are worthless).

What it is not: it never decides who hosts what; a death is what this node believes, nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from level4.swim.antientropy import AntiEntropy
from level4.swim.config import FEEDS, MAX_META_BYTES, MAX_NAME_BYTES, Config
from level4.swim.contacts import Contacts
from level4.swim.core import Core, accusation
from level4.swim.dissemination import Dissemination
from level4.swim.events import Event, Stats
from level4.swim.health import LocalHealth
from level4.swim.identity import Identity, Phase
from level4.swim.member import Address, Member, State
from level4.swim.messages import (
    MAX_GENERATION,
    Ack,
    Contact,
    Digest,
    Heard,
    Held,
    Hello,
    Message,
    More,
    Nack,
    Padding,
    Ping,
    PingRequest,
    Ranges,
    Sender,
    Told,
    Unknown,
    Want,
    Welcome,
    encode,
)
from level4.swim.outlet import Outlet
from level4.swim.packet import SESSION_BYTES, Envelope, Keyring
from level4.swim.probing import Prober
from level4.swim.reading import address as packed
from level4.swim.roster import Roster
from level4.swim.rumours import Rumours
from level4.swim.sessions import Sessions
from level4.swim.timers import Timers

if TYPE_CHECKING:
    from random import Random

SECRET_BYTES: Final = 32
_REAP_SECONDS: Final = 60.0
_COMPARING: Final = (Ranges, Digest, Want, More)


class Membership:
    """One life of one node.

    * `generation`: milliseconds since 1970 at which this process started; greater than that of earlier lives.
    * `address`: where others reach it (IP, port), not where it listens. `set_address` when that changes.
    * `secret`: 32 bytes that no other process ever has: the session id, and what cookies are made with.
    * `keyring`: None for packets in clear, which anybody can forge and replay.
    * `members`: believed to be alive from the start.

    Raises ValueError for a name, address, meta, generation or secret out of bounds.
    """

    def __init__(
        self,
        name: str,
        generation: int,
        address: Address,
        *,
        cluster: str,
        rng: Random,
        secret: bytes,
        now: float,
        config: Config = FEEDS,
        keyring: Keyring | None = None,
        seeds: Iterable[Address] = (),
        meta: bytes = b"",
        members: Iterable[Member] = (),
    ) -> None:
        if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
            raise ValueError(f"expected a node name of 1 to {MAX_NAME_BYTES} bytes, got {name!r}")
        if not 0 < generation < MAX_GENERATION:
            raise ValueError(f"expected a generation in milliseconds since 1970, got {generation}")
        if len(meta) > MAX_META_BYTES:
            raise ValueError(f"expected at most {MAX_META_BYTES} bytes of meta, got {len(meta)}")
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"expected {SECRET_BYTES} secret bytes, got {len(secret)}")
        packed(address)
        self.config = config
        self.stats = Stats()
        roster = Roster(Member(name, generation, 0, address, meta), rng, config.max_tombstones, config.max_remembered)
        roster.preload(members)
        queue = Dissemination(config.max_members + config.max_tombstones)
        envelope = Envelope(cluster, secret[:SESSION_BYTES], keyring)
        sessions = Sessions(secret[SESSION_BYTES:], 2 * config.max_members)
        self._core = core = Core(
            config=config,
            rng=rng,
            timers=Timers(),
            roster=roster,
            queue=queue,
            health=LocalHealth(config.health_max, config.lifeguard),
            outlet=Outlet(config, envelope, sessions, queue, roster, self.stats),
            stats=self.stats,
            events=deque(),
            sequence=rng.randrange(1 << 32),
        )
        self._identity = Identity(core)
        self._rumours = Rumours(core, self._identity)
        self._prober = Prober(core, self._rumours)
        self._antientropy = AntiEntropy(core)
        self._contacts = Contacts(core, self._identity, self._rumours, self._antientropy)
        self._identity.on_silence = self._contacts.on_silence
        self._contacts.set_seeds(seeds)
        core.timers.at(now, self._contacts.tick)
        core.timers.at(now + config.join_wait, self._contacts.waited_long_enough)
        core.timers.at(now + rng.random() * config.probe_interval, self._prober.period)
        core.timers.at(now + rng.random() * config.sync_interval, self._antientropy.tick)
        core.timers.at(now + _REAP_SECONDS, self._reap)
        if roster.live:
            self._identity.activate(now)

    # What comes in

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """A datagram came from an address. Whatever it is, this does not raise."""
        if self._identity.phase is Phase.GONE:
            return
        messages = self._core.outlet.receive(data, source, now)
        if not messages:
            return
        sender: Sender | None = None
        for message in messages:
            if isinstance(message, Heard):
                self._rumours.hear(message.rumour, now)
            elif isinstance(message, Told):
                self._rumours.hear(message.rumour, now, told=True)
            elif isinstance(message, Sender):
                sender = message
        doubt = self._doubt(sender) if sender is not None else []
        full = isinstance(messages[-1], Padding)
        for message in messages:
            doubt = self._handle(message, source, doubt, full, now)
        if self._identity.phase is not Phase.ACTIVE:
            return  # above all, a newcomer tells nobody of itself before it knows that its name is free
        if comparing := [message for message in messages if isinstance(message, _COMPARING)]:
            self._antientropy.answer(comparing, source, now)
        if doubt:  # an answer to a datagram of full size has it too, so that whoever asks sees both ways
            self._core.outlet.send(source, self._contacts.filled(doubt) if full else doubt, now, news=not full)
        held = self._core.roster.members.get(sender.name) if sender is not None else None
        if sender is not None and held is not None and held.generation == sender.generation:
            self._antientropy.noticed(sender.view, source, now)

    def _doubt(self, sender: Sender) -> list[bytes]:
        """What the sender must hear: that it is taken for dead, gone or suspect, so that it can refute."""
        held = self._core.roster.members.get(sender.name)
        if held is None or held.state == State.ALIVE or held.rank < sender.generation + sender.incarnation:
            return []
        if held.state == State.SUSPECT and not self.config.lifeguard:
            return []
        return [encode(Heard(accusation(held)))]

    def _handle(self, message: Message, source: Address, doubt: list[bytes], full: bool, now: float) -> list[bytes]:
        """Apply a part of a packet (of full size or not); returns what is still to be told to the sender."""
        match message:
            case Ping(sequence, name, generation):
                own = self._core.roster.own
                if (name, generation) == (own.name, own.generation):
                    self._core.outlet.send(source, (*doubt, encode(Ack(sequence))), now)
                    return []
                return [*doubt, encode(Heard(own))] if self._identity.phase is Phase.ACTIVE else doubt
            case Ack(sequence):
                if not self._identity.acked(sequence, now):
                    self._prober.acked(sequence, now)
            case Nack(sequence):
                self._prober.nacked(sequence, source, now)
            case PingRequest():
                self._prober.help(message, source, now)
            case Contact():
                self._contacts.on_contact(message, source, now, full=full)
            case Welcome(member):
                self._contacts.on_welcome(member, now, full=full)
            case Held(member):
                self._contacts.on_held(member, source, now)
            case Hello():
                self._contacts.hello(source, now)
            case Unknown(kind):
                self.stats.unknown_parts[kind] += 1
        return doubt

    def handle_timer(self, now: float) -> None:
        """Do what is due. Called late, it takes that time for one in which this process was deaf, and holds it
        against itself and not against others."""
        due = self._core.timers.next()
        if due is None or now < due:
            return
        late = now - due
        if self.config.lifeguard and late > self.config.probe_timeout:
            self.stats.lags += 1
            self.loop_lagged(late)
            pause = late + self.config.probe_timeout  # what came meanwhile may not be read yet
            self._core.timers.delay(pause)
            for suspicion in self._core.roster.suspicions.values():
                suspicion.start += pause
        self._core.timers.run(now)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop was seen to lag by so much: this member trusts its own judgement less for a while."""
        self._core.health.worsen(int(seconds / self.config.probe_timeout))

    # What goes out

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called; None when the membership has ended."""
        return self._core.timers.next()

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams since the last call, with their destinations."""
        return self._core.outlet.drain()

    def next_event(self) -> Event | None:
        return self._core.events.popleft() if self._core.events else None

    def hello(self) -> bytes:
        """A datagram for a multicast group, sent from the socket of this membership. Members that hear it ask the
        address that it came from to join."""
        return self._core.outlet.hello()

    # What can be done

    def contact(self, address: Address, now: float) -> None:
        """Try an address once, now (discovered somewhere)."""
        packed(address)
        self._contacts.contact(address, now)

    def set_seeds(self, seeds: Iterable[Address]) -> None:
        """Addresses that are tried for ever. Raises ValueError for one that is no IP address and port."""
        self._contacts.set_seeds(seeds)

    def set_meta(self, meta: bytes, now: float) -> None:
        """Publish new meta. Costs a rumour to everybody: quantise what jitters. Raises ValueError if too long."""
        self._identity.set_meta(meta, now)

    def set_address(self, address: Address, now: float) -> None:
        """This member is reached elsewhere from now on: its machine was given another address. Raises ValueError for
        one that is no IP address and port."""
        packed(address)
        self._identity.set_address(address, now)

    def set_keyring(self, keyring: Keyring) -> None:
        """Change the keys: add a new one everywhere, then put it first, then remove the old one. Raises ValueError if
        this membership has none: sealing cannot be begun while running."""
        if self._core.outlet.envelope.keyring is None:
            raise ValueError("expected a membership with keys to change them; this one speaks in clear, restart it")
        self._core.outlet.envelope.keyring = keyring

    def leave(self, now: float) -> None:
        """Tell the others. The event Departed says that it is done, within a few periods."""
        self._identity.leave(now)

    def _reap(self, now: float) -> None:
        self._core.roster.forget_older(now - self.config.tombstone_seconds)
        self._core.timers.at(now + _REAP_SECONDS, self._reap)

    # What is known

    @property
    def own(self) -> Member:
        return self._core.roster.own

    @property
    def phase(self) -> Phase:
        return self._identity.phase

    @property
    def health(self) -> int:
        """0 is healthy; up to `health_max` - 1."""
        return self._core.health.score

    @property
    def full_size_passes(self) -> bool | None:
        """Whether datagrams of `packet_bytes` get through; False if only smaller ones were answered so far (then
        `packet_bytes` is too large for the path); None if that is not known."""
        return self._contacts.full_size_passes

    @property
    def view(self) -> int:
        """Fingerprint of the view: equal where the same lives are seen, up to the chance of one in 2**64."""
        return self._core.roster.view

    def members(self, *, dead: bool = False) -> list[Member]:
        """The live members, this one first; with `dead`, also those that are remembered as dead or left."""
        others = self._core.roster.members.values()
        return [self.own, *(member for member in others if dead or member.live)]

    def member(self, name: str) -> Member | None:
        """What is known of that name, dead or alive."""
        return self._core.roster.known(name)

    def check(self) -> None:
        """Assert the invariants. For tests and simulations."""
        self._core.roster.check()
        self._prober.check()
        self._core.outlet.sessions.check()
        assert len(self._core.queue) <= self._core.queue.limit
        assert 0 <= self.health < self.config.health_max
        assert self.phase is not Phase.GONE or self.get_timer() is None
