"""WebSockets by the `websockets` library's protocol (no I/O of its own) on a trio stream.

Why not trio-websocket, which does the same: it passes every message from a reader task through a channel to ours, and
parses in wsproto. Measured side by side (`tools/bench transport`, 2026-11, flood on loopback): 2.0 µs of CPU a frame of
175 bytes against 12.6, 5.2 against 17.9 for 5,000 bytes; decoding, book and event together cost 2–6 µs, so this is the
largest single share of a busy feed. The library is well kept, refuses malformed frames, and answers pings while we
read. trio-websocket stays selectable (LEVEL4_WEBSOCKET_CLIENT), should a server and this one not get along.

One read of the stream is parsed whole; `receive_nowait` hands out what it held without another pass of the scheduler.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from level4.feeds.pacing import retry_after
from level4.feeds.tls import DrainingTls
from level4.feeds.transport import PONG_SECONDS, Disconnected, Socket, TrioWebSockets, open_tcp

_READ_BYTES = 2**16
_REFUSAL_SECONDS = 1.0
"""For the rest of an answer that is more than a handshake: the body that says why it was refused."""
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)


class _Plain:
    """A TCP stream with the face of `DrainingTls`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_some(self) -> bytes:
        return bytes(await self._stream.receive_some(_READ_BYTES))

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


class _Socket:
    """See `level4.feeds.transport.Socket`. Only one task may receive."""

    def __init__(self, stream: _Plain | DrainingTls, protocol: ClientProtocol, close_seconds: float) -> None:
        self._stream = stream
        self._protocol = protocol
        self._close_seconds = close_seconds
        self._messages: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._parts_are_text = False
        self._sending = trio.Lock()
        self._pongs: dict[bytes, trio.Event] = {}
        self._pings = 0
        self._failure: str | None = None

    async def handshake(self) -> None:
        """Raises Disconnected."""
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        patience = float("inf")
        while self._protocol.state is State.CONNECTING:
            going = False
            with trio.move_on_after(patience):
                going = await self._read()
            if not going:
                break
            patience = _REFUSAL_SECONDS
        if self._protocol.state is State.CONNECTING:
            self._protocol.receive_eof()  # a refusal whose body has no end of its own
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            status, body = error.response.status_code, bytes(error.response.body or b"")[:200]
            text = body.decode("utf-8", "replace")
            after = retry_after(error.response.headers.get("Retry-After"))
            raise Disconnected(status, f"handshake rejected with HTTP status {status}: {text!r}", after)
        if error is not None or self._protocol.state is not State.OPEN:
            raise Disconnected(None, f"handshake failed: {error!r}")

    async def send(self, text: str) -> None:
        if self._protocol.state is not State.OPEN:
            await trio.lowlevel.checkpoint()
            raise self._ended()
        self._protocol.send_text(text.encode())
        await self._flush()

    async def ping(self) -> None:
        if self._protocol.state is not State.OPEN:
            await trio.lowlevel.checkpoint()
            raise self._ended()
        self._pings += 1
        data = str(self._pings).encode()
        pong = self._pongs[data] = trio.Event()
        self._protocol.send_ping(data)
        await self._flush()
        try:
            with trio.fail_after(PONG_SECONDS):
                await pong.wait()
        except trio.TooSlowError:
            raise Disconnected(None, f"no pong within {PONG_SECONDS:g} s") from None
        finally:
            self._pongs.pop(data, None)

    async def receive(self) -> str | bytes:
        if self._messages:
            await trio.lowlevel.checkpoint()
        while not self._messages:
            if not await self._read() and not self._messages:
                raise self._ended()
        return self._messages.popleft()

    def receive_nowait(self) -> str | bytes | None:
        return self._messages.popleft() if self._messages else None

    async def aclose(self) -> None:
        """Say goodbye, give the exchange a short time to answer, let go."""
        try:
            with trio.move_on_after(self._close_seconds):
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(1000)
                    await self._flush()
                while self._protocol.state is not State.CLOSED and await self._read():
                    self._messages.clear()
        except (Disconnected, trio.BusyResourceError):
            pass  # gone already, or somebody still reads: the goodbye was said
        finally:
            with trio.CancelScope(shield=True):
                await self._stream.aclose()

    async def _read(self) -> bool:
        """Take what the stream has; False at its end."""
        try:
            data = await self._stream.receive_some()
        except _LOST as error:
            self._failure = f"connection lost: {error.__cause__ or error!r}"
            data = b""
        if data:
            self._protocol.receive_data(data)
        elif self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        await self._flush()
        return bool(data) and self._protocol.state is not State.CLOSED

    def _take(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT and frame.fin:
            self._messages.append(str(frame.data, "utf-8"))
        elif opcode is Opcode.BINARY and frame.fin:
            self._messages.append(bytes(frame.data))
        elif opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts = [bytes(frame.data)]
            self._parts_are_text = opcode is Opcode.TEXT
        elif opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._messages.append(whole.decode() if self._parts_are_text else whole)
        elif opcode is Opcode.PONG and (pong := self._pongs.get(bytes(frame.data))) is not None:
            pong.set()

    async def _flush(self) -> None:
        async with self._sending:
            # An empty piece asks for the end of our half: the peer has what it needs, and aclose follows.
            data = b"".join(self._protocol.data_to_send())
            if not data:
                return
            try:
                await self._stream.send_all(data)
            except _LOST as error:
                self._failure = self._failure or f"connection lost: {error.__cause__ or error!r}"
            except trio.BusyResourceError:
                raise RuntimeError("two tasks send on one stream") from None

    def _ended(self) -> Disconnected:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        if close is not None:
            return Disconnected(close.code, close.reason or f"closed: {close}")
        return Disconnected(None, self._failure or "the connection ended without a word")


class WebSockets:
    """WebSockets over TCP or TLS; implements `level4.feeds.transport.Transport`.

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
        try:
            uri = parse_uri(url)
        except InvalidURI:
            raise Disconnected(None, f"expected an address ws://… or wss://…, got {url!r}") from None
        place = urlsplit(url).netloc.rpartition("@")[2]
        protocol = ClientProtocol(uri, max_size=message_bytes)
        stream: _Plain | DrainingTls | None = None
        patience = min(patience, self._connect_seconds)
        deadline = trio.current_time() + patience
        try:
            tcp = await open_tcp(uri.host, uri.port, deadline)
            with trio.move_on_at(deadline):
                stream = await self._secured(tcp, uri.host) if uri.secure else _Plain(tcp)
            if stream is None:
                raise Disconnected(None, f"no TLS with {place} within {patience:g} s")
            socket = _Socket(stream, protocol, self._close_seconds)
            with trio.move_on_at(deadline) as scope:
                await socket.handshake()
            if scope.cancelled_caught:
                raise Disconnected(None, f"no WebSocket handshake within {patience:g} s")
            try:
                yield socket
            finally:
                await socket.aclose()
        finally:
            if stream is not None:
                with trio.CancelScope(shield=True):
                    await stream.aclose()

    async def _secured(self, stream: trio.SocketStream, host: str) -> DrainingTls:
        try:
            secured = DrainingTls(stream, self._ssl_context, host)
            await secured.do_handshake()
        except _LOST as error:
            await trio.aclose_forcefully(stream)
            raise Disconnected(None, f"TLS with {host} failed: {error.__cause__ or error}") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


TRANSPORTS: dict[str, type[WebSockets] | type[TrioWebSockets]] = {
    "websockets": WebSockets,
    "trio-websocket": TrioWebSockets,
}
"""By the name of the setting LEVEL4_WEBSOCKET_CLIENT."""
