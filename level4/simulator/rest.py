"""Plain HTTP/1.1 on the simulator's port: REST of the exchanges, and the control port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import h11
import msgspec
import trio

from level4.simulator.address import Address

MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    body: bytes = b""

    @property
    def address(self) -> Address:
        return Address.of_target(self.target)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `body` is JSON text."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, content: object, status: int = 200, **headers: str) -> Response:
        """`headers`: names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, msgspec.json.encode(content), named)


Answer = Callable[[Request], Awaitable[Response]]


async def serve_http(stream: trio.abc.Stream, answer: Answer) -> None:
    """Answer requests one after another until the client closes or breaks the protocol."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    try:
        while True:
            request = await _read(connection, stream)
            if request is None:
                return
            await _write(connection, stream, await answer(request))
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await _write(connection, stream, Response.json({"error": str(error)}, error.error_status_hint))


async def _read(connection: h11.Connection, stream: trio.abc.Stream) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await _send(connection, stream, h11.InformationalResponse(status_code=100, headers=[]))
            connection.receive_data(bytes(await stream.receive_some(64 * 1024)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(head.method.decode("ascii"), head.target.decode("ascii"), body)
        else:
            return None


async def _write(connection: h11.Connection, stream: trio.abc.Stream, response: Response) -> None:
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(response.body))),
        *((name.lower(), value) for name, value in response.headers.items()),
    ]
    await _send(connection, stream, h11.Response(status_code=response.status, headers=headers))
    await _send(connection, stream, h11.Data(data=response.body))
    await _send(connection, stream, h11.EndOfMessage())


async def _send(connection: h11.Connection, stream: trio.abc.Stream, event: h11.Event) -> None:
    data = connection.send(event)
    if data:
        await stream.send_all(data)
