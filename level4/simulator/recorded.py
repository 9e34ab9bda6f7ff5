"""Recordings of real traffic, read for serving.

The format is `level4.recording` version 1: gzip of JSON lines, a header and then the events of one connection in file
order. Instrument lists stand beside the recordings in `instruments.json.gz`. A file cut short is served up to its
last complete line.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from level4.model import ConfigError
from level4.simulator.address import Address

VERSION: Final = 1

_BOOK_WORDS: Final = ("book", "level2", "l2", "depth", "board")
_TRADE_WORDS: Final = ("trade", "match", "execution")


class Event(msgspec.Struct, frozen=True, gc=False):
    t: int
    """Nanoseconds since 1970 UTC."""
    k: str
    d: str = ""
    url: str | None = None
    b64: bool = False
    status: int = 200

    @property
    def data(self) -> str | bytes:
        return base64.b64decode(self.d) if self.b64 else self.d


class _Header(msgspec.Struct):
    format: str
    version: int
    exchange: str
    protocol: str
    url: str | None
    symbols: list[str] = []


@dataclass(frozen=True, slots=True)
class Recording:
    path: Path
    exchange: str
    protocol: str
    address: Address
    symbols: tuple[str, ...]
    events: tuple[Event, ...]
    channels: frozenset[str] | None
    """`book`, `trades`: what its own subscribe messages asked for; None when it has none."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A recorded answer to a request for an instrument list."""

    address: Address
    body: bytes


def channels_in(text: str) -> frozenset[str]:
    """Which of `book` and `trades` a subscribe message (or an address with streams) asks for."""
    lower = text.lower()
    return frozenset(
        name
        for name, words in (("book", _BOOK_WORDS), ("trades", _TRADE_WORDS))
        if any(word in lower for word in words)
    )


def load(path: Path) -> Recording:
    """Read a recording. Raises ConfigError when the file is not one that can be served."""
    lines = _lines(path)
    try:
        header = msgspec.json.decode(next(lines), type=_Header)
        decode = msgspec.json.Decoder(Event).decode
        events = tuple(decode(line) for line in lines)
    except (StopIteration, OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: expected a recording (gzip of JSON lines), got: {error}") from error
    if header.format != "level4.recording" or header.version != VERSION:
        raise ConfigError(
            f"{path}: expected format level4.recording version {VERSION}, got {header.format!r} {header.version}"
        )
    if header.url is None:
        raise ConfigError(f"{path}: the recording does not say which address it is from, so it cannot be served")
    address = Address.of_url(header.url)
    asked = [event.d for event in events if event.k == "send"]
    asked += [address.query] if "streams=" in address.query else []
    return Recording(
        path=path,
        exchange=header.exchange,
        protocol=header.protocol,
        address=address,
        symbols=tuple(header.symbols),
        events=tuple(event for event in events if event.k in ("recv", "http")),
        channels=frozenset[str]().union(*map(channels_in, asked)) if asked else None,
    )


def load_listings(recording: Path) -> list[Listing]:
    """The instrument lists beside a recording; none when there is no such file."""
    path = recording.with_name("instruments.json.gz")
    if not path.exists():
        return []
    try:
        content: Any = msgspec.json.decode(b"".join(_lines(path)))
        return [
            Listing(Address.of_url(response["url"]), msgspec.json.encode(response["body"]))
            for response in content["responses"]
        ]
    except (OSError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{path}: expected instrument lists, got: {error!r}") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            for line in file:
                if line.endswith(b"\n") or path.name == "instruments.json.gz":
                    yield line
    except EOFError:
        return
