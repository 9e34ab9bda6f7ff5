"""What a member tells of itself in gossip, spelled within SWIM's 512 bytes.

A version number, then a JSON object with one-letter names. Readers skip fields that they do not know, so a version only
changes when a field comes to mean something else; meta of another version is read as "nothing known".

It is a hint for people and for choosing a host. Who owns what is the ownership log's to say, and a member that writes
no record into *our* log (another Kafka) gets no market from us, whatever its meta claims.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

_VERSION: Final = b"1"


class Meta(Struct, frozen=True, omit_defaults=True):
    control: str = msgspec.field(default="", name="a")
    """`host:port` of the control service."""
    capacity: int = msgspec.field(default=0, name="c")
    active: int = msgspec.field(default=0, name="f")
    draining: bool = msgspec.field(default=False, name="d")
    ready: bool = msgspec.field(default=False, name="r")
    """Whether it can publish now."""
    version: str = msgspec.field(default="", name="v")
    kafka: str = msgspec.field(default="", name="k")
    """Id of its Kafka cluster; empty while that is not known."""
    egress: str = msgspec.field(default="", name="e")
    """Nodes of one group share an address, and with it what the exchanges allow."""


_decoder = msgspec.json.Decoder(Meta)


def encode_meta(meta: Meta) -> bytes:
    return _VERSION + msgspec.json.encode(meta)


def decode_meta(data: bytes) -> Meta | None:
    """None for meta of another version, or none at all: it came from a stranger, perhaps."""
    if data[:1] != _VERSION:
        return None
    try:
        return _decoder.decode(data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
