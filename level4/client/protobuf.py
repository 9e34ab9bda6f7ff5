"""From a Protobuf message of `events.proto` to a typed event.

Fields that this version does not know are passed over by Protobuf itself. A field without a value is left out, so that
what an event cannot do without is missed by name, as in JSON: in Protobuf an empty record is a valid message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError, Message

from level4.model import SPREAD, STATUS, TIMESALES, Event, Position, Spread, Status, Trade
from level4.proto import events_pb2 as pb

_TYPES: Final[dict[str, tuple[type[Message], type[Event]]]] = {
    SPREAD: (pb.Spread, Spread),
    TIMESALES: (pb.Trade, Trade),
    STATUS: (pb.Status, Status),
}


def decoder(topic: str) -> Callable[[bytes], Event]:
    """What decodes the events of one of the three topics. It raises msgspec.DecodeError for anything else."""
    message_type, event_type = _TYPES[topic]
    descriptor = message_type.DESCRIPTOR
    nullable = {field.name: None for field in descriptor.fields if field.has_presence and field.name != "follows"}
    starts_epochs = "first" in descriptor.fields_by_name

    def decode(value: bytes) -> Event:
        try:
            message = message_type.FromString(value)
        except DecodeError as error:
            raise msgspec.DecodeError(str(error)) from None
        fields: dict[str, Any] = dict(nullable)
        for descriptor, found in message.ListFields():
            fields[descriptor.name] = Position(found.epoch, found.seq) if isinstance(found, pb.Position) else found
        if starts_epochs and fields.pop("first", False):
            fields.setdefault("follows", None)
        return msgspec.convert(fields, event_type)

    return decode
