"""What every call passes on its way in and out: admission, limits, the count of calls in flight, the last safety net.

Invariants: at most `Limits.calls` calls run at once; no message larger than `Limits.message_bytes` is read; a call
that is refused or cut off always gets a status (grpclib sends nothing for a bare cancellation, and its client would
wait for ever); no exception leaves as UNKNOWN.

A caller's token is checked first, before anything of its request is read: every service has it checked, health and
reflection too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import trio
from google.protobuf.message import DecodeError
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from level4.rpc.security import Tokens

_log = logging.getLogger(__name__)

AnyStream = Stream[Any, Any]
Task = asyncio.Task[Any]
Method = Callable[[AnyStream], Awaitable[None]]


class Service(Protocol):
    """What grpclib serves: the generated `…Base` classes are such."""

    def __mapping__(self) -> Mapping[str, Handler]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    message_bytes: int = 64 * 1024
    """Largest request. Ours take some hundred bytes."""
    calls: int = 512
    """Calls in flight over all connections, streams included; as many probes of health again."""
    connections: int = 512


@dataclass(slots=True)
class RpcStats:
    """Counters since the start; `in_flight` and `connections` are now."""

    calls: int = 0
    in_flight: int = 0
    connections: int = 0
    refused_busy: int = 0
    refused_unauthenticated: int = 0
    """No token, or a wrong one."""
    refused_draining: int = 0
    refused_connections: int = 0
    refused_messages: int = 0
    broken_connections: int = 0
    """Given up because of what the peer sent."""
    failed: int = 0
    """Calls that ended by a mistake of ours (INTERNAL)."""


class Gate:
    """`name` is the node's, for messages. `tokens`: None lets everybody in."""

    def __init__(self, limits: Limits, stats: RpcStats, name: str, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._limits = limits
        self._stats = stats
        self._name = name
        self._draining = False
        self._unary: set[Task] = set()
        self._streams: set[Task] = set()
        self._probes: set[Task] = set()
        self._no_unary = trio.Event()

    def guard(self, service: Service, *, probe: bool = False) -> Service:
        """The same service with every call passing the gate.

        `probe`: health, which is served to the very end and does not compete with other calls for a place, because a
        busy node must not look like a dead one.
        """
        mapping = service.__mapping__()
        return _Guarded({path: made._replace(func=self._guarded(path, made, probe)) for path, made in mapping.items()})

    async def drain(self) -> None:
        """Refuse new calls, end streams with UNAVAILABLE, and wait until the other calls have been answered."""
        self._draining = True
        for task in self._streams:
            task.cancel()
        if self._unary:
            await self._no_unary.wait()

    def _guarded(self, path: str, handler: Handler, probe: bool) -> Method:
        call: Method = handler.func
        from_client, to_client = handler.cardinality.client_streaming, handler.cardinality.server_streaming
        group = self._probes if probe else self._streams if from_client or to_client else self._unary

        async def guarded(stream: AnyStream) -> None:
            self._authenticate(stream)
            self._admit(probe)
            task = cast("Task", asyncio.current_task())
            group.add(task)
            self._stats.calls += 1
            self._stats.in_flight += 1
            self._check_messages(path, stream, from_client)
            try:
                await call(stream)
            except GRPCError as error:
                self._stats.failed += error.status is Status.INTERNAL
                raise
            except asyncio.CancelledError:
                if self._draining:
                    raise self._shutting_down() from None
                raise
            except DecodeError:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: the request is no message of its type") from None
            except Exception:
                self._stats.failed += 1
                _log.exception("%s failed by a mistake of ours; its caller gets INTERNAL, the node goes on", path)
                message = f"{path} failed by a mistake of node {self._name}; its log has the traceback"
                raise GRPCError(Status.INTERNAL, message) from None
            finally:
                self._stats.in_flight -= 1
                group.discard(task)
                if self._draining and not self._unary:
                    self._no_unary.set()

        return guarded

    def _authenticate(self, stream: AnyStream) -> None:
        if self._tokens is None:
            return
        shown = stream.metadata.get("authorization") if stream.metadata is not None else None
        if isinstance(shown, str) and self._tokens.admit(shown):
            return
        self._stats.refused_unauthenticated += 1
        what = "none" if shown is None else "another one"
        wanted = f"expected `authorization: Bearer` with a token of node {self._name}"
        raise GRPCError(Status.UNAUTHENTICATED, f"{wanted}, got {what}")

    def _admit(self, probe: bool) -> None:
        if self._draining and not probe:
            self._stats.refused_draining += 1
            raise self._shutting_down()
        taken = len(self._probes) if probe else len(self._unary) + len(self._streams)
        if taken >= self._limits.calls:
            self._stats.refused_busy += 1
            message = f"node {self._name} has {taken} calls in flight; try again later"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, message)

    def _shutting_down(self) -> GRPCError:
        return GRPCError(Status.UNAVAILABLE, f"node {self._name} is shutting down; ask another node")

    def _check_messages(self, path: str, stream: AnyStream, client_streaming: bool) -> None:
        """Judge each message by its prefix, before the rest is read.

        grpclib reads whatever length a client announces, and what it finds wrong with a request it reports as our bug.
        """
        h2_stream = stream._stream
        read, limit = h2_stream.recv_data, self._limits.message_bytes
        at_prefix, messages = True, 0

        async def recv_data(size: int) -> bytes:
            nonlocal at_prefix, messages
            try:
                data = await read(size)
            except AssertionError:  # how grpclib says that the stream ended inside a message
                raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: the request ended within a message") from None
            if at_prefix and data:
                messages += 1
                if data[0]:
                    raise GRPCError(Status.UNIMPLEMENTED, f"{path}: compressed requests are not supported")
                if (length := int.from_bytes(data[1:], "big")) > limit:
                    self._stats.refused_messages += 1
                    text = f"{path}: expected a message of at most {limit} bytes, got {length}"
                    raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
            elif at_prefix and not messages and not client_streaming:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{path}: expected one request message, got none")
            at_prefix = not at_prefix
            return data

        h2_stream.recv_data = recv_data  # type: ignore[method-assign]  # there is no other hook before the read


class _Guarded:
    def __init__(self, mapping: Mapping[str, Handler]) -> None:
        self._mapping = mapping

    def __mapping__(self) -> Mapping[str, Handler]:
        return self._mapping
