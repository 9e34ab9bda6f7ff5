"""Bytes to events: by header or topic, younger and older schemas, and what is no event."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.client.events import RecordError, decode
from level4.model import SPREAD, STATUS, TIMESALES, Event, FeedState, Position, Spread, Status, Trade

EVENTS: dict[str, Event] = {
    SPREAD: Spread(
        17, "KRAKEN", "SPOT", "BTC/USD", FeedState.LIVE, "bid", "64000.1", "1.25", None, None, None,
        1787227200000003, 1042, None, 2, 3, "node1", Position(5, 6), 2,
    ),
    TIMESALES: Trade(17, "KRAKEN", "SPOT", "BTC/USD", None, "1", "2", None, 4, 5, 6, 7, 8, "node1", None),
    STATUS: Status(17, "alive", FeedState.LIVE, None, None, 4, 5, "node1", 8, spread=Position(1, 2)),
}  # fmt: skip

CONTRACT = """
{"market_id":17,"exchange":"KRAKEN","type":"SPOT","symbol":"BTC/USD","state":"LIVE","changed":"bid",
 "bid_price":"64000.1","bid_size":"1.25","ask_price":"64000.2","ask_size":"0.3","mid_price":"64000.15",
 "epoch":1787227200000003,"seq":1042,"exchange_us":1787227200099000,"received_us":1787227200101532,
 "published_us":1787227200101690,"node":"node1"}
"""


def changed(topic: str, **fields: object) -> bytes:
    """The topic's event as JSON, with these fields set; None removes one."""
    plain: dict[str, Any] = json.loads(msgspec.json.encode(EVENTS[topic])) | fields
    kept = {name: value for name, value in plain.items() if name not in fields or value is not None}
    return json.dumps(kept).encode()


@pytest.mark.parametrize("topic", EVENTS)
def test_every_event_comes_back(topic: str) -> None:
    assert decode(topic, msgspec.json.encode(EVENTS[topic])) == EVENTS[topic]


def test_the_documented_example_is_read() -> None:
    event = decode(SPREAD, CONTRACT.encode())
    assert isinstance(event, Spread)
    assert (event.ask_price, event.seq, event.state, event.follows) == ("64000.2", 1042, FeedState.LIVE, msgspec.UNSET)


@pytest.mark.parametrize("topic", EVENTS)
def test_fields_of_a_younger_schema_are_passed_over(topic: str) -> None:
    assert decode(topic, changed(topic, venue_seq=7, more={"a": [1]})) == EVENTS[topic]


def test_fields_of_a_younger_schema_have_defaults() -> None:
    event = decode(SPREAD, changed(SPREAD, follows=None, coalesced=None))
    assert isinstance(event, Spread)
    assert (event.follows, event.coalesced) == (msgspec.UNSET, 0)


@pytest.mark.parametrize("schema", [b"level4.timesales", b"level4.timesales.v1", b"level4.timesales.2.1"])
def test_the_schema_header_comes_before_the_topic(schema: bytes) -> None:
    headers = [("content-type", b"application/json; charset=utf-8"), ("schema", schema)]
    value = msgspec.json.encode(EVENTS[TIMESALES])
    assert decode("archive", value, headers) == decode(SPREAD, value, headers) == EVENTS[TIMESALES]


@pytest.mark.parametrize(
    ("topic", "value", "headers", "reason"),
    [
        ("orders", b"{}", [], "schema 'orders'; this reader knows level4.spread"),
        (SPREAD, b"{}", [("schema", b"level4.books")], "schema 'level4.books'"),
        (SPREAD, b"{}", [("content-type", b"avro/binary")], "this reader takes application/json"),
        (SPREAD, None, [], "tombstone"),
        (SPREAD, b"", [], "not an event of level4.spread"),
        (SPREAD, b"\xff\xfe{", [], "not an event of level4.spread"),
        (SPREAD, b'{"market_id":17}', [], "missing required field `exchange`"),
        (SPREAD, changed(SPREAD, seq="1"), [], r"Expected `int`, got `str` - at `\$.seq`"),
        (SPREAD, changed(SPREAD, bid_price=1.5), [], r"at `\$.bid_price`"),
        (SPREAD, changed(SPREAD, state="ASLEEP"), [], "Invalid enum value 'ASLEEP'"),
        (SPREAD, changed(SPREAD, market_id="\udcff"), [], "not an event"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(
    topic: str, value: bytes | None, headers: list[tuple[str, bytes | None]], reason: str
) -> None:
    with pytest.raises(RecordError, match=reason) as caught:
        decode(topic, value, headers)
    assert str(caught.value).startswith(f"{topic}: ")
    assert len(str(caught.value)) < 500


@given(st.binary(max_size=60), st.sampled_from(sorted(EVENTS)))
def test_any_bytes_are_refused_in_the_same_way(value: bytes, topic: str) -> None:
    with pytest.raises(RecordError):
        decode(topic, value)
