"""The server's end of a TCP connection: look at a request's head first, and send many small frames in one go.

`peek_head` lets one port serve WebSocket and plain HTTP: what has been read is handed out again by `receive_some`.
While `corked`, `send_all` only gathers; `flush` sends. A system call and a task switch a frame would otherwise cost
more than the frame.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import trio

MAX_HEAD_BYTES = 64 * 1024
_LAST_WORDS_SECONDS = 0.5
_RESET_AT_ONCE = struct.pack("ii", 1, 0)


class ServedStream(trio.abc.Stream):
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read = b""
        self._unsent = bytearray()
        self._sending = trio.StrictFIFOLock()
        self.corked = False

    async def peek_head(self) -> bytes:
        """Everything up to the end of the first request's head; less if the client closed or sent too much."""
        while b"\r\n\r\n" not in self._read and len(self._read) < MAX_HEAD_BYTES:
            data = await self._stream.receive_some(MAX_HEAD_BYTES)
            if not data:
                break
            self._read += bytes(data)
        return self._read

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._read:
            await trio.lowlevel.checkpoint()
            size = len(self._read) if max_bytes is None else max_bytes
            data, self._read = self._read[:size], self._read[size:]
            return data
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._unsent += data
        if not self.corked:
            await self.flush()

    async def flush(self) -> None:
        # the WebSocket's own answers (pong, close) come from another task than the frames
        async with self._sending:
            data, self._unsent = self._unsent, bytearray()
            if data:
                await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        try:
            with trio.move_on_after(_LAST_WORDS_SECONDS), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if self._unsent:
                    await self.flush()
        finally:
            await self._stream.aclose()

    def reset(self) -> None:
        """End the connection with a TCP reset: whatever was not yet sent is lost."""
        self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        self._stream.socket.close()
