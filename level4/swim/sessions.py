"""Why a recorded packet is worthless: whose packets are believed, and how a new process proves that it lives.

* Every process has a random session id. A packet is believed only if it is sealed *for the receiver's session* and
  comes from a session that the receiver knows, with a counter it has not seen (a window of 64, so that reordering
  does no harm). A restarted receiver has another session, so nothing recorded before is for it.
* A packet of an unknown session, or for another session, is authentic but perhaps old. Nothing of it is believed, and
  no memory is spent: it is answered with a challenge of (its counter, a cookie). The cookie is a keyed hash of the
  session, its address and the time, and is accepted for 10 to 20 s.
* Whoever gets a challenge that names a packet that it sent within the last seconds knows by that alone that the
  challenger lives now, and takes its session. It sends the body of that packet again, with the cookie in front; with
  that the other side knows it too. So first contact costs one round trip more, and loses nothing.
* A session that spoke within the last `KEPT_SECONDS` is not forgotten for a new one, so a cookie's answer cannot be
  used twice. That and the bound of the table mean that strangers cannot push members out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from level4.swim.member import Address
from level4.swim.messages import COOKIE_BYTES

WINDOW: Final = 64
COOKIE_SECONDS: Final = 10.0
KEPT_SECONDS: Final = 3 * COOKIE_SECONDS
SENT_SECONDS: Final = 5.0
"""How long a challenge may take."""
SENT_KEPT: Final = 256
"""Sent packets that are remembered for a challenge."""


@dataclass(slots=True)
class _Session:
    highest: int
    seen: int
    """Bit i: counter `highest - i` was seen."""
    spoke: float
    address: Address


class Sessions:
    def __init__(self, secret: bytes, limit: int) -> None:
        self._secret = secret
        self._limit = limit
        self._known: OrderedDict[bytes, _Session] = OrderedDict()
        """Session id → session, the one that spoke last at the end."""
        self._at: dict[Address, bytes] = {}
        self._sent: OrderedDict[int, tuple[float, bytes]] = OrderedDict()
        """Counter → (time, body)."""

    def at(self, address: Address) -> bytes | None:
        """The session that spoke last from an address."""
        return self._at.get(address)

    def fresh(self, session: bytes, counter: int, address: Address, now: float) -> bool | None:
        """Whether a packet of that number is new; None if the session is not known."""
        known = self._known.get(session)
        if known is None:
            return None
        ahead = counter - known.highest
        if ahead > 0:
            known.seen = (known.seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            known.highest = counter
        elif -ahead >= WINDOW or known.seen >> -ahead & 1:
            return False
        else:
            known.seen |= 1 << -ahead
        known.spoke = now
        self._known.move_to_end(session)
        if ahead > 0 and known.address != address:
            self._move(session, known, address)
        return True

    def _move(self, session: bytes, known: _Session, address: Address) -> None:
        if self._at.get(known.address) == session:
            del self._at[known.address]
        known.address = address
        self._at[address] = session

    def accept(self, session: bytes, counter: int, address: Address, now: float) -> bool:
        """Know a session from this packet on; older ones of it stay worthless. False if there is no room."""
        if len(self._known) >= self._limit:
            oldest = next(iter(self._known))
            if now - self._known[oldest].spoke < KEPT_SECONDS:
                return False
            gone = self._known.pop(oldest)
            if self._at.get(gone.address) == oldest:
                del self._at[gone.address]
        self._known[session] = _Session(counter, (1 << WINDOW) - 1, now, address)
        self._at[address] = session
        return True

    def cookie(self, session: bytes, address: Address, now: float) -> bytes:
        return self._cookie(session, address, int(now // COOKIE_SECONDS))

    def paid(self, cookie: bytes, session: bytes, address: Address, now: float) -> bool:
        """Whether a cookie was made here, for that session at that address, not long ago."""
        period = int(now // COOKIE_SECONDS)
        return cookie in (self._cookie(session, address, period), self._cookie(session, address, period - 1))

    def _cookie(self, session: bytes, address: Address, period: int) -> bytes:
        text = session + f"{address[0]} {address[1]} {period}".encode()
        return blake2b(text, key=self._secret, digest_size=COOKIE_BYTES).digest()

    def sent(self, counter: int, body: bytes, now: float) -> None:
        """Remember a packet in case it is challenged."""
        self._sent[counter] = now, body
        if len(self._sent) > SENT_KEPT:
            self._sent.popitem(last=False)

    def challenged(self, counter: int, now: float) -> bytes | None:
        """The body of that packet, once, if it was sent not long ago."""
        when, body = self._sent.pop(counter, (float("-inf"), b""))
        return body if now - when <= SENT_SECONDS else None

    def __len__(self) -> int:
        return len(self._known)

    def check(self) -> None:
        assert len(self._known) <= self._limit
        assert len(self._at) <= len(self._known)
        assert len(self._sent) <= SENT_KEPT
        for address, session in self._at.items():
            assert self._known[session].address == address
