"""A small HTTP server on trio: fixed paths, GET and HEAD, for scrapers and probes.

Whoever can reach the port may connect, so everything is bounded: connections, the size of a request's head and body,
the time a request may take to come and an answer to go. A stranger's bytes end that connection and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

import h11
import structlog
import trio

from level4.model import ConfigError

log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 64
HEAD_BYTES: Final = 16 * 1024
BODY_BYTES: Final = 64 * 1024
REQUEST_SECONDS: Final = 15.0
"""From the first wait for a request until it is whole; also how long an idle connection is kept."""
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Route = Callable[[str], Awaitable[Answer]]
"""Makes the answer; its argument is the request's `Accept` header."""


async def serve_http(
    routes: Mapping[str, Route],
    host: str,
    port: int,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the bound port. Raises ConfigError when the address cannot be bound."""
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise ConfigError(
            f"the HTTP port {host}:{port} cannot be bound: {error.strerror or error}; LEVEL4_HTTP_HOST and"
            f" LEVEL4_HTTP_PORT choose another"
        ) from None
    server = _Server(routes)
    task_status.started(int(listeners[0].socket.getsockname()[1]))
    await trio.serve_listeners(server.connection, listeners)


class _Server:
    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._connections = 0

    async def connection(self, stream: trio.SocketStream) -> None:
        if self._connections >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            await self._talk(stream, h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES))
        except (trio.BrokenResourceError, h11.LocalProtocolError):
            pass  # the peer is gone
        except Exception:
            log.exception("bug while an HTTP request was answered; that connection is given up")
        finally:
            self._connections -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await stream.aclose()

    async def _talk(self, stream: trio.SocketStream, http: h11.Connection) -> None:
        while True:
            request = None
            with trio.move_on_after(REQUEST_SECONDS):
                try:
                    request = await _request(stream, http)
                except h11.RemoteProtocolError as error:
                    if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                        answer = _text(f"{error}", error.error_status_hint)
                        await _send(stream, http, answer, last=True)
            if request is None:
                return
            answer = await self._answer(request)
            with trio.move_on_after(ANSWER_SECONDS) as sending:
                await _send(stream, http, answer, head=request.method == b"HEAD")
            if sending.cancelled_caught or http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        route = self._routes.get(path)
        if route is None:
            return _text(f"there is {', '.join(self._routes)}", 404)
        if request.method not in (b"GET", b"HEAD"):
            return _text("GET or HEAD is expected", 405)
        accept = next((value for name, value in request.headers if name == b"accept"), b"")
        return await route(accept.decode("latin-1"))


def _text(text: str, status: int) -> Answer:
    return Answer(f"{text}\n".encode(), status=status)


async def _request(stream: trio.SocketStream, http: h11.Connection) -> h11.Request | None:
    """The next request, with its body read and thrown away; None at the connection's end."""
    request: h11.Request | None = None
    body = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                await stream.send_all(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(await stream.receive_some(HEAD_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += len(event.data)
            if body > BODY_BYTES:
                raise h11.RemoteProtocolError("the request's body is too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


async def _send(
    stream: trio.SocketStream, http: h11.Connection, answer: Answer, *, head: bool = False, last: bool = False
) -> None:
    headers = [
        ("content-type", answer.content_type),
        ("content-length", str(len(answer.body))),
        ("cache-control", "no-store"),
    ]
    if last:
        headers.append(("connection", "close"))
    reason = HTTPStatus(answer.status).phrase.encode()
    send = partial(_bytes, http)
    data = send(h11.Response(status_code=answer.status, headers=headers, reason=reason))
    if not head:
        data += send(h11.Data(data=answer.body))
    await stream.send_all(data + send(h11.EndOfMessage()))


def _bytes(http: h11.Connection, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
    return http.send(event) or b""
