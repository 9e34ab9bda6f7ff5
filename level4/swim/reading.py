"""The small units of the wire: variable-length numbers, short texts, addresses. Reading checks every bound first.

Numbers are LEB128 of at most 63 bits; texts UTF-8 with a length byte; addresses a family byte (4 or 6), the packed IP
address, and two bytes of port.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from level4.swim.config import MAX_NAME_BYTES
from level4.swim.member import Address

_MAX_NUMBER_BYTES: Final = 9


class MalformedError(ValueError):
    """Bytes that are no part of this protocol. Counted and dropped, never seen outside this room."""


def number(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    raw = value.encode()
    return bytes((len(raw),)) + raw


def blob(value: bytes) -> bytes:
    return number(len(value)) + value


@lru_cache(maxsize=4096)
def address(value: Address) -> bytes:
    """Raises ValueError if it is no IP address and port."""
    host, port = value
    ip = ip_address(host)
    if not 0 < port < 65536 or getattr(ip, "scope_id", None):
        raise ValueError(f"expected an IP address without scope and a port from 1 to 65535, got {value}")
    return bytes((ip.version,)) + ip.packed + port.to_bytes(2, "big")


@lru_cache(maxsize=4096)
def _unpacked(ip: bytes) -> str:
    return str(IPv4Address(ip) if len(ip) == 4 else IPv6Address(ip))


class Reader:
    """Reads one part from its start to its end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        start = self._at
        self._at = end = start + length
        if end > len(self._data):
            raise MalformedError("ends early")
        return self._data[start:end]

    def number(self) -> int:
        data, at = self._data, self._at
        if at < len(data) and data[at] < 0x80:
            self._at = at + 1
            return data[at]
        value = shift = 0
        for at in range(self._at, min(self._at + _MAX_NUMBER_BYTES, len(data))):
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at + 1
                return value
            shift += 7
        raise MalformedError("a number without an end")

    def text(self, longest: int = MAX_NAME_BYTES) -> str:
        length = self.take(1)[0]
        if length > longest:
            raise MalformedError("a text that is too long")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise MalformedError("a text that is not UTF-8") from None

    def name(self) -> str:
        name = self.text()
        if not name:
            raise MalformedError("an empty name")
        return name

    def blob(self, longest: int) -> bytes:
        length = self.number()
        if length > longest:
            raise MalformedError("bytes beyond their bound")
        return self.take(length)

    def address(self) -> Address:
        family = self.take(1)[0]
        if family not in (4, 6):
            raise MalformedError("an address of an unknown family")
        host = _unpacked(self.take(4 if family == 4 else 16))
        port = int.from_bytes(self.take(2), "big")
        if not port:
            raise MalformedError("port 0")
        return host, port

    def rest(self) -> int:
        """Skip what is left; returns how much that was."""
        skipped, self._at = len(self._data) - self._at, len(self._data)
        return skipped

    def left(self) -> bool:
        return self._at < len(self._data)

    def end(self) -> None:
        """Nothing may follow. A later version that needs more of a part gives it a new number."""
        if self.left():
            raise MalformedError("bytes after the end")
