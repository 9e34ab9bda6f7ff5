"""Our record batches, read back by kafka-python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch  # type: ignore[import-untyped]

from level4.model import ConfigError, Trade
from level4.publish.batches import BatchEncoder
from level4.publish.encode import Record
from level4.publish.varint import encoded_headers, varint

HEADERS = [("content-type", b"application/json"), ("schema", b"level4.timesales.v1")]
EVENT = Trade(
    market_id=1, exchange="KRAKEN", type="SPOT", symbol="BTC/USD", side=None, price="1", size="1", trade_id=None,
    epoch=1, seq=1, exchange_us=None, received_us=1, published_us=1, node="n",
)  # fmt: skip


def record(value: bytes, timestamp_ms: int = 1_787_227_200_000, partition: int = 17) -> Record:
    return Record(EVENT, "level4.timesales", encoded_headers(HEADERS), partition, value, timestamp_ms, 0.0)


def zigzag(encoded: bytes) -> int:
    number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
    return number >> 1 if number & 1 == 0 else -((number + 1) >> 1)


@given(st.integers(-(2**62), 2**62))
def test_numbers_come_back(number: int) -> None:
    encoded = varint(number)
    assert zigzag(encoded) == number
    assert all(byte & 0x80 for byte in encoded[:-1])
    assert not encoded[-1] & 0x80


@given(
    values=st.lists(st.binary(max_size=6_000), min_size=1, max_size=30),
    later=st.lists(st.integers(-10_000, 10_000), min_size=30, max_size=30),
    compression=st.sampled_from([None, "gzip", "lz4"]),
    sequence=st.integers(0, 2**31 - 1),
    partition=st.integers(0, 100_000),
)
def test_batches_are_read_as_they_were_written(
    values: list[bytes], later: list[int], compression: str | None, sequence: int, partition: int
) -> None:
    start = 1_787_227_200_000
    records = [record(value, start + more, partition) for value, more in zip(values, later, strict=False)]
    batch = DefaultRecordBatch(BatchEncoder(7_000_000_000, 3, compression)(records, sequence))
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7_000_000_000, 3, sequence)
    assert (batch.magic, batch.records_count, batch.last_offset_delta) == (2, len(records), len(records) - 1)
    assert (batch.first_timestamp, batch.max_timestamp) == (
        records[0].timestamp_ms, max(one.timestamp_ms for one in records)
    )  # fmt: skip
    assert not batch.is_transactional
    read = [(one.offset, one.key, one.value, one.headers, one.timestamp) for one in batch]
    assert read == [
        (place, str(partition).encode(), one.value, HEADERS, one.timestamp_ms) for place, one in enumerate(records)
    ]


def test_thousands_of_records_in_a_batch() -> None:
    records = [record(b"%d" % n) for n in range(5_000)]
    read = list(DefaultRecordBatch(BatchEncoder(1, 0, "lz4")(records, 0)))
    assert [(one.offset, one.value) for one in read] == [(n, b"%d" % n) for n in range(5_000)]


def test_what_is_worth_it_is_compressed() -> None:
    encode = BatchEncoder(1, 0, "lz4")
    assert DefaultRecordBatch(encode([record(b"x" * 100)], 0)).compression_type == 0
    large = encode([record(b"x" * 2_000)], 0)
    assert DefaultRecordBatch(large).compression_type == 3
    assert len(large) < 300


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(ConfigError, match="lz4"):
        BatchEncoder(1, 0, "brotli")
