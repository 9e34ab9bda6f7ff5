"""A node that says how it is, and `level4 probe` as a process that asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from functools import partial

import trio

from level4.ops.http import Answer, serve_http
from level4.rpc.health import Health
from level4.rpc.serve import serve


class Told(Enum):
    GRPC = auto()
    HTTP = auto()


class Node:
    def __init__(self, by: Told, port: int, health: Health, scope: trio.CancelScope) -> None:
        self.port = port
        self._by = by
        self._health = health
        self._scope = scope

    def set_ready(self) -> None:
        self._health.set_ready(True)

    def leave(self) -> None:
        self._scope.cancel()

    async def probe(self, *options: str) -> tuple[int, str]:
        """Exit code and what was said."""
        name = "RPC_PORT" if self._by is Told.GRPC else "LEVEL4_HTTP_PORT"
        with trio.fail_after(30):
            done = await trio.run_process(
                [sys.executable, "-m", "level4", "probe", *options],
                env={**os.environ, name: str(self.port)},
                check=False,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
            )
        return done.returncode, done.stdout.decode().strip()


@asynccontextmanager
async def told_node(by: Told) -> AsyncIterator[Node]:
    health = Health()

    async def ready(_accept: str) -> Answer:
        await trio.lowlevel.checkpoint()
        text = b'{"ready": true}' if health.serving else b'{"ready": false}'
        return Answer(text, status=200 if health.serving else 503)

    async def alive(_accept: str) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(b"alive")

    routes = {"/readyz": ready, "/healthz": alive}
    start = partial(serve, [], health=health) if by is Told.GRPC else partial(serve_http, routes, "127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[int]) -> None:
            with scope:
                await start(task_status=task_status)

        port = await nursery.start(run)
        yield Node(by, port, health, scope)
        scope.cancel()
