"""The ownership log on the trio side: read for ever, in order; append with acknowledgements.

`deliver` is called on the event loop with every record from the log's beginning on, whoever wrote it. `append` returns
when all copies have the record; it is then on its way to `deliver` like any other. The client is replaced when it fails
or does not acknowledge in time; reading goes on where it was. While Kafka is away `append` raises UnavailableError at
once and nothing is delivered: nobody can claim.

A broker that lost its data has a shorter log, and some brokers answer a reader beyond the end with nothing at all.
That cannot be told from silence here; whoever misses its own records calls `reread`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import structlog
import trio

from level4.model import Level4Error, UnavailableError
from level4.publish.fetch_wait import FetchWait
from level4.publish.ownership_client import LogClient, LogRecord, LogSettings, Outgoing
from level4.publish.topics import explain, explain_refusal

_log = structlog.get_logger("level4.publish")

_CLOSE_SECONDS: Final = 1.0


@dataclass(eq=False, slots=True)
class _Append:
    """A record on its way, and how it ended."""

    outgoing: Outgoing
    done: trio.Event = field(default_factory=trio.Event)
    offset: int = -1
    error: str | None = None


class OwnershipLog:
    """The topic `level4.markets`. `run` must be running for anything to happen."""

    def __init__(
        self, settings: LogSettings, deliver: Callable[[Sequence[LogRecord]], None], random: Random | None = None
    ) -> None:
        self._settings = settings
        self._deliver = deliver
        self._random = random or Random()
        self._position = 0
        self._reread = False
        self._client: LogClient | None = None
        self._why = "not connected yet"
        self._waiting: list[_Append] = []
        self._outstanding: set[_Append] = set()
        self._wake = trio.Event()
        self._broken = trio.Event()
        self._threads = trio.CapacityLimiter(3)
        self._told = False
        self._fetch_wait = FetchWait()
        self._acknowledged: dict[int, float] = {}
        """When own records were acknowledged, by offset, until they are read."""

    @property
    def connected(self) -> bool:
        return self._client is not None

    @property
    def why_away(self) -> str:
        """Why it is not connected, or was not the last time."""
        return self._why

    async def append(self, key: str, value: bytes | None, names: tuple[int | None, int | None] = (None, None)) -> int:
        """Write a record; its offset. `names`: what a tombstone (value None) supersedes and has seen.

        Raises UnavailableError: Kafka is away, nothing was written; or it did not acknowledge in time: then the record
        may be in the log all the same, and `deliver` will tell. Cancelled: likewise.
        """
        if self._client is None:
            raise UnavailableError(f"the ownership log cannot be written: {self._why}; nothing was changed")
        if len(self._outstanding) >= self._settings.queue:
            raise UnavailableError(
                f"the ownership log has {len(self._outstanding)} unacknowledged records, which is all it may; try again"
            )
        append = _Append(Outgoing(key, value, names))
        self._outstanding.add(append)
        self._waiting.append(append)
        self._wake.set()
        try:
            with trio.move_on_after(self._settings.append_seconds):
                await append.done.wait()
        finally:
            self._outstanding.discard(append)
        if not append.done.is_set():
            append.error = f"no acknowledgement within {self._settings.append_seconds:g} s"
            self._break(append.error)
        if append.error is not None:
            raise UnavailableError(f"the ownership log did not take a record: {append.error}; it may be there later")
        return append.offset

    def reread(self) -> None:
        """Read again from the beginning."""
        self._reread = True

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, read and write until cancelled. Kafka's absence is no error."""
        task_status.started()
        delay = self._settings.backoff_seconds
        while True:
            client = await self._connect()
            if client is not None:
                delay = self._settings.backoff_seconds
                await self._use(client)
            self._tell()
            await trio.sleep(delay * (0.5 + 0.5 * self._random.random()))
            delay = min(2 * delay, self._settings.backoff_max_seconds)

    async def _connect(self) -> LogClient | None:
        """A client, or None; one that comes after a cancellation is closed where it was made."""
        abandoned: list[bool] = []

        def connect() -> LogClient | None:
            client = LogClient(self._settings, self._position)
            if abandoned:
                client.close(0)
                return None
            return client

        try:
            return await trio.to_thread.run_sync(connect, abandon_on_cancel=True)
        except Level4Error as error:
            self._why = str(error)
            return None
        except trio.Cancelled:
            abandoned.append(True)
            raise

    async def _use(self, client: LogClient) -> None:
        self._broken = trio.Event()
        self._client, self._told = client, False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, client)
                nursery.start_soon(self._write, client)
                await self._broken.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._client = None
            self._acknowledged.clear()
            client.abort()
            for append in self._outstanding:
                append.error = append.error or self._why
                append.done.set()
            self._waiting.clear()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS + 0.5):
                close = partial(client.close, _CLOSE_SECONDS)
                await trio.to_thread.run_sync(close, limiter=self._threads, abandon_on_cancel=True)

    def _break(self, why: str) -> None:
        self._why, self._client = why, None
        self._broken.set()

    async def _read(self, client: LogClient) -> None:
        while True:
            if self._reread:
                self._reread, self._position = False, 0
                self._acknowledged.clear()
                client.seek(0)
            try:
                # Not abandoned when cancelled: what has been read by then is delivered.
                poll = partial(client.poll, self._fetch_wait.ms)
                records = await trio.to_thread.run_sync(poll, limiter=self._threads)
            except Exception as error:  # whatever it is, this consumer cannot be used
                self._break(explain_refusal(error, self._settings.topic, "READ"))
                return
            if records and not self._reread:
                self._position = records[-1].offset + 1
                self._deliver(records)
                self._look_back()

    async def _write(self, client: LogClient) -> None:
        token = trio.lowlevel.current_trio_token()
        while True:
            self._wake = trio.Event()
            if not self._waiting:
                await self._wake.wait()
            batch, self._waiting = self._waiting, []
            calls = [(append.outgoing, partial(self._called, token, client, append)) for append in batch]
            try:
                await trio.to_thread.run_sync(client.send, calls, limiter=self._threads, abandon_on_cancel=True)
            except Exception as error:  # metadata that are gone, a record that is too large: the client is replaced
                self._break(explain(error))
                return

    def _called(self, token: trio.lowlevel.TrioToken, client: LogClient, append: _Append, result: object) -> None:
        """In the producer's thread."""
        try:
            token.run_sync_soon(self._settle, client, append, result)
        except trio.RunFinishedError:
            return

    def _settle(self, client: LogClient, append: _Append, result: object) -> None:
        if isinstance(result, Exception):
            append.error = append.error or explain_refusal(result, self._settings.topic, "WRITE")
            if client is self._client:  # else it was ended by us, which fails all that it still had
                self._break(append.error)
        else:
            append.offset = int(getattr(result, "offset", -1))
            self._acknowledged[append.offset] = trio.current_time()
            self._look_back()
        append.done.set()

    def _look_back(self) -> None:
        """Learn from own records that have been acknowledged and read."""
        for offset in [one for one in self._acknowledged if one < self._position]:
            self._fetch_wait.came_back(trio.current_time() - self._acknowledged.pop(offset))

    def _tell(self) -> None:
        """An outage is told once."""
        if not self._told:
            self._told = True
            _log.warning("the ownership log is away: no market can be claimed", reason=self._why)
