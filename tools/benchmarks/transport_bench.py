"""`tools/bench transport`: µs of CPU for each frame that comes over a WebSocket, by transport, beside each other.

A raw server on loopback, in a process of its own, floods prepared frames (server frames are not masked); the client
counts them. Once the transport alone, once with everything behind it: decode, book, event.
"""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import socket
import statistics
import struct
import time
from typing import Any

import click
import results
import trio
from rich.console import Console
from rich.table import Table

from level4.feeds import Transport, TrioWebSockets, WebSockets

TRANSPORTS: dict[str, type[WebSockets] | type[TrioWebSockets]] = {
    "websockets (sans-I/O)": WebSockets,
    "trio-websocket": TrioWebSockets,
}
SIZES = (175, 5000)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _serve(listener: socket.socket, size: int, count: int) -> None:
    """Answer one handshake after the other and send `count` text frames of `size` bytes to each."""
    payload = b"x" * size
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + struct.pack("!H", size)
    block = (head + payload) * 100
    while True:
        peer, _ = listener.accept()
        with peer:
            request = b""
            while b"\r\n\r\n" not in request and (data := peer.recv(4096)):
                request += data
            if not request:
                return
            key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            accept = base64.b64encode(hashlib.sha1(key.split(b":")[1].strip() + _GUID).digest())
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            for _ in range(count // 100):
                peer.sendall(block)
            peer.settimeout(1)
            try:
                while peer.recv(4096):
                    pass
            except OSError:
                continue


async def _drain(transport: Transport, port: int, count: int) -> float:
    async with transport.connect(f"ws://127.0.0.1:{port}/", 2**20) as peer:
        start = time.process_time()
        got = 0
        while got < count:
            frame: str | bytes | None = await peer.receive()
            while frame is not None:
                got += 1
                frame = peer.receive_nowait() if got < count else None
        return (time.process_time() - start) / count * 1e6


def measure(size: int, rounds: int, count: int) -> dict[str, list[float]]:
    """µs a frame in each round, by transport, interleaved."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, size, count), daemon=True)
    server.start()
    port = listener.getsockname()[1]
    figures: dict[str, list[float]] = {name: [] for name in TRANSPORTS}
    try:
        for _ in range(rounds):
            for name, kind in TRANSPORTS.items():
                figures[name].append(trio.run(_drain, kind(), port, count))
    finally:
        server.terminate()
        server.join()
        listener.close()
    return figures


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--frames", default=20_000, show_default=True)
@click.option("--store", is_flag=True, help="Store the figures under tools/bench_results.")
def transport(rounds: int, frames: int, store: bool) -> None:
    """µs of CPU for each frame received, by WebSocket client."""
    table = Table(title="WebSocket clients, flood on loopback")
    for column in ("client", "frame bytes", "µs a frame", "× trio-websocket"):
        table.add_column(column, justify="left" if column == "client" else "right")
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        figures = measure(size, rounds, frames)
        base = figures["trio-websocket"]
        for name, values in figures.items():
            ratio = statistics.median(one / other for one, other in zip(values, base, strict=True))
            median = statistics.median(values)
            rows.append({"client": name, "bytes": size, "us": round(median, 2), "ratio": round(ratio, 2)})
            table.add_row(name, str(size), f"{median:.2f}", f"{ratio:.2f}")
    Console(width=100).print(table)
    if store:
        path = results.store("transport", ["websockets", "trio-websocket", "trio"], {"rounds": rounds, "rows": rows})
        click.echo(f"stored in tools/bench_results/{path.name}")
