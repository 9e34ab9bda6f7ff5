"""From a record's bytes to a typed event.

Which event it is says the `schema` header (`level4.spread`, perhaps with a version after another dot), else the topic;
how it is written says `content-type`: JSON (also without that header) or Protobuf (`events.proto`).
Schemas only grow: fields this version does not know are passed over, and fields a younger version added have defaults
here. Anything else that does not fit raises RecordError: the record is then lost to this consumer, and the integrity
check shows it as a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from level4.client.protobuf import decoder
from level4.model import SPREAD, STATUS, TIMESALES, Event, Level4Error, Spread, Status, Trade

_JSON: Final = "application/json"
_PROTOBUF: Final = ("application/protobuf", "application/x-protobuf")


class RecordError(Level4Error):
    """A record that is not an event, or one that this version cannot read."""


_TYPES: Final[dict[str, type[Event]]] = {SPREAD: Spread, TIMESALES: Trade, STATUS: Status}
_FROM_PROTOBUF: Final = {topic: decoder(topic) for topic in _TYPES}
_DECODERS: Final[dict[str, dict[str, Callable[[bytes], Event]]]] = {
    _JSON: {topic: msgspec.json.Decoder(kind).decode for topic, kind in _TYPES.items()},
    **dict.fromkeys(_PROTOBUF, _FROM_PROTOBUF),
}


def decode(topic: str, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> Event:
    """The event in a record. Raises RecordError with the topic and what is wrong."""
    named = {name: (text or b"").decode("ascii", "replace") for name, text in headers}
    content = named.get("content-type", _JSON)
    decoders = _DECODERS.get(content.partition(";")[0].strip())
    if decoders is None:
        known = f"{_JSON} and {_PROTOBUF[0]}"
        raise RecordError(f"{topic}: content type {content!r}; this reader takes {known}. The record is passed over.")
    schema = named.get("schema", topic)
    decode_one = decoders.get(".".join(schema.split(".")[:2]))
    if decode_one is None:
        known = ", ".join(_TYPES)
        raise RecordError(f"{topic}: schema {schema!r}; this reader knows {known}. The record is passed over.")
    if value is None:
        raise RecordError(f"{topic}: a record without a value (a tombstone), expected an event of {schema}.")
    try:
        return decode_one(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = f"{topic}: not an event of {schema}: {error}: {value[:80]!r}"
        raise RecordError(f"{said}. The record is passed over.") from None
