"""A gate between the feeds and the simulator: TCP on loopback, which a test can freeze, cut, slow down or encrypt."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

_LOST = (trio.BrokenResourceError, trio.ClosedResourceError)


class Gate:
    def __init__(self, port: int) -> None:
        """`port`: of the simulator."""
        self.accepted = 0
        self.dropped: Callable[[bytes], bool] = lambda head: False
        """Whether a new connection, told by its first bytes, is closed at once without an answer."""
        self.delay: Callable[[bytes], float] = lambda said: 0.0
        """Seconds before what a client said is passed on."""
        self.deaf = False
        """Whether what clients say after their first bytes is thrown away, for connections made from now on."""
        self.tls: ssl.SSLContext | None = None
        """What the next connections are encrypted with."""
        self.silent = False
        """Whether connections made from now on are accepted and for ever left without an answer."""
        self._port = port
        self._own_port = 0
        self._listening = trio.CancelScope()
        self._nursery: trio.Nursery
        self._flow = trio.Event()
        self._flow.set()
        self._open: set[trio.abc.Stream] = set()

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        """Listen until cancelled; reports the port."""
        async with trio.open_nursery() as self._nursery:
            await self.open()
            task_status.started(self._own_port)
            await trio.sleep_forever()

    async def open(self) -> None:
        """Listen, always on the same port."""
        listeners = await trio.open_tcp_listeners(self._own_port, host="127.0.0.1")
        self._own_port = listeners[0].socket.getsockname()[1]
        self._listening = trio.CancelScope()
        await self._nursery.start(self._listen, listeners)

    async def _listen(
        self, listeners: list[trio.SocketListener], task_status: trio.TaskStatus[list[trio.SocketListener]]
    ) -> None:
        with self._listening:
            serve = partial(trio.serve_listeners, handler_nursery=self._nursery, task_status=task_status)
            await serve(self._connection, listeners)

    def close(self) -> None:
        """Connections that are made from now on are refused."""
        self._listening.cancel()

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told: as when a router forgot the connection."""
        self._flow = trio.Event()

    def thaw(self) -> None:
        self._flow.set()

    async def cut(self) -> int:
        """End all connections of this moment without a goodbye of WebSocket. Returns how many."""
        open_now, self._open = self._open, set()
        for stream in open_now:
            await trio.aclose_forcefully(stream)
        return len(open_now)

    async def _connection(self, tcp: trio.SocketStream) -> None:
        self.accepted += 1
        client: trio.abc.Stream = tcp
        deaf = self.deaf
        if self.tls is not None:
            client = trio.SSLStream(tcp, self.tls, server_side=True, https_compatible=True)
        server: trio.SocketStream | None = None
        self._open.add(client)
        try:
            with suppress(*_LOST):
                head = bytes(await client.receive_some(65536))
                if self.silent:
                    await trio.sleep_forever()
                if head and not self.dropped(head):
                    await trio.sleep(self.delay(head))
                    server = await trio.open_tcp_stream("127.0.0.1", self._port)
                    await server.send_all(head)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._hear, server, client, nursery.cancel_scope)
                        nursery.start_soon(self._speak, client, server, deaf, nursery.cancel_scope)
        finally:
            self._open.discard(client)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(client)
                if server is not None:
                    await trio.aclose_forcefully(server)

    async def _hear(self, server: trio.abc.Stream, client: trio.abc.Stream, scope: trio.CancelScope) -> None:
        with suppress(*_LOST):
            while data := await server.receive_some(65536):
                await self._flow.wait()
                await client.send_all(data)
        scope.cancel()

    async def _speak(
        self, client: trio.abc.Stream, server: trio.abc.Stream, deaf: bool, scope: trio.CancelScope
    ) -> None:
        with suppress(*_LOST):
            while data := bytes(await client.receive_some(65536)):
                await self._flow.wait()
                await trio.sleep(self.delay(data))
                if not deaf:
                    await server.send_all(data)
        scope.cancel()
