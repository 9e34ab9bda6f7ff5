"""Events as Protobuf: the same as in JSON, the schema's numbers for ever, older and younger readers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from level4.client import RecordError, decode
from level4.model import SPREAD, STATUS, TIMESALES, Event, FeedState, Position, Spread, Status, Trade
from level4.proto import events_pb2
from level4.publish.encode import HEADERS, Encoding, encoder, to_protobuf

BIG = 2**62
texts = st.text(max_size=12)
numbers = st.integers(1, BIG)
positions = st.builds(Position, numbers, numbers)
follows = st.one_of(st.just(UNSET), st.none(), positions)
names = st.text(st.characters(codec="ascii", categories=["Lu", "Nd"]), min_size=1, max_size=8)
decimals = st.decimals(0, 10**9, places=6).map(str)
maybe = st.none() | decimals

EVENTS = st.one_of(
    st.builds(
        Spread, numbers, names, st.none() | names, names, st.sampled_from(FeedState),
        st.sampled_from(["bid", "ask", "both", "state", "none"]), maybe, maybe, maybe, maybe, maybe, numbers, numbers,
        st.none() | st.integers(0, BIG), numbers, numbers, names, follows, st.integers(0, BIG),
    ),
    st.builds(
        Trade, numbers, names, st.none() | names, names, st.sampled_from(["buy", "sell", None]), decimals, decimals,
        st.none() | texts, numbers, numbers, st.none() | st.integers(0, BIG), numbers, numbers, names, follows,
    ),
    st.builds(
        Status, st.none() | numbers, names, st.none() | st.sampled_from(FeedState), st.none() | texts,
        st.none() | names, numbers, numbers, names, numbers, st.none() | names, st.none() | names, st.none() | names,
        st.none() | st.integers(0, BIG), st.none() | positions, st.none() | positions,
    ),
)  # fmt: skip

PROTOBUF = [("content-type", b"application/protobuf")]
THE_SPREAD = Spread(
    17, "KRAKEN", "SPOT", "BTC/USD", FeedState.LIVE, "state", "64000.1", "1.25", None, None, None, 1787227200000003, 1,
    None, 2, 3, "node1", Position(5, 6), 2,
)  # fmt: skip
FIRST_VERSION = {
    "Position": "epoch seq",
    "Spread": "market_id exchange type symbol state changed bid_price bid_size ask_price ask_size mid_price epoch seq "
    "exchange_us received_us published_us node first follows coalesced",
    "Trade": "market_id exchange type symbol side price size trade_id epoch seq exchange_us received_us published_us "
    "node first follows",
    "Status": "market_id event state reason member epoch seq node published_us exchange type symbol lost "
    "spread timesales",
}
"""The fields of the schema as first published, by number from 1. Never to be changed."""


@given(EVENTS)
def test_both_encodings_give_the_same_event(event: Event) -> None:
    encodings: tuple[Encoding, ...] = ("json", "protobuf")
    for encoding in encodings:
        record = encoder(encoding)(event, 0.0)
        assert decode(record.topic, record.value, HEADERS[encoding][record.topic]) == event


def test_the_bytes_of_the_first_version_are_read_for_ever() -> None:
    first = bytes.fromhex(
        "081112064b52414b454e1a0453504f5422074254432f5553442a044c495645320573746174653a"
        "0736343030302e314204312e32356083a08e9394af9603680178028001038a01056e6f64653190"
        "01019a010408051006a00102"
    )
    assert decode(SPREAD, first, PROTOBUF) == THE_SPREAD
    assert to_protobuf(THE_SPREAD) == first


@pytest.mark.parametrize("message", FIRST_VERSION)
def test_numbers_of_fields_never_change(message: str) -> None:
    fields = events_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name
    assert [fields[name].number for name in FIRST_VERSION[message].split()] == [
        *range(1, len(FIRST_VERSION[message].split()) + 1)
    ]


def younger(message: str) -> type[Message]:
    """The message of a schema that has grown: a text and a nested message after the fields of today."""
    file = FileDescriptorProto()
    events_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "younger.proto", "younger"
    for each in file.message_type:
        for field in each.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".level4.events.", ".younger.")
        if each.name == message:
            optional, text = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_STRING
            each.field.add(name="venue", number=100, label=optional, type=text)
            nested = FieldDescriptorProto.TYPE_MESSAGE
            each.field.add(name="route", number=101, label=optional, type=nested, type_name=".younger.Position")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"younger.{message}"))


def test_an_old_consumer_reads_new_events() -> None:
    new: Any = younger("Spread").FromString(to_protobuf(THE_SPREAD))
    new.venue = "somewhere"
    new.route.epoch = 7
    value = new.SerializeToString()
    assert len(value) > len(to_protobuf(THE_SPREAD))
    assert decode(SPREAD, value, PROTOBUF) == THE_SPREAD
    grown = json.loads(msgspec.json.encode(THE_SPREAD)) | {"venue": "somewhere", "route": {"epoch": 7}}
    assert decode(SPREAD, json.dumps(grown).encode()) == THE_SPREAD


def test_a_new_consumer_reads_old_events() -> None:
    """What came after the first version of a class may be absent."""
    old = Status(17, "gap", FeedState.GAP, None, None, 4, 5, "node1", 8)
    value = events_pb2.Status(
        market_id=17, event="gap", state="GAP", epoch=4, seq=5, node="node1", published_us=8
    ).SerializeToString()
    assert decode(STATUS, value, PROTOBUF) == old
    newer: Any = younger("Status").FromString(value)
    assert (newer.venue, newer.HasField("route"), newer.seq) == ("", False, 5)


@pytest.mark.parametrize(
    ("topic", "value", "reason"),
    [
        (SPREAD, b"", "missing required field `market_id`"),
        (TIMESALES, events_pb2.Trade(market_id=1, exchange="X", symbol="A/B").SerializeToString(), "field `price`"),
        (STATUS, b"\xff\xfe{", "not an event of level4.status"),
        (SPREAD, b'{"market_id":17}', "not an event of level4.spread"),
        (SPREAD, to_protobuf(THE_SPREAD).replace(b"LIVE", b"DEAD"), "Invalid enum value 'DEAD'"),
    ],
)
def test_what_is_no_event_is_refused(topic: str, value: bytes, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        decode(topic, value, PROTOBUF)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_in_the_same_way(value: bytes) -> None:
    with pytest.raises(RecordError):
        decode(TIMESALES, value, PROTOBUF)


def test_what_cannot_be_encoded_raises() -> None:
    broken = msgspec.structs.replace(THE_SPREAD, symbol="\udcff")
    with pytest.raises(ValueError, match="surrogates"):
        to_protobuf(broken)
