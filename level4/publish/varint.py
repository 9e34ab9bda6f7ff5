"""The smallest parts of Kafka's records: numbers of variable length, and headers."""

from __future__ import annotations

from collections.abc import Sequence


def varint(number: int) -> bytes:
    """A signed number, as records have them: zigzag, seven bits a byte, the lowest first."""
    rest = number << 1 if number >= 0 else ((-number) << 1) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def encoded_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The end of a record: number of headers, and each one's name and value with their lengths."""
    parts = [varint(len(headers))]
    for name, value in headers:
        parts += varint(len(name.encode())), name.encode(), varint(len(value)), value
    return b"".join(parts)
