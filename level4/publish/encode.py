"""From an event to the Kafka record that carries it.

Contract with consumers: topic by the event's class, partition = market id exactly, key = market id in ASCII digits,
value JSON or Protobuf (one message of `events.proto`), headers `content-type` and `schema`, timestamp = the time at
which the frame was received (for a status event, which has none: the time of publishing). What belongs to no market
goes to partition 0 with key `0`.

Both encodings carry the same fields and texts. They differ in one thing: JSON tells an absent `follows` from a null
one, which Protobuf cannot; there the flag `first` says that the record is its epoch's first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from level4.model import SPREAD, STATUS, TIMESALES, TOPICS, Event, Position, Spread, Status, Trade
from level4.proto import events_pb2 as pb
from level4.publish.varint import encoded_headers

NO_MARKET: Final = 0
"""The partition of everything that belongs to no market; market ids start at 1."""

Encoding = Literal["json", "protobuf"]
CONTENT_TYPES: Final[dict[Encoding, str]] = {"json": "application/json", "protobuf": "application/protobuf"}

HEADERS: Final[dict[Encoding, dict[str, list[tuple[str, bytes]]]]] = {
    encoding: {
        topic: [("content-type", content.encode()), ("schema", topic.encode() + b".v1")] for topic in TOPICS
    }
    for encoding, content in CONTENT_TYPES.items()
}  # fmt: skip
"""By topic."""


class Record:
    """One Kafka record, kept until Kafka has acknowledged it."""

    __slots__ = ("event", "headers", "key", "partition", "put_at", "strikes", "timestamp_ms", "topic", "value")

    def __init__(
        self, event: Event, topic: str, headers: bytes, partition: int, value: bytes, timestamp_ms: int, put_at: float
    ):
        self.event = event
        self.topic = topic
        self.headers = headers
        """As they stand in a record batch."""
        self.partition = partition
        self.key = b"%d" % partition
        self.value = value
        self.timestamp_ms = timestamp_ms
        self.put_at = put_at
        """Monotonic seconds at which the event was put."""
        self.strikes = 0
        """How often Kafka has refused this very record."""


def partition_of(event: Event) -> int:
    """The partition of an event: its market id, or 0."""
    return event.market_id or NO_MARKET


def encoder(encoding: Encoding) -> Callable[[Event, float], Record]:
    """What makes the record of an event that has been numbered; its second argument: when the event was put.

    It raises TypeError or ValueError when a field cannot be encoded.
    """
    headers = {topic: encoded_headers(named) for topic, named in HEADERS[encoding].items()}
    encode = msgspec.json.Encoder().encode if encoding == "json" else to_protobuf

    def make(event: Event, put_at: float = 0.0) -> Record:
        if type(event) is Spread:
            topic, stamp_us = SPREAD, event.received_us
        elif type(event) is Trade:
            topic, stamp_us = TIMESALES, event.received_us
        elif type(event) is Status:
            topic, stamp_us = STATUS, event.published_us
        else:
            raise TypeError(f"expected a Spread, Trade or Status, got {type(event).__name__}")
        return Record(event, topic, headers[topic], partition_of(event), encode(event), stamp_us // 1000, put_at)

    return make


def to_protobuf(event: Event) -> bytes:
    """The event as a message of `events.proto`. Raises TypeError or ValueError when a field cannot be encoded."""
    if type(event) is Spread:
        return _spread(event).SerializeToString()
    if type(event) is Trade:
        return _trade(event).SerializeToString()
    assert type(event) is Status
    return _status(event).SerializeToString()


def _spread(event: Spread) -> pb.Spread:
    return pb.Spread(
        market_id=event.market_id,
        exchange=event.exchange,
        type=event.type,
        symbol=event.symbol,
        state=event.state,
        changed=event.changed,
        bid_price=event.bid_price,
        bid_size=event.bid_size,
        ask_price=event.ask_price,
        ask_size=event.ask_size,
        mid_price=event.mid_price,
        epoch=event.epoch,
        seq=event.seq,
        exchange_us=event.exchange_us,
        received_us=event.received_us,
        published_us=event.published_us,
        node=event.node,
        first=event.follows is not UNSET,
        follows=_position(event.follows),
        coalesced=event.coalesced,
    )


def _trade(event: Trade) -> pb.Trade:
    return pb.Trade(
        market_id=event.market_id,
        exchange=event.exchange,
        type=event.type,
        symbol=event.symbol,
        side=event.side,
        price=event.price,
        size=event.size,
        trade_id=event.trade_id,
        epoch=event.epoch,
        seq=event.seq,
        exchange_us=event.exchange_us,
        received_us=event.received_us,
        published_us=event.published_us,
        node=event.node,
        first=event.follows is not UNSET,
        follows=_position(event.follows),
    )


def _status(event: Status) -> pb.Status:
    return pb.Status(
        market_id=event.market_id,
        event=event.event,
        state=event.state,
        reason=event.reason,
        member=event.member,
        epoch=event.epoch,
        seq=event.seq,
        node=event.node,
        published_us=event.published_us,
        exchange=event.exchange,
        type=event.type,
        symbol=event.symbol,
        lost=event.lost,
        spread=_position(event.spread),
        timesales=_position(event.timesales),
    )


def _position(at: Position | UnsetType | None) -> pb.Position | None:
    return pb.Position(epoch=at.epoch, seq=at.seq) if isinstance(at, Position) else None
