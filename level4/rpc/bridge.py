"""The border between trio and asyncio: the only module that imports trio_asyncio, and its typed face.

gRPC is served by grpclib, which is written for asyncio. trio_asyncio runs an asyncio loop as a task of the trio
program, in the same thread: no locks, whole tracebacks, and cancellation crosses in both directions. What we pay:

* **Importing trio_asyncio replaces the asyncio policy of the process.** A plain `asyncio.run` in any thread afterwards
  builds a trio-backed loop and fails. Nothing in the process but this room may use asyncio.
* The loop's own handler of stray exceptions (a bug in a protocol callback, an accept that found no free file
  descriptor) ends the loop, and with it the node. Ours logs and goes on: a stranger's bytes must never stop feeds.
* There may be several loops at once (a server, and clients that its handlers open), and the innermost one opened in a
  task is "current". So every crossing names its loop.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar, cast

import grpclib.utils

with warnings.catch_warnings():
    # from Python 3.12 on it warns at its import that it derives from a class that 3.14 removes; we cannot mend that
    warnings.filterwarnings("ignore", "'AbstractChildWatcher' is deprecated", DeprecationWarning)
    import trio_asyncio  # type: ignore[import-untyped]  # ships no annotations

# grpclib keeps asyncio's current_task as it was when grpclib was imported, perhaps before trio_asyncio replaced it;
# the original of Python 3.12 and later knows nothing of trio's loops
grpclib.utils._current_task = asyncio.current_task

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)


def on_trio(function: Callable[P, Awaitable[R]], loop: AbstractEventLoop) -> Callable[P, Awaitable[R]]:
    """Make a trio function callable from `loop`. Cancelling the caller cancels it, and waits until it has ended."""
    return cast("Callable[P, Awaitable[R]]", trio_asyncio.trio_as_aio(function, loop=loop))


def on_asyncio(function: Callable[P, Awaitable[R]], loop: AbstractEventLoop) -> Callable[P, Awaitable[R]]:
    """Make an asyncio function callable from trio; it runs in `loop`. Cancellation of the caller reaches it."""
    return cast("Callable[P, Awaitable[R]]", trio_asyncio.aio_as_trio(function, loop=loop))


@asynccontextmanager
async def open_loop() -> AsyncIterator[AbstractEventLoop]:
    """A new asyncio loop; its tasks are cancelled and awaited at the end."""
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_log_stray)
        yield loop


def _log_stray(_loop: object, context: dict[str, Any]) -> None:
    error = context.get("exception")
    _log.error("gRPC: %s; that connection is given up, everything else goes on", context.get("message"), exc_info=error)
