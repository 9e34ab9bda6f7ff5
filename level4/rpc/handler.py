"""`rpc`: the one decorator that makes a gRPC handler of a trio method.

    class Control(ControlBase):
        @rpc
        async def StopMarket(self, request: StopMarketRequest) -> StopMarketReply: ...

        @rpc
        async def WatchBook(self, request: WatchBookRequest) -> AsyncIterator[WatchBookReply]:
            yield ...

The whole handler runs as one trio task: the caller's deadline, its cancellation and its disappearance are a trio
cancellation inside the method; async generators are closed in every case. An expected failure (`Level4Error`) becomes
its status; anything else is a bug: logged with traceback and request, answered with INTERNAL, and the node lives.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar, cast, overload

import trio
from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from h2.exceptions import H2Error

from level4.model import Level4Error
from level4.rpc.bridge import on_asyncio, on_trio
from level4.rpc.errors import code_of

_log = logging.getLogger(__name__)

S = TypeVar("S")
Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)
Handler = Callable[[S, "Stream[Req, Rep]"], Coroutine[Any, Any, None]]

REQUEST_SECONDS = 30.0
"""A caller that opens a call and sends no request holds its place for so long."""
_MESSAGE_CHARACTERS = 2000
"""A status message travels as one header."""
_ABOUT_CHARACTERS = 300


@overload
def rpc(method: Callable[[S, Req], Coroutine[Any, Any, Rep]]) -> Handler[S, Req, Rep]: ...
@overload
def rpc(method: Callable[[S, Req], AsyncIterator[Rep]]) -> Handler[S, Req, Rep]: ...
def rpc(method: Callable[[S, Req], Any]) -> Handler[S, Req, Rep]:
    """A unary method returns its reply; an async generator yields the replies of a server stream."""
    name = method.__name__
    streaming = inspect.isasyncgenfunction(method)

    async def respond(self: S, stream: Stream[Req, Rep], loop: asyncio.AbstractEventLoop) -> None:
        with trio.move_on_after(REQUEST_SECONDS) as waiting:
            request = cast("Req", await on_asyncio(stream.recv_message, loop)())  # the gate refuses a call without one
        if waiting.cancelled_caught:
            raise GRPCError(Status.DEADLINE_EXCEEDED, f"{name}: no request within {REQUEST_SECONDS} seconds")
        try:
            if streaming:
                async with aclosing(cast("AsyncGenerator[Rep, None]", method(self, request))) as replies:
                    async for reply in replies:
                        await _send(stream, reply, loop)
            else:
                reply = await cast("Awaitable[Rep]", method(self, request))
                await _send(stream, reply, loop)
        except Exception as error:
            raise _status(error, name, request) from None

    @functools.wraps(method)
    async def handler(self: S, stream: Stream[Req, Rep]) -> None:
        loop = asyncio.get_running_loop()
        await on_trio(respond, loop)(self, stream, loop)

    return handler


async def _send(stream: Stream[Req, Rep], reply: Rep, loop: asyncio.AbstractEventLoop) -> None:
    try:
        await on_asyncio(stream.send_message, loop)(reply)
    except H2Error:
        raise GRPCError(Status.CANCELLED, "the caller is gone") from None


def _status(error: Exception, name: str, request: Message) -> GRPCError:
    error = _alone(error)
    if isinstance(error, GRPCError):
        return error
    if isinstance(error, Level4Error):
        return GRPCError(Status[code_of(error)], str(error)[:_MESSAGE_CHARACTERS])
    about = MessageToString(request, as_one_line=True, as_utf8=True)[:_ABOUT_CHARACTERS] or "{}"
    _log.error("%s failed by a mistake of ours, for %s; the node goes on", name, about, exc_info=error)
    kind = type(error).__name__
    return GRPCError(
        Status.INTERNAL, f"{name} failed by a mistake of the node ({kind}), for {about}; its log has the traceback"
    )


def _alone(error: Exception) -> Exception:
    """A nursery in a handler wraps even a lone failure in a group."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
