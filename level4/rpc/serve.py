"""Serve gRPC within the trio program, with bounds on everything a client can use up and a drain at the end.

`port = await nursery.start(partial(serve, [Control(host)], health=health))` serves until it is cancelled. Then:
health says NOT_SERVING, new calls and running streams get UNAVAILABLE, other calls have `grace` seconds to finish and
are UNAVAILABLE after that, and every connection is closed. All of it takes at most `NOTICE` + `grace` + 2 × `CLOSING`
seconds, whatever clients do. The drain runs shielded from the cancellation that began it.

grpclib bounds neither connections nor messages, closes no connection at its end and answers a malformed or already
passed `grpc-timeout` with UNKNOWN; `_Connection` and `_Calls` below add what is missing.

Who may connect and call is `level4.rpc.security`'s business: `tls` and `tokens`. Without them anybody may, so whoever
builds a node must not bind such a port to an address that others reach.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

import trio
from grpclib.config import Configuration
from grpclib.metadata import decode_timeout
from grpclib.protocol import AbstractHandler, H2Protocol
from grpclib.protocol import Stream as H2Stream
from grpclib.reflection.service import ServerReflection
from grpclib.server import Server

from level4.model import ConfigError
from level4.rpc.bridge import on_asyncio, open_loop
from level4.rpc.gate import Gate, Limits, RpcStats, Service
from level4.rpc.health import Health
from level4.rpc.security import Tokens

_log = logging.getLogger(__name__)

NOTICE: Final = 0.05
"""Seconds in which health already says NOT_SERVING while calls are still taken, so that watchers hear it first."""
GRACE: Final = 5.0
"""Seconds that running calls have to finish."""
CLOSING: Final = 1.0
"""Seconds for cancelled calls to end, and again for connections to flush and close."""

_WINDOW: Final = 65_535
"""Unread bytes a stream or connection may have here; the least HTTP/2 allows. Requests are small."""
_SHORTEST: Final = 0.001
"""Seconds. A deadline that passed on the way is served as this, so that it ends as DEADLINE_EXCEEDED."""
_HANDSHAKE: Final = 10.0
"""Seconds for a TLS handshake."""
_IDLE: Final = 60
"""Seconds after which a silent peer is probed; three probes unanswered and it is gone."""


async def serve(
    services: Sequence[Service],
    *,
    health: Health,
    host: str = "127.0.0.1",
    port: int = 0,
    name: str = "node1",
    limits: Limits | None = None,
    grace: float = GRACE,
    stats: RpcStats | None = None,
    tls: ssl.SSLContext | None = None,
    tokens: Tokens | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `services`, health and reflection until cancelled; reports the bound port when it listens.

    `name` is the node's, for messages. `tls`: from `server_context`; None: plaintext. `tokens`: of which every caller
    must show one; None: callers need none. Raises ConfigError when the address cannot be bound.
    """
    limits = limits or Limits()
    stats = stats or RpcStats()
    listener = _listen(host, port)
    stop = trio.Event()

    async def until_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_cancelled)  # the only part that sees the cancellation
        with trio.CancelScope(shield=True), listener:
            async with open_loop() as loop:
                gate = Gate(limits, stats, name, tokens)
                server = _BoundedServer(_guarded(services, health, gate), limits, stats)
                await on_asyncio(server.listen, loop)(listener, tls)
                task_status.started(cast("int", listener.getsockname()[1]))
                await stop.wait()
                health.drain()
                await trio.sleep(NOTICE)
                with trio.move_on_after(grace):
                    await gate.drain()
                await server.finish(loop)


def _guarded(services: Sequence[Service], health: Health, gate: Gate) -> list[Service]:
    health_service = health.service(services)
    extended = ServerReflection.extend([*services, health_service])
    return [gate.guard(service, probe=service is health_service) for service in extended]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        hint = "; another node uses it?" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"the control port {host}:{port} cannot be bound: {error.strerror or error}{hint}") from None
    # accepted connections inherit these options. Without NODELAY a first call takes 40 ms more (delayed ACK); grpclib
    # sets it only on sockets that name their protocol, and accepted ones do not
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # a peer that vanished without a word does not hold its place for hours
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (_IDLE + 30))
    return listener


class _BoundedServer(Server):
    def __init__(self, services: Sequence[Service], limits: Limits, stats: RpcStats) -> None:
        windows = Configuration(http2_connection_window_size=_WINDOW, http2_stream_window_size=_WINDOW)
        super().__init__(services, config=windows)
        self._limits = limits
        self._stats = stats
        self._connections: set[_Connection] = set()

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """asyncio. As `start`, which leaves a handshake a minute."""
        self._server_closed_fut = self._loop.create_future()
        self._server = await self._loop.create_server(
            self._protocol_factory,
            sock=listener,
            backlog=self._limits.connections,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else _HANDSHAKE,
        )

    def _protocol_factory(self) -> H2Protocol:
        return _Connection(super()._protocol_factory(), self._connections, self._limits, self._stats)

    async def finish(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what still runs, let the answers out, and close every connection. Bounded by 2 × `CLOSING`."""
        self.close()
        with trio.move_on_after(CLOSING):
            for connection in tuple(self._connections):
                await on_asyncio(connection.calls_ended, loop)()
        for connection in tuple(self._connections):
            connection.close()
        with trio.move_on_after(CLOSING):
            for connection in tuple(self._connections):
                await connection.lost.wait()
        for connection in tuple(self._connections):
            connection.abort()
            await connection.lost.wait()


class _Connection(H2Protocol):
    """One client connection: counted, refused when there are too many, and closable."""

    def __init__(self, made: H2Protocol, connections: set[_Connection], limits: Limits, stats: RpcStats) -> None:
        super().__init__(_Calls(made.handler), made.config, made.h2_config)
        self._made = made
        self._connections = connections
        self._limits = limits
        self._stats = stats
        self._transport: asyncio.Transport | None = None
        self.lost = trio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= self._limits.connections:
            self._stats.refused_connections += 1
            self._made.handler.close()
            self._transport.abort()
            return
        self._connections.add(self)
        self._stats.connections += 1
        super().connection_made(transport)
        # HTTP/2 wants frames of unknown kinds ignored; grpclib raises
        self.processor.processors = defaultdict(lambda: _ignore, self.processor.processors)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception as error:
            self._stats.broken_connections += 1
            _log.info("gRPC: a connection is given up because of what its peer sent: %r", error)
            self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()
        if self not in self._connections:
            return  # it was refused
        self._connections.discard(self)
        self._stats.connections -= 1
        super().connection_lost(exc)

    async def calls_ended(self) -> None:
        """asyncio. Until all cancelled calls of this connection have sent their status."""
        handler = self._made.handler
        await handler.wait_closed()  # type: ignore[attr-defined]  # grpclib.server.Handler, typed as its abstract base

    def close(self) -> None:
        self.connection.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _ignore(_event: object) -> None:
    pass


class _Calls(AbstractHandler):
    """Passes calls on to grpclib, after putting the `grpc-timeout` header right."""

    def __init__(self, inner: AbstractHandler) -> None:
        self._inner = inner

    def accept(self, stream: H2Stream, headers: list[tuple[str, str]], release_stream: object) -> None:
        self._inner.accept(stream, [_timeout_put_right(header) for header in headers], release_stream)  # type: ignore[arg-type]

    def cancel(self, stream: H2Stream) -> None:
        self._inner.cancel(stream)

    def close(self) -> None:
        self._inner.close()


def _timeout_put_right(header: tuple[str, str]) -> tuple[str, str]:
    name, value = header
    if name != "grpc-timeout":
        return header
    with suppress(ValueError):  # an unreadable one counts as passed
        if decode_timeout(value) >= _SHORTEST:
            return header
    return name, "1m"
