"""From a record's bytes to a typed event.

Which event it is says the `schema` header (`level4.spread`, perhaps with a version after another dot), else the topic.
Schemas only grow: fields this version does not know are passed over, and fields a younger version added have defaults
here. Anything else that does not fit raises RecordError: the record is then lost to this consumer, and the integrity
check shows it as a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from level4.model import SPREAD, STATUS, TIMESALES, Event, Level4Error, Spread, Status, Trade

JSON: Final = "application/json"


class RecordError(Level4Error):
    """A record that is not an event, or one that this version cannot read."""


_DECODERS: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    SPREAD: msgspec.json.Decoder(Spread),
    TIMESALES: msgspec.json.Decoder(Trade),
    STATUS: msgspec.json.Decoder(Status),
}


def decode(topic: str, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> Event:
    """The event in a record. Raises RecordError with the topic and what is wrong."""
    named = {name: (text or b"").decode("ascii", "replace") for name, text in headers}
    content = named.get("content-type", JSON)
    if content.partition(";")[0].strip() != JSON:
        raise RecordError(f"{topic}: content type {content!r}; this reader takes {JSON}. The record is passed over.")
    schema = named.get("schema", topic)
    decoder = _DECODERS.get(".".join(schema.split(".")[:2]))
    if decoder is None:
        known = ", ".join(_DECODERS)
        raise RecordError(f"{topic}: schema {schema!r}; this reader knows {known}. The record is passed over.")
    if value is None:
        raise RecordError(f"{topic}: a record without a value (a tombstone), expected an event of {schema}.")
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = f"{topic}: not an event of {schema}: {error}: {value[:80]!r}"
        raise RecordError(f"{said}. The record is passed over.") from None
