"""The recording format, version 1: everything that passed over one connection, as gzipped JSON lines.

The first line is a header (`format`, `version`, `exchange`, `type`, `protocol`, …); every other line is an event: `t`
nanoseconds since 1970 UTC, `k` one of open, send, recv, http, close, `d` the frame's text exactly as on the wire (or,
with `b64`, base64 of its bytes), `url`, `status`, … The *frame number* of an event is its 0-based position among the
event lines. A file cut short is readable up to its last complete line. Unknown keys are ignored.

Beside recordings may lie `instruments.json.gz`: the REST listing, as `{"responses": [{"url", "body"}, …]}`.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from level4.exchanges import Scheme
from level4.model import ConfigError, Instrument

FORMAT: Final = "level4.recording"
VERSION: Final = 1
INSTRUMENTS: Final = "instruments.json.gz"
MAX_LINE: Final = 128 * 2**20


class Header(Struct, omit_defaults=True):
    """First line of a recording."""

    format: str
    version: int
    exchange: str
    type: str
    protocol: str
    url: str | None = None
    api: str | None = None
    recorded_at: str | None = None
    symbols: list[str] | None = None


class RecordedEvent(Struct, omit_defaults=True):
    """One line of a recording after the first."""

    t: int
    k: Literal["open", "send", "recv", "http", "close"]
    d: str = ""
    url: str | None = None
    b64: bool = False
    method: str | None = None
    status: int = 200
    code: int | None = None
    reason: str | None = None

    def frame(self) -> str | bytes:
        """The frame as it came."""
        return base64.b64decode(self.d) if self.b64 else self.d


class _Response(Struct):
    url: str
    body: msgspec.Raw
    t: int = 0


class _Instruments(Struct):
    responses: list[_Response]
    format: str = "level4.instruments"
    version: int = VERSION
    exchange: str = ""
    type: str = ""


_decode_header = msgspec.json.Decoder(Header).decode
_decode_event = msgspec.json.Decoder(RecordedEvent).decode
_decode_instruments = msgspec.json.Decoder(_Instruments).decode


class Recording:
    """A recording on disk. Raises ConfigError when it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        line = next(_lines(path), b"")
        try:
            self.header = _decode_header(line)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: expected the header of a {FORMAT} file, got {line[:80]!r} ({error})") from None
        if (self.header.format, self.header.version) != (FORMAT, VERSION):
            came = f"{self.header.format} version {self.header.version}"
            raise ConfigError(f"{path}: expected {FORMAT} version {VERSION}, got {came}")

    def events(self) -> Iterator[RecordedEvent]:
        """All events in file order. Raises ConfigError at a line that is no event (unless it is the last, cut one)."""
        lines = _lines(self.path)
        next(lines)
        for number, line in enumerate(lines, 2):
            try:
                yield _decode_event(line)
            except msgspec.DecodeError as error:
                if not line.endswith(b"\n"):
                    return
                raise ConfigError(f"{self.path}: line {number} is no event: {error}") from None

    def instruments(self, scheme: type[Scheme]) -> list[Instrument]:
        """What the listing beside the file says in the scheme's words; empty when there is none that fits."""
        file = self.path.with_name(INSTRUMENTS)
        if not file.exists():
            return []
        try:
            responses = _decode_instruments(b"".join(_lines(file))).responses
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file}: expected a listing of instruments: {error}") from None
        wanted: list[bytes] = []
        for path in scheme.instruments_paths:
            asked = urlsplit(path)
            answers = [(urlsplit(response.url), bytes(response.body)) for response in responses]
            there = [(url.query, body) for url, body in answers if url.path == asked.path]
            if not there:
                return []
            # A list that is fetched whole today may have been recorded in parts.
            wanted += [body for query, body in there if query == asked.query] or [body for _, body in there]
        return scheme.parse_instruments(wanted) if wanted else []


def read_listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The answers in a folder's listing, by address: when each came (nanoseconds), and its body. Empty when there is
    no listing, or none that can be read."""
    file = folder / INSTRUMENTS
    if not file.exists():
        return {}
    try:
        responses = _decode_instruments(b"".join(_lines(file))).responses
    except (msgspec.DecodeError, ConfigError):
        return {}
    return {response.url: (response.t, bytes(response.body)) for response in responses}


def write_listing(folder: Path, exchange: str, kind: str, responses: Mapping[str, tuple[int, bytes]]) -> None:
    """Write a folder's listing, at once or not at all. A body that is not JSON is left out. Raises OSError."""
    kept = [_Response(url, msgspec.Raw(body), t) for url, (t, body) in responses.items() if _is_json(body)]
    listing = _Instruments(kept, exchange=exchange, type=kind)
    file = folder / INSTRUMENTS
    fresh = file.with_name(f"{INSTRUMENTS}.new")
    fresh.write_bytes(gzip.compress(msgspec.json.encode(listing), mtime=0))
    fresh.replace(file)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(MAX_LINE):
                yield line
    except EOFError:
        return  # cut short: everything before was good
    except (OSError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read as a recording: {error}") from None

