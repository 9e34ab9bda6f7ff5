"""The seam to the network: what a connection needs of a WebSocket, and trio-websocket behind it.

A `Socket` gives whole messages. `receive_nowait` hands out what has already arrived, so that a burst is handled
without one pass of the scheduler for each frame. Every way in which a socket can fail to open or can end is one
exception, `Disconnected`; its `reason` is for logs and status events.

trio-websocket answers pings by itself, but it neither bounds a handshake, nor notices that the server has hung up in
the midst of one, nor explains why TLS failed; so the TCP and TLS handshakes are made here, with the certificate checked
and SNI sent, all under one deadline, and the stream is watched until the WebSocket is open.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from level4.feeds.pacing import retry_after

_QUEUED_MESSAGES = 32
"""Messages that may wait between the reader and us; more wait in the kernel, which holds the exchange back."""
_RECEIVE_BYTES = 2**16
PONG_SECONDS = 15.0


class Disconnected(Exception):  # noqa: N818 - an expected end, not a fault
    """The socket is closed or could not be opened. `code`: WebSocket close code or HTTP status, if there is one.
    `retry_after`: seconds the exchange asks us to wait. `reached`: whether anybody was there."""

    def __init__(
        self, code: int | None, reason: str, retry_after: float | None = None, *, reached: bool = True
    ) -> None:
        super().__init__(reason if code is None else f"{reason} ({code})")
        self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.reached = reached

    @property
    def refused(self) -> bool:
        """Whether the address answered, with an HTTP status instead of a socket."""
        return self.code is not None and self.code < 1000


class Socket(Protocol):
    async def send(self, text: str) -> None:
        """Send one text message. Raises Disconnected."""

    async def ping(self) -> None:
        """Send a ping frame and wait for its pong. Raises Disconnected, also when none comes in time."""

    async def receive(self) -> str | bytes:
        """Wait for the next message; always a checkpoint. Raises Disconnected."""

    def receive_nowait(self) -> str | bytes | None:
        """A message that has already arrived, or None. Raises nothing: a closed socket shows at `receive`."""

    async def aclose(self) -> None:
        """Close; the exchange gets a short time to answer. Closing twice is no error."""


class Transport(Protocol):
    def connect(
        self, url: str, message_bytes: int, patience: float = float("inf")
    ) -> AbstractAsyncContextManager[Socket]:
        """Open a WebSocket that accepts messages up to `message_bytes`, within `patience` seconds (and the transport's
        own limit); leaving the block closes it.

        Entering raises Disconnected when the socket cannot be opened.
        """


async def open_tcp(host: str, port: int, deadline: float) -> trio.SocketStream:
    """Raises Disconnected, whose `reached` is False, when nobody is there."""
    try:
        with trio.fail_at(deadline):
            return await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise Disconnected(None, f"cannot connect to {host}:{port}: {error}", reached=False) from None
    except trio.TooSlowError:
        raise Disconnected(None, f"cannot connect to {host}:{port}: no answer in time", reached=False) from None


class _Watched(trio.abc.Stream):
    """A stream that tells when it ends, on either side."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.ended = False
        self.on_end: Callable[[], None] | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        if not data:
            self._end()
        return data

    async def aclose(self) -> None:
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        self.ended = True
        if self.on_end is not None:
            self.on_end()


class _TrioWebSocket:
    def __init__(self, connection: WebSocketConnection, close_seconds: float) -> None:
        self._connection = connection
        self._close_seconds = close_seconds
        # The library has no public way to take what is queued; without its queue only the draining is lost.
        self._queue: trio.MemoryReceiveChannel[str | bytes] | None = getattr(connection, "_recv_channel", None)

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as error:
            raise _ended(error) from None

    async def ping(self) -> None:
        try:
            with trio.fail_after(PONG_SECONDS):
                await self._connection.ping()
        except ConnectionClosed as error:
            raise _ended(error) from None
        except trio.TooSlowError:
            raise Disconnected(None, f"no pong within {PONG_SECONDS:g} s") from None

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.get_message()
        except ConnectionClosed as error:
            raise _ended(error) from None

    def receive_nowait(self) -> str | bytes | None:
        if self._queue is None:
            return None
        try:
            return self._queue.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            return None

    async def aclose(self) -> None:
        with trio.move_on_after(self._close_seconds):
            await self._connection.aclose()


def _ended(error: ConnectionClosed) -> Disconnected:
    reason = error.reason
    if reason is None:
        return Disconnected(None, "closed by us")
    return Disconnected(reason.code, reason.reason or f"closed: {reason.name}")


def _refused(error: BaseException) -> Disconnected:
    """Why the WebSocket handshake failed, from an exception of the library or a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConnectionRejected):
        body = (error.body or b"")[:200].decode("utf-8", "replace")
        after = next((value.decode("latin-1") for name, value in error.headers if name.lower() == b"retry-after"), None)
        reason = f"handshake rejected with HTTP status {error.status_code}: {body!r}"
        return Disconnected(error.status_code, reason, retry_after(after))
    return Disconnected(None, f"handshake failed: {error!r}")


class TrioWebSockets:
    """WebSockets over TCP or TLS.

    `ssl_context` must check certificates; the default trusts the authorities that REST trusts (`SSL_CERT_FILE` names
    others).
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        connect_seconds: float = 10.0,
        close_seconds: float = 2.0,
    ) -> None:
        self._ssl_context = ssl_context if ssl_context is not None else httpx.create_ssl_context()
        self._connect_seconds = connect_seconds
        self._close_seconds = close_seconds

    @asynccontextmanager
    async def connect(self, url: str, message_bytes: int, patience: float = float("inf")) -> AsyncIterator[Socket]:
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in ("ws", "wss") or host is None:
            raise Disconnected(None, f"expected an address ws://… or wss://…, got {url!r}")
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        patience = min(patience, self._connect_seconds)
        deadline = trio.current_time() + patience
        secure = parts.scheme == "wss"
        tcp = await open_tcp(host, parts.port or (443 if secure else 80), deadline)
        try:
            with trio.fail_at(deadline):
                stream = await self._secured(tcp, host) if secure else tcp
        except trio.TooSlowError:
            raise Disconnected(None, f"no TLS with {parts.netloc} within {patience:g} s") from None
        socket: _TrioWebSocket | None = None
        watched = _Watched(stream)
        try:
            async with trio.open_nursery() as nursery:
                with trio.move_on_at(deadline) as opening:
                    watched.on_end = opening.cancel
                    socket = _TrioWebSocket(
                        await wrap_client_stream(
                            nursery,
                            watched,  # type: ignore[arg-type]  # more than its annotation says is taken: any Stream
                            parts.netloc.rpartition("@")[2],
                            resource,
                            message_queue_size=_QUEUED_MESSAGES,
                            max_message_size=message_bytes,
                            receive_buffer_size=_RECEIVE_BYTES,
                        ),
                        self._close_seconds,
                    )
                watched.on_end = None
                if socket is None:
                    nursery.cancel_scope.cancel()
                    if watched.ended:
                        raise Disconnected(None, "the connection ended within the WebSocket handshake")
                    raise Disconnected(None, f"no WebSocket handshake within {patience:g} s")
                try:
                    yield socket
                finally:
                    await socket.aclose()
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            expected, others = group.split((HandshakeError, Disconnected))
            if expected is None or others is not None:
                raise
            first = next((e for e in expected.exceptions if isinstance(e, Disconnected)), None)
            raise (first or _refused(expected)) from None
        finally:
            # Whatever happened above, the descriptor is given back: closing is immediate when already closed.
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _secured(self, stream: trio.SocketStream, host: str) -> trio.SSLStream[trio.SocketStream]:
        secured = trio.SSLStream(stream, self._ssl_context, server_hostname=host, https_compatible=True)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise Disconnected(None, f"TLS with {host} failed: {error.__cause__ or error}") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured
