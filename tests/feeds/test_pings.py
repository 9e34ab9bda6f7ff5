"""Ping frames of our own: answered, and a peer that does not answer."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from level4.feeds import Disconnected, TrioWebSockets
from level4.feeds.transport import _TrioWebSocket


async def test_a_pong_comes_back_over_a_real_socket_until_it_is_closed() -> None:
    async def accept(request: WebSocketRequest) -> None:
        socket = await request.accept()
        with pytest.raises(ConnectionClosed):
            await socket.get_message()

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(serve_websocket, accept, "127.0.0.1", 0, None)
        async with TrioWebSockets().connect(f"ws://127.0.0.1:{serving.port}", 2**20) as socket:
            with trio.fail_after(5):
                await socket.ping()
                await socket.ping()
            await socket.aclose()
            with pytest.raises(Disconnected):
                await socket.ping()
        nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_answer_is_given_up(autojump_clock: MockClock) -> None:
    class Mute:
        async def ping(self) -> None:
            await trio.sleep_forever()

    connection: Any = Mute()
    with pytest.raises(Disconnected, match="no pong within 15 s"):
        await _TrioWebSocket(cast("WebSocketConnection", connection), 1.0).ping()
