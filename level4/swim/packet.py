"""A datagram: a header in clear, and a body in clear or sealed.

    "L4"  version (1)  flags  cluster name (length, text)                                body
    "L4"  version (1)  flags  cluster name  key id (4)  from (8)  to (8)  counter (8)    sealed body, tag (16)

Sealing is ChaCha20-Poly1305 over the body with the whole header as associated data. Each process has a random session
id; the key of a session is derived from the shared key and that id, so the nonce is simply the counter of packets of
that process and never comes twice. `to` is the session of the receiver, 0 if the sender does not know it.

A keyring has one or more keys of 32 bytes: the first seals, all open. Rotation without downtime: add the new key
everywhere as second, then put it first everywhere, then remove the old one everywhere. Whoever has a key is a full
member and can say anything; a key keeps strangers out, not members honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC: Final = b"L4"
VERSION: Final = 1
KEY_BYTES: Final = 32
SESSION_BYTES: Final = 8
MAX_CLUSTER_BYTES: Final = 64
MAX_DATAGRAM: Final = 65_507
NOBODY: Final = bytes(SESSION_BYTES)
"""`to` of a packet for whoever receives it."""

_SEALED: Final = 1
_KEY_ID_BYTES: Final = 4
_TAG_BYTES: Final = 16
_CLEAR: Final = _KEY_ID_BYTES + 2 * SESSION_BYTES + 8


class Refusal(StrEnum):
    """Why a datagram was dropped. The keys of the counters."""

    MALFORMED = "malformed"
    VERSION = "version"
    FOREIGN = "foreign"
    """Another cluster's name."""
    UNSEALED = "unsealed"
    """In clear, though this member has keys."""
    SEALED = "sealed"
    """Sealed, though this member has none."""
    UNKNOWN_KEY = "unknown_key"
    UNAUTHENTIC = "unauthentic"
    REPLAYED = "replayed"
    UNKNOWN_SESSION = "unknown_session"
    """Authentic, but perhaps old: challenged."""
    OWN = "own"
    """This member's own, come back."""
    OUTBOX_FULL = "outbox_full"


class RefusedError(Exception):
    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


class Keyring:
    """Raises ValueError if there is no key or one that is not 32 bytes long."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            lengths = [len(key) for key in keys]
            raise ValueError(f"expected one or more keys of {KEY_BYTES} bytes, got lengths {lengths}")
        self._keys = {self._id(key): bytes(key) for key in keys}
        self.first = self._id(keys[0])

    @staticmethod
    def _id(key: bytes) -> bytes:
        return blake2b(key, digest_size=_KEY_ID_BYTES, person=b"level4 key id").digest()

    def cipher(self, key_id: bytes, session: bytes) -> ChaCha20Poly1305 | None:
        """The cipher of a session, derived each time: 1.5 us, and no memory for strangers."""
        key = self._keys.get(key_id)
        if key is None:
            return None
        return ChaCha20Poly1305(blake2b(session, key=key, digest_size=KEY_BYTES, person=b"level4 session").digest())


@dataclass(frozen=True, slots=True)
class Packet:
    """An opened datagram. Without keys, sessions are empty and the counter 0."""

    body: bytes
    sender: bytes = b""
    to: bytes = b""
    counter: int = 0


class Envelope:
    """Puts bodies into datagrams of one cluster and takes them out again."""

    def __init__(self, cluster: str, session: bytes, keyring: Keyring | None) -> None:
        raw = cluster.encode()
        if not 0 < len(raw) <= MAX_CLUSTER_BYTES:
            raise ValueError(f"expected a cluster name of 1 to {MAX_CLUSTER_BYTES} bytes, got {cluster!r}")
        self._name = bytes((len(raw),)) + raw
        self.session = session
        self.keyring = keyring
        self.counter = 0
        """Number of the last sealed packet."""

    @property
    def overhead(self) -> int:
        return 4 + len(self._name) + (_CLEAR + _TAG_BYTES if self.keyring else 0)

    def close(self, body: bytes, to: bytes) -> bytes:
        """The datagram; sealed if there are keys, then as number `counter`, which rises."""
        if self.keyring is None:
            return b"L4\x01\x00" + self._name + body
        self.counter += 1
        number = self.counter.to_bytes(8, "big")
        header = b"".join((b"L4\x01\x01", self._name, self.keyring.first, self.session, to, number))
        cipher = self.keyring.cipher(self.keyring.first, self.session)
        assert cipher is not None
        return header + cipher.encrypt(b"\0\0\0\0" + number, body, header)

    def open(self, data: bytes) -> Packet:
        """Raises RefusedError. What returns of a sealed datagram is authentic, but it may be old."""
        if len(data) < 5 or len(data) > MAX_DATAGRAM or data[:2] != MAGIC:
            raise RefusedError(Refusal.MALFORMED)
        if data[2] != VERSION:
            raise RefusedError(Refusal.VERSION)
        start = 4 + len(self._name)
        if data[4:start] != self._name:
            raise RefusedError(Refusal.FOREIGN)
        if not data[3] & _SEALED:
            if self.keyring is not None:
                raise RefusedError(Refusal.UNSEALED)
            return Packet(data[start:])
        if self.keyring is None:
            raise RefusedError(Refusal.SEALED)
        return self._unseal(data, start, self.keyring)

    def _unseal(self, data: bytes, start: int, keyring: Keyring) -> Packet:
        end = start + _CLEAR
        if len(data) < end + _TAG_BYTES:
            raise RefusedError(Refusal.MALFORMED)
        sender = data[start + _KEY_ID_BYTES : start + _KEY_ID_BYTES + SESSION_BYTES]
        to = data[end - 8 - SESSION_BYTES : end - 8]
        number = data[end - 8 : end]
        if sender == self.session:
            raise RefusedError(Refusal.OWN)
        cipher = keyring.cipher(data[start : start + _KEY_ID_BYTES], sender)
        if cipher is None:
            raise RefusedError(Refusal.UNKNOWN_KEY)
        try:
            body = cipher.decrypt(b"\0\0\0\0" + number, data[end:], data[:end])
        except InvalidTag:
            raise RefusedError(Refusal.UNAUTHENTIC) from None
        return Packet(body, sender, to, int.from_bytes(number, "big"))
