"""Comparing views, in datagrams: what gossip missed is found and mended, whatever it was.

Both sides sort the live names they know. One sends fingerprints of ranges of names; where the other's differ, it
answers with finer ranges, or, for a range that fits into a packet, with all it knows there (a digest). Whoever gets a
digest tells what it knows better, and asks for what it knows worse. Equal views cost one datagram; a difference is
found in a logarithm of the members. No side keeps any state of it: every packet can be lost, and the next comparison
begins anew. An answer is at most `MAX_REPLIES` datagrams; what is beyond is asked for piece by piece (More).

A comparison begins when somebody is welcomed, when a ping or ack shows another fingerprint though all has been quiet
here, and now and then with a random member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from level4.swim.core import Core, from_table
from level4.swim.member import Address
from level4.swim.messages import Digest, Message, More, Ranges, Want, encode
from level4.swim.reading import text

MAX_REPLIES: Final = 4
_MOST_ENTRIES: Final = 32


class _Reply:
    """Parts of an answer, packed into packets, up to a bound."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.packets: list[list[bytes]] = [[]]
        self.more: list[bytes] = []
        """What to ask on from, sent in a packet of its own."""
        self._used = 0
        self._more_used = 0

    def add(self, part: bytes) -> bool:
        """Whether it still fits."""
        if self._used + len(part) > self._room:
            if len(self.packets) == MAX_REPLIES or len(part) > self._room:
                return False
            self.packets.append([])
            self._used = 0
        self.packets[-1].append(part)
        self._used += len(part)
        return True

    def ended(self, first: str, end: str) -> None:
        """What did not fit is to be asked for from here. If even that does not fit, a later comparison finds it."""
        part = encode(More(first, end))
        if self._more_used + len(part) <= self._room:
            self.more.append(part)
            self._more_used += len(part)


class AntiEntropy:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._opened_at = float("-inf")

    def tick(self, now: float) -> None:
        """Compare with a random member, whatever the fingerprints say."""
        config = self._core.config
        for member in self._core.roster.sample(1, alive=True):
            self._open(member.address, now)
        self._core.timers.at(now + config.sync_interval * (0.75 + self._core.rng.random() / 2), self.tick)

    def noticed(self, view: int, address: Address, now: float) -> None:
        """Somebody's view has this fingerprint."""
        roster, quiet = self._core.roster, self._core.config.sync_quiet
        if view != roster.view and now - roster.changed_at >= quiet and now - self._opened_at >= quiet / 2:
            self._open(address, now)

    def _open(self, address: Address, now: float) -> None:
        self._opened_at = now
        self._core.stats.syncs += 1
        self._core.outlet.send(address, (self.opening(),), now)

    def opening(self) -> bytes:
        """The part that begins a comparison."""
        return self._describe("", "", self._core.outlet.room)

    def _describe(self, first: str, end: str, room: int) -> bytes:
        """All that is known in a range if it fits, else fingerprints of finer ranges."""
        roster = self._core.roster
        names = roster.names_between(first, end)
        if len(names) <= _MOST_ENTRIES:
            digest = encode(Digest(first, end, self._entries(names)))
            if len(digest) <= room // 2 or len(names) <= 1:
                return digest
        for pieces in (16, 8, 4):
            step = -(-len(names) // pieces)
            starts = list(range(0, len(names), step))
            bounds = [first, *(names[start] for start in starts[1:]), end]
            ranges = tuple(
                (bounds[i], bounds[i + 1], roster.fingerprint(names[start : start + step]))
                for i, start in enumerate(starts)
            )
            part = encode(Ranges(ranges))
            if len(part) <= room // 2:
                break
        return part

    def _entries(self, names: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
        members = [self._core.roster.known(name) for name in names]
        return tuple((one.name, one.generation, one.incarnation) for one in members if one is not None)

    def answer(self, messages: Sequence[Message], source: Address, now: float) -> None:
        """Answer all parts of a packet that compare views."""
        room = self._core.outlet.room
        reply = _Reply(room)
        for message in messages:
            match message:
                case Ranges(ranges):
                    self._on_ranges(ranges, reply, room)
                case Digest(first, end, entries):
                    self._on_digest(first, end, entries, reply)
                case Want(names):
                    for name in names:
                        member = self._core.roster.known(name)
                        if member is not None:
                            reply.add(from_table(member))
                case More(first, end):
                    reply.add(self._describe(first, end, room))
        for parts in (*reply.packets, reply.more):
            self._core.outlet.send(source, parts, now, news=False)

    def _on_ranges(self, ranges: Sequence[tuple[str, str, int]], reply: _Reply, room: int) -> None:
        roster = self._core.roster
        for first, end, view in ranges:
            if roster.fingerprint(roster.names_between(first, end)) != view:
                reply.add(self._describe(first, end, room))

    def _on_digest(self, first: str, end: str, entries: Sequence[tuple[str, int, int]], reply: _Reply) -> None:
        roster, theirs = self._core.roster, {entry[0]: entry for entry in entries}
        wanted = []
        for name in sorted({*roster.names_between(first, end), *theirs}):
            held, their = roster.known(name), theirs.get(name)
            if held is None or (their is not None and their[1] + their[2] > held.rank):
                wanted.append(name)
                continue
            if their is not None and their[1:] == (held.generation, held.incarnation) and held.live:
                continue
            if not reply.add(from_table(held)):
                reply.ended(name, end)
                break
        want: list[str] = []
        size = 0
        for name in wanted:
            size += len(text(name))
            if size > self._core.outlet.room // 2:
                break
            want.append(name)
        if want:
            reply.add(encode(Want(tuple(want))))
