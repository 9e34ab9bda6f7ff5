"""The records of the ownership log and how they are spelled: JSON values under three kinds of keys.

| key | value |
|---|---|
| market id in digits | `MarketRecord`: what the market is, whether it is to run, who holds it; no value: removed |
| `node:NAME` | `NodeRecord`: this node can publish, once a second; no value: it left in order |
| `barrier:NAME` | `Barrier`: whoever reads its own one back has read all that was there when it was appended |

Every record says who wrote it (`Mark`), so that a writer knows its own when it comes back, whatever offset Kafka gave
it and whether or not Kafka's acknowledgement arrived. Unknown fields are passed over: records only grow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from level4.model import Instrument, MarketRequest, Position

TOPIC: Final = "level4.markets"

_NODE: Final = "node:"
_BARRIER: Final = "barrier:"


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


class Mark(Struct, frozen=True):
    """Who wrote a record. `serial` rises with every record of one process."""

    node: str
    generation: int
    """Start of the process, milliseconds since 1970: two processes of one name are told apart by it."""
    serial: int


class Released(Struct, frozen=True):
    """Where a holder that gave a market away ended its streams: what the next one `follows`."""

    spread: Position | None = None
    timesales: Position | None = None
    trade_id: str | None = None


class MarketRecord(Struct, frozen=True, omit_defaults=True):
    """One market. A claim, a stop, a re-appended record: all have this form, and one rule judges them (`fold`)."""

    market: MarketRequest
    desired: Desired
    term: Annotated[int, Meta(ge=0, le=10**12)]
    """Tenure of the host; 0 when nobody has held it yet. Bounded, so that an epoch fits 64 bits whoever wrote it."""
    by: Mark
    host: str | None = None
    """None: unplaced."""
    generation: int = 0
    """Of the host."""
    supersedes: int | None = None
    """Offset of the record that this one takes the place of; None: there is none."""
    seen: int | None = None
    """Offset of the newest record of this market that the writer had read, valid or void."""
    instrument: Instrument | None = None
    reason: str | None = None
    """Why it is unplaced or stopped, for people."""
    released: Released | None = None

    def held_by(self, node: str, generation: int) -> bool:
        return self.desired is Desired.RUNNING and self.host == node and self.generation == generation


class NodeRecord(Struct, frozen=True, omit_defaults=True):
    by: Mark
    at_ms: int = 0
    """When it was written, by the node's own clock, milliseconds since 1970."""
    address: str = ""
    """`host:port` of its control service."""
    active: int = 0
    capacity: int = 0
    draining: bool = False
    version: str = ""


class Barrier(Struct, frozen=True):
    by: Mark


Record = MarketRecord | NodeRecord | Barrier

_encode = msgspec.json.Encoder().encode
_DECODERS: Final[dict[type, msgspec.json.Decoder[Record]]] = {
    kind: msgspec.json.Decoder(kind) for kind in (MarketRecord, NodeRecord, Barrier)
}


class Key(Struct, frozen=True):
    """What a record's key names: a market (id) or a node (name)."""

    kind: type[Record]
    market_id: int = 0
    node: str = ""


def key_of(record: Record) -> str:
    if isinstance(record, MarketRecord):
        return str(record.market.id)
    return (_NODE if isinstance(record, NodeRecord) else _BARRIER) + record.by.node


def node_key(name: str) -> str:
    return _NODE + name


def parse_key(key: str) -> Key | None:
    """None for a key of no kind known here."""
    if key.isascii() and key.isdigit() and len(key) < 10:
        return Key(MarketRecord, market_id=int(key))
    if key.startswith(_NODE):
        return Key(NodeRecord, node=key.removeprefix(_NODE))
    if key.startswith(_BARRIER):
        return Key(Barrier, node=key.removeprefix(_BARRIER))
    return None


def encode(record: Record) -> bytes:
    return _encode(record)


def decode(key: Key, value: bytes) -> Record | None:
    """The record of a value; None when it is none (a reader must not end because of what a stranger wrote)."""
    try:
        record = _DECODERS[key.kind].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    named = record.market.id == key.market_id if isinstance(record, MarketRecord) else record.by.node == key.node
    return record if named else None
