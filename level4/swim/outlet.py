"""The way in and out: composes packets, adds rumours to what is sent anyway, seals; opens, and believes or challenges.

Size is accounted for here only: what is asked for, plus rumours as far as the packet has room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from level4.swim.config import Config
from level4.swim.dissemination import Dissemination
from level4.swim.events import Stats
from level4.swim.member import Address
from level4.swim.messages import (
    COOKIE_BYTES,
    Answer,
    Challenge,
    Hello,
    Message,
    Sender,
    decode,
    encode,
)
from level4.swim.packet import NOBODY, Envelope, Packet, Refusal, RefusedError
from level4.swim.reading import MalformedError
from level4.swim.roster import Roster
from level4.swim.sessions import Sessions

OUTBOX: Final = 4096
"""Datagrams that wait for `datagrams_to_send`; more are dropped and counted."""
_ANSWER_BYTES: Final = 2 + COOKIE_BYTES


class Outlet:
    def __init__(
        self, config: Config, envelope: Envelope, sessions: Sessions, queue: Dissemination, roster: Roster, stats: Stats
    ) -> None:
        self._config = config
        self.envelope = envelope
        self.sessions = sessions
        self._queue = queue
        self._roster = roster
        self._stats = stats
        self._outbox: list[tuple[bytes, Address]] = []
        self._sender = b""
        self._sender_of: tuple[int, int] | None = None

    @property
    def room(self) -> int:
        """Bytes that the parts of one packet may have together."""
        return self._config.packet_bytes - self.envelope.overhead - _ANSWER_BYTES - len(self._speaks())

    def _speaks(self) -> bytes:
        own, view = self._roster.own, self._roster.view
        if self._sender_of != (own.incarnation, view):
            self._sender = encode(Sender(own.name, own.generation, own.incarnation, view))
            self._sender_of = own.incarnation, view
        return self._sender

    def send(self, address: Address, parts: Sequence[bytes], now: float, *, news: bool = True) -> None:
        """Send these parts, and rumours if there are any and there is room. Nothing is sent of nothing."""
        if news and self._queue:
            used = sum(len(part) for part in parts)
            limit = self._config.retransmits(self._roster.live + 1)
            parts = [*parts, *self._queue.take(self.room - used, limit)]
        if parts:
            self._post(address, b"".join((self._speaks(), *parts)), now)

    def hello(self) -> bytes:
        return self.envelope.close(encode(Hello()), NOBODY)

    def drain(self) -> list[tuple[bytes, Address]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def _post(self, address: Address, body: bytes, now: float) -> None:
        if self.envelope.keyring is None:
            self._put(address, self.envelope.close(body, NOBODY))
            return
        self._put(address, self.envelope.close(body, self.sessions.at(address) or NOBODY))
        self.sessions.sent(self.envelope.counter, body, now)

    def _put(self, address: Address, datagram: bytes) -> None:
        if len(self._outbox) >= OUTBOX:
            self._stats.dropped[Refusal.OUTBOX_FULL] += 1
            return
        self._outbox.append((datagram, address))
        self._stats.sent += 1
        self._stats.sent_bytes += len(datagram)

    def receive(self, data: bytes, source: Address, now: float) -> list[Message]:
        """What a datagram says that may be believed; nothing if it was dropped (counted) or challenged."""
        self._stats.received += 1
        self._stats.received_bytes += len(data)
        try:
            packet = self.envelope.open(data)
            return decode(packet.body) if self.envelope.keyring is None else self._believed(packet, source, now)
        except RefusedError as refused:
            self._stats.dropped[refused.reason] += 1
        except MalformedError:
            self._stats.dropped[Refusal.MALFORMED] += 1
        return []

    def _believed(self, packet: Packet, source: Address, now: float) -> list[Message]:
        mine = packet.to == self.envelope.session
        fresh = self.sessions.fresh(packet.sender, packet.counter, source, now) if mine else None
        if fresh is False:
            raise RefusedError(Refusal.REPLAYED)
        messages = decode(packet.body)
        first = messages[0] if messages else None
        if isinstance(first, Challenge):
            if not mine:
                raise RefusedError(Refusal.UNKNOWN_SESSION)
            self._challenged(first, packet, source, now, known=fresh is not None)
            return []
        if fresh or messages == [Hello()]:
            return messages
        if mine and isinstance(first, Answer) and self.sessions.paid(first.cookie, packet.sender, source, now):
            if self.sessions.accept(packet.sender, packet.counter, source, now):
                return messages
            raise RefusedError(Refusal.UNKNOWN_SESSION)
        cookie = self.sessions.cookie(packet.sender, source, now)
        self._put(source, self.envelope.close(encode(Challenge(packet.counter, cookie)), packet.sender))
        self._stats.challenges += 1
        raise RefusedError(Refusal.UNKNOWN_SESSION)

    def _challenged(self, challenge: Challenge, packet: Packet, source: Address, now: float, *, known: bool) -> None:
        body = self.sessions.challenged(challenge.counter, now)
        if body is None:
            raise RefusedError(Refusal.REPLAYED)
        if known or self.sessions.accept(packet.sender, packet.counter, source, now):
            answer = encode(Answer(challenge.cookie)) + body
            self._put(source, self.envelope.close(answer, packet.sender))
