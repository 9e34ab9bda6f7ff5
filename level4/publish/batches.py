"""Record batches as Kafka keeps them (format 2), encoded straight from our records.

Events of many markets make many small batches, so what a batch costs counts as much as what a record costs. Lengths and
small differences are looked up instead of computed; headers are the same for all records of a topic and are encoded
once. Layout from Kafka's documentation of the message format (4.1, read 2026-11); kafka-python reads it back in tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from crc32c import crc32c
from kafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode  # type: ignore[import-untyped]

from level4.model import ConfigError
from level4.publish.encode import Record
from level4.publish.varint import varint

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, checksum, attributes, last offset's difference, first and highest
timestamp, producer, its epoch, first sequence number, number of records."""
_CHECKED_FROM: Final = 21
"""The checksum is over all that follows it."""
_CHECKSUM_AT: Final = 17
_LENGTH_FROM: Final = 12
_WORTH_COMPRESSING: Final = 1_024
_CODECS: Final = {
    None: (0, None), "gzip": (1, gzip_encode), "snappy": (2, snappy_encode), "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}  # fmt: skip


_VARINTS: Final = tuple(varint(number) for number in range(4_096))


class BatchEncoder:
    """Batches of one producer. `compression`: None, gzip, snappy, lz4 or zstd; small batches are left as they are."""

    def __init__(self, producer_id: int, producer_epoch: int, compression: str | None) -> None:
        if compression not in _CODECS:
            raise ConfigError(f"expected a compression among {', '.join(map(str, _CODECS))}, got {compression}")
        self._producer_id = producer_id
        self._producer_epoch = producer_epoch
        self._codec, self._compress = _CODECS[compression]

    def __call__(self, records: Sequence[Record], sequence: int) -> bytes:
        """One batch of these records, in this order; `sequence`: of the first one."""
        table, most = _VARINTS, len(_VARINTS)
        base = highest = records[0].timestamp_ms
        parts: list[bytes] = []
        for place, record in enumerate(records):
            stamp, key, value, headers = record.timestamp_ms, record.key, record.value, record.headers
            if stamp > highest:
                highest = stamp
            later = stamp - base
            delta = table[later] if 0 <= later < most else varint(later)
            offset = table[place] if place < most else varint(place)
            size = len(value)
            value_size = table[size] if size < most else varint(size)
            key_size = table[len(key)]
            length = 1 + len(delta) + len(offset) + len(key_size) + len(key) + len(value_size) + size + len(headers)
            parts += (
                table[length] if length < most else varint(length),
                b"\0", delta, offset, key_size, key, value_size, value, headers,
            )  # fmt: skip
        body = b"".join(parts)
        attributes = 0
        if self._compress is not None and len(body) >= _WORTH_COMPRESSING:
            attributes, body = self._codec, self._compress(body)
        count = len(records)
        size = _HEAD.size + len(body) - _LENGTH_FROM
        head = bytearray(
            _HEAD.pack(
                0, size, -1, 2, 0, attributes, count - 1, base, highest,
                self._producer_id, self._producer_epoch, sequence, count,
            )
        )  # fmt: skip
        checksum = crc32c(body, crc32c(memoryview(head)[_CHECKED_FROM:]))
        struct.pack_into(">I", head, _CHECKSUM_AT, checksum)
        return bytes(head) + body
