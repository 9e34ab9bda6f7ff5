"""The WebSocket transport over real sockets on loopback: sizes, ends, handshakes, TLS, and what is left behind."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket, wrap_server_stream

from level4.feeds import Disconnected, TrioWebSockets, WebSockets

MIB = 2**20
Talk = Callable[[WebSocketConnection], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def accept(request: WebSocketRequest) -> None:
        with suppress(ConnectionClosed):
            await talk(await request.accept())

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(serve_websocket, accept, "127.0.0.1", 0, ssl_context)
        yield serving.port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tcp_server(talk: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, talk, 0)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_until_closed(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


Sockets = type[TrioWebSockets] | type[WebSockets]


@pytest.fixture(params=[WebSockets, TrioWebSockets])
def sockets(request: pytest.FixtureRequest) -> Sockets:
    """Every transport behind the seam keeps the same promises."""
    kind: Sockets = request.param
    return kind


async def test_messages_both_ways_and_what_waits_is_drained(sockets: Sockets) -> None:
    async def talk(socket: WebSocketConnection) -> None:
        assert await socket.get_message() == "hello"
        for number in range(20):
            await socket.send_message(str(number))
        await socket.send_message(b"\x00\x01")
        await socket.get_message()

    async with server(talk) as port, sockets().connect(f"ws://127.0.0.1:{port}/x?y=1", MIB) as socket:
        await socket.send("hello")
        got: list[str | bytes] = [await socket.receive()]
        assert socket.receive_nowait() in (None, "1")
        while len(got) < 20:
            got.append(await socket.receive())
        assert got[0] == "0"
        assert got[-1] == b"\x00\x01" or await socket.receive() == b"\x00\x01"
        await socket.send("bye")
        await socket.aclose()
        await socket.aclose()
        with pytest.raises(Disconnected):
            await socket.receive()


async def test_a_big_message_passes_and_a_bigger_one_ends_the_socket(sockets: Sockets) -> None:
    async def talk(socket: WebSocketConnection) -> None:
        await socket.send_message("x" * (3 * MIB))
        await socket.send_message("x" * (5 * MIB))
        await socket.get_message()

    async with server(talk) as port, sockets().connect(f"ws://127.0.0.1:{port}", 4 * MIB) as socket:
        assert len(await socket.receive()) == 3 * MIB
        with pytest.raises(Disconnected) as ended:
            await socket.receive()
        assert ended.value.code == 1009


async def test_the_exchange_closes_with_a_reason(sockets: Sockets) -> None:
    async def talk(socket: WebSocketConnection) -> None:
        await socket.send_message("last words")
        await socket.aclose(1012, "restart")

    async with server(talk) as port, sockets().connect(f"ws://127.0.0.1:{port}", MIB) as socket:
        assert await socket.receive() == "last words"
        with pytest.raises(Disconnected, match="restart") as ended:
            await socket.receive()
        assert ended.value.code == 1012
        with pytest.raises(Disconnected):
            await socket.send("too late")


async def test_what_the_caller_raises_comes_out_as_it_is(sockets: Sockets) -> None:
    async def talk(socket: WebSocketConnection) -> None:
        await socket.get_message()

    async with server(talk) as port:
        with pytest.raises(Disconnected, match="mine"):
            async with sockets().connect(f"ws://127.0.0.1:{port}", MIB):
                raise Disconnected(None, "mine")


async def test_nobody_listens(sockets: Sockets) -> None:
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Disconnected, match="cannot connect") as away:
        async with sockets().connect(f"ws://127.0.0.1:{port}", MIB):
            pass
    assert not away.value.reached


async def test_nobody_answers(sockets: Sockets) -> None:
    """As behind a firewall that drops everything: here because nobody accepts, and the queue is full."""
    with trio.socket.socket() as full:
        await full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        async with await trio.open_tcp_stream("127.0.0.1", port):
            for _ in range(3):
                with pytest.raises(Disconnected) as away:
                    async with sockets().connect(f"ws://127.0.0.1:{port}", MIB, patience=0.1):
                        pass
            assert "no answer in time" in away.value.reason
            assert not away.value.reached


@pytest.mark.parametrize("address", ["http://127.0.0.1/", "ws://", "nonsense"])
async def test_no_address_of_a_websocket(sockets: Sockets, address: str) -> None:
    with pytest.raises(Disconnected, match="expected an address"):
        async with sockets().connect(address, MIB):
            pass


async def test_a_rejected_handshake_says_why(sockets: Sockets) -> None:
    async def reject(request: WebSocketRequest) -> None:
        await request.reject(429, body=b"slow down")

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(serve_websocket, reject, "127.0.0.1", 0, None)
        with pytest.raises(Disconnected, match="slow down") as refused:
            async with sockets().connect(f"ws://127.0.0.1:{serving.port}", MIB):
                pass
        assert refused.value.code == 429
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"])
async def test_something_else_answers(sockets: Sockets, answer: bytes) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)

    async with tcp_server(talk) as port:
        with pytest.raises(Disconnected) as ended, trio.fail_after(5):
            async with sockets(connect_seconds=60.0).connect(f"ws://127.0.0.1:{port}", MIB):
                pass
    assert "within 60 s" not in ended.value.reason, "it is not waited for somebody who has hung up"


async def test_a_silent_server_is_given_up(sockets: Sockets) -> None:
    async with tcp_server(read_until_closed) as port:
        with pytest.raises(Disconnected, match=r"no WebSocket handshake within 0\.2 s"):
            async with sockets(connect_seconds=0.2).connect(f"ws://127.0.0.1:{port}", MIB):
                pass
        with pytest.raises(Disconnected, match=r"no TLS .* within 0\.2 s"):
            async with sockets(connect_seconds=0.2).connect(f"wss://127.0.0.1:{port}", MIB):
                pass
        with pytest.raises(Disconnected, match=r"no WebSocket handshake within 0\.1 s") as ended:
            async with sockets().connect(f"ws://127.0.0.1:{port}", MIB, patience=0.1):
                pass
    assert ended.value.reached


async def test_cancellation_is_prompt_and_leaves_no_socket(sockets: Sockets) -> None:
    gone = trio.Event()

    async def talk(socket: WebSocketConnection) -> None:
        # An exchange that never answers a closing handshake: it does not even read.
        try:
            await trio.sleep_forever()
        finally:
            gone.set()

    before = descriptors()
    async with server(talk) as port:
        with trio.CancelScope() as scope:
            async with sockets().connect(f"ws://127.0.0.1:{port}", MIB) as socket:
                scope.deadline = trio.current_time() + 0.1
                await socket.receive()
        assert trio.current_time() - scope.deadline < 1.5, "the goodbye is not waited for"
    assert gone.is_set()
    assert descriptors() == before


async def test_closing_waits_only_a_little_for_the_other_side(sockets: Sockets) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            await request.accept()
            nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async with tcp_server(talk) as port:
        async with sockets(close_seconds=0.1).connect(f"ws://127.0.0.1:{port}", MIB):
            began = trio.current_time()
        assert 0.05 < trio.current_time() - began < 1.5


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "RANDFILE": str(folder / "rnd")})
    return cert, key


async def test_tls_with_name_and_trust(sockets: Sockets, certificate: tuple[Path, Path]) -> None:
    names: list[str | None] = []

    async def talk(socket: WebSocketConnection) -> None:
        await socket.send_message("secret")
        await socket.get_message()

    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*certificate)
    serving.sni_callback = lambda _socket, name, _context: names.append(name)
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with server(talk, serving) as port:
        async with sockets(trusting).connect(f"wss://localhost:{port}/v2", MIB) as socket:
            assert await socket.receive() == "secret"
        assert names == ["localhost"]
        with pytest.raises(Disconnected, match="certificate verify failed"):
            async with sockets().connect(f"wss://localhost:{port}/v2", MIB):
                pass
        with pytest.raises(Disconnected, match="IP address mismatch"):
            async with sockets(trusting).connect(f"wss://127.0.0.1:{port}/v2", MIB):
                pass
