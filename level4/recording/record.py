"""Record live connections in the format of `format.py`, through the node's own connection code.

What is recorded is what a scheme gets: an instance decodes one socket, so one instance is one file, in the very order
and with the very stamps that its markets saw. A recorder therefore stands in two places and changes neither:

* `venue` hands out schemes that write down each frame, each message of ours, each REST snapshot (at the moment it is
  applied) and each answer of the instrument list, and then do what they always do;
* `transport` writes when a socket opens and why it ends. It knows whose socket it is because a connection makes its
  scheme's instance right before it connects.

So a replay of the files leads to the events that were published meanwhile, up to what timers did (the 10 s repeat,
staleness). With `wall` as the clock of the feeds even the times are the same.

Layout: `FOLDER/EXCHANGE.TYPE/STAMP-PROTOCOL-N.jsonl.gz`, N rising, and `instruments.json.gz` beside them; TYPE is MIXED
where one protocol carries several types. Lines are whole on disk once a second (`run`) and at the end. When the disk
fails, the recording ends and says so (`failed`); the feeds go on.
"""

from __future__ import annotations

import base64
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec
import structlog
import trio

from level4.exchanges import VENUES, Scheme, Venue
from level4.model import ConfigError, Markets, MarketType
from level4.recording.format import FORMAT, VERSION, Header, RecordedEvent, read_listing, write_listing

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 1.0

Lookup = Callable[[str, MarketType], Venue]


class Socket(Protocol):
    """As `level4.feeds` has it."""

    async def send(self, text: str) -> None: ...

    async def ping(self) -> None: ...

    async def receive(self) -> str | bytes: ...

    def receive_nowait(self) -> str | bytes | None: ...

    async def aclose(self) -> None: ...


class Transport(Protocol):
    """As `level4.feeds` has it."""

    def connect(
        self, url: str, message_bytes: int, patience: float = float("inf")
    ) -> AbstractAsyncContextManager[Socket]: ...


@dataclass(slots=True)
class RecordedFile:
    """What has been written of one connection."""

    path: Path
    events: int = 0
    frames: int = 0
    lost: int = 0
    """Events that could not be written."""


@dataclass(slots=True)
class _Listing:
    exchange: str
    type: str
    responses: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Address → when it answered, and what."""
    fresh: bool = False
    """Whether there is something that is not on disk yet."""


class Recorder:
    """Records into `folder` whatever passes its schemes. `wall`: nanoseconds since 1970 UTC."""

    def __init__(self, folder: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self.files: list[RecordedFile] = []
        self.failed = trio.Event()
        """Set when the disk failed; `error` says how."""
        self.error: ConfigError | None = None
        self._wall = wall
        self._last_ns = 0
        self._asked: dict[str, set[MarketType]] = {}
        self._schemes: dict[type[Scheme], type[Scheme]] = {}
        self._newest: _Connection | None = None
        self._open: list[_Connection] = []
        self._listings: dict[Path, _Listing] = {}

    def wall(self) -> int:
        """The clock that the feeds should use, so that what is applied without a stamp of its own has one here."""
        self._last_ns = self._wall()
        return self._last_ns

    def venue(self, lookup: Lookup) -> Lookup:
        """`lookup` with schemes that are recorded."""

        def recorded(exchange: str, kind: MarketType) -> Venue:
            venue = lookup(exchange, kind)
            for scheme in (venue.book, venue.trades):
                self._asked.setdefault(scheme.protocol, set()).add(kind)
            return replace(venue, book=self._recorded(venue.book), trades=self._recorded(venue.trades))

        return recorded

    def transport(self, inner: Transport) -> Transport:
        """`inner`, whose sockets are noted as they open and end."""
        return _NotingTransport(self, inner)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Bring whole lines to the disk once a second, until cancelled; then everything."""
        task_status.started()
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                for each in list(self._open):
                    each.flush()
                await trio.to_thread.run_sync(self._save_listings)
        finally:
            self.close()

    def close(self) -> None:
        """End all files."""
        for each in list(self._open):
            each.close(None, None)
        self._save_listings()

    # -- what schemes and sockets tell ---------------------------------------------------------------------------

    def _recorded(self, scheme: type[Scheme]) -> type[Scheme]:
        if scheme not in self._schemes:
            name = f"Recorded{scheme.__name__}"
            self._schemes[scheme] = cast("type[Scheme]", type(name, (_Noting, scheme), {"recorder": self}))
        return self._schemes[scheme]

    def begin(self, scheme: type[Scheme]) -> _Connection:
        self._newest = _Connection(self, scheme)
        return self._newest

    def take_newest(self) -> _Connection | None:
        """The connection whose scheme was made last, once."""
        newest, self._newest = self._newest, None
        return newest

    def stamp(self, ns: int | None = None) -> int:
        """The time of an event; without one of its own, that of the last look at the clock."""
        if ns is not None:
            self._last_ns = ns
        return self._last_ns or self.wall()

    def new_file(self, connection: _Connection, scheme: type[Scheme]) -> RecordedFile:
        folder = self._folder(scheme)
        folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.fromtimestamp(self.stamp() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
        number = len(self.files) + 1
        while (path := folder / f"{stamp}-{scheme.protocol}-{number}.jsonl.gz").exists():
            number += 1
        file = RecordedFile(path)
        self.files.append(file)
        self._open.append(connection)
        return file

    def ended(self, connection: _Connection) -> None:
        if connection in self._open:
            self._open.remove(connection)

    def fail(self, path: Path, error: OSError) -> None:
        if self.error is None:
            said = error.strerror or type(error).__name__
            self.error = ConfigError(
                f"{path}: cannot be written: {said}. Recording has ended; what is there can be read."
            )
            log.error("recording has ended", file=str(path), error=said)
            self.failed.set()

    def note_listing(self, scheme: type[Scheme], path: str, body: bytes) -> None:
        folder = self._folder(scheme)
        listing = self._listings.setdefault(folder, _Listing(scheme.exchange, folder.name.partition(".")[2]))
        # The exchange's own address, whatever stood in for it: by its path the list is found again.
        listing.responses[scheme.rest + path] = self.stamp(), body
        listing.fresh = True

    def _folder(self, scheme: type[Scheme]) -> Path:
        usual = {v.type for v in VENUES.values() if scheme.protocol in (v.book.protocol, v.trades.protocol)}
        kinds = usual | self._asked.get(scheme.protocol, set())
        kind = next(iter(kinds)) if len(kinds) == 1 else "MIXED"
        return self.folder / f"{scheme.exchange}.{kind}"

    def _save_listings(self) -> None:
        for folder, listing in list(self._listings.items()):
            if not listing.fresh:
                continue
            listing.fresh = False
            try:
                folder.mkdir(parents=True, exist_ok=True)
                responses = read_listing(folder) | listing.responses
                write_listing(folder, listing.exchange, listing.type, responses)
            except OSError as error:
                self.fail(folder, error)


class _Connection:
    """The file of one connection; made when there is something to write."""

    def __init__(self, recorder: Recorder, scheme: type[Scheme]) -> None:
        self._recorder = recorder
        self._scheme = scheme
        self._file: RecordedFile | None = None
        self._zip: gzip.GzipFile | None = None
        self._raw: Any = None
        self._closed = False
        self._flushed = 0

    def open(self, url: str) -> None:
        self.write(RecordedEvent(self._recorder.wall(), "open", url=url), url)

    def write(self, event: RecordedEvent, url: str | None = None) -> None:
        try:
            if self._file is None:
                self._begin(event.t, url)
            assert self._file is not None
            if self._zip is None or self._recorder.error is not None:
                self._file.lost += 1
                return
            self._zip.write(msgspec.json.encode(event) + b"\n")
        except OSError as error:
            self._recorder.fail(self._recorder.folder if self._file is None else self._file.path, error)
        else:
            self._file.events += 1
            self._file.frames += event.k == "recv"

    def text(self, kind: str, t: int, content: str | bytes, url: str | None = None) -> RecordedEvent:
        """An event with content as it is; in base64 if it was binary and is no text."""
        event = RecordedEvent(t, cast("Any", kind), url=url)
        if isinstance(content, str):
            event.d = content
        elif kind == "http" and (decoded := _decoded(content)) is not None:
            event.d = decoded
        else:
            event.d, event.b64 = base64.b64encode(content).decode(), True
        return event

    def flush(self) -> None:
        """Whole lines to the disk, if there are new ones."""
        if self._zip is None or self._file is None or self._flushed == self._file.events:
            return
        self._flushed = self._file.events
        try:
            self._zip.flush(zlib.Z_SYNC_FLUSH)
        except OSError as error:
            self._recorder.fail(self._file.path, error)

    def close(self, code: int | None, reason: str | None) -> None:
        if self._closed or self._file is None:
            return
        self._closed = True
        self.write(RecordedEvent(self._recorder.wall(), "close", code=code, reason=reason))
        zipped, self._zip = self._zip, None
        self._recorder.ended(self)
        try:
            if zipped is not None:
                zipped.close()
        except OSError as error:
            self._recorder.fail(self._file.path, error)
        finally:
            self._raw.close()

    def _begin(self, t: int, url: str | None) -> None:
        self._file = self._recorder.new_file(self, self._scheme)
        header = Header(
            format=FORMAT,
            version=VERSION,
            exchange=self._scheme.exchange,
            type=self._file.path.parent.name.partition(".")[2],
            protocol=self._scheme.protocol,
            url=url,
            recorded_at=datetime.fromtimestamp(t // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        self._raw = self._file.path.open("xb")
        self._zip = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=6, mtime=0)
        self._zip.write(msgspec.json.encode(header) + b"\n")
        self._zip.flush(zlib.Z_SYNC_FLUSH)  # from now on it can be read


class _Noting(Scheme):
    """A scheme that writes down what it gets; mixed in before the real one."""

    recorder: Recorder

    def __init__(self) -> None:
        super().__init__()
        self._noted = self.recorder.begin(type(self))

    def sent(self, text: str, sent_ns: int) -> None:
        self._noted.write(self._noted.text("send", self.recorder.stamp(sent_ns), text))
        super().sent(text, sent_ns)

    def decode(self, frame: str | bytes, received_ns: int, markets: Markets) -> None:
        self._noted.write(self._noted.text("recv", self.recorder.stamp(received_ns), frame))
        super().decode(frame, received_ns, markets)

    def decode_snapshot(self, symbol: str, body: str | bytes, markets: Markets) -> None:
        url = self.rest + self.snapshot_path(symbol)
        self._noted.write(self._noted.text("http", self.recorder.stamp(), body, url))
        super().decode_snapshot(symbol, body, markets)

    @classmethod
    def further_instruments(cls, path: str, body: bytes) -> list[str]:
        cls.recorder.note_listing(cls, path, body)
        return super().further_instruments(path, body)


class _NotingTransport:
    def __init__(self, recorder: Recorder, inner: Transport) -> None:
        self._recorder = recorder
        self._inner = inner

    @asynccontextmanager
    async def connect(self, url: str, message_bytes: int, patience: float = float("inf")) -> AsyncIterator[Socket]:
        connection = self._recorder.take_newest()  # nothing has been awaited since its scheme was made
        async with self._inner.connect(url, message_bytes, patience) as socket:
            noting = _NotingSocket(socket)
            if connection is not None:
                connection.open(url)
            try:
                yield noting
            finally:
                if connection is not None:
                    connection.close(noting.code, noting.reason)


class _NotingSocket:
    """Keeps why it ended."""

    def __init__(self, inner: Socket) -> None:
        self._inner = inner
        self.code: int | None = None
        self.reason: str | None = None
        self.send = inner.send
        self.ping = inner.ping
        self.receive_nowait = inner.receive_nowait
        self.aclose = inner.aclose

    async def receive(self) -> str | bytes:
        try:
            return await self._inner.receive()
        except Exception as error:
            self.code, self.reason = getattr(error, "code", None), getattr(error, "reason", None) or str(error)
            raise


def _decoded(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
