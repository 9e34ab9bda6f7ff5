"""Processes that the demo starts: a simulator and a node, ended when the demo ends.

Each runs in a session of its own, so that Ctrl-C reaches the demo alone, which then ends them in order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

import trio

from level4.model import UnavailableError


class Child:
    """One `level4` command. `log`: the file its stderr goes to."""

    def __init__(self, process: trio.Process, name: str, log: Path) -> None:
        self.process = process
        self.name = name
        self.log = log

    async def stop(self, seconds: float = 10.0) -> int | None:
        """End it in order; killed when it takes longer than `seconds`. Returns its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
            with trio.move_on_after(seconds):
                return await self.process.wait()
            self.process.kill()
        return await self.process.wait()

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@asynccontextmanager
async def level4(name: str, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run `level4 ARGUMENTS…` while the block runs. Its stdout can be read from `child.process.stdout`."""
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "level4", *arguments],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=stderr,
            env={**os.environ, **env},
            start_new_session=True,
        )
    child = Child(process, name, log)
    try:
        yield child
    finally:
        with trio.CancelScope(shield=True):
            await child.stop()
            if process.stdout is not None:
                await process.stdout.aclose()


async def first_line(child: Child, seconds: float) -> str:
    """The first line a child prints. Raises UnavailableError with the end of its log when none comes."""
    stdout = child.process.stdout
    assert stdout is not None
    line = b""
    with trio.move_on_after(seconds):
        while b"\n" not in line and (chunk := await stdout.receive_some(1000)):
            line += chunk
    if b"\n" not in line:
        raise UnavailableError(f"the {child.name} did not start within {seconds:g} s:\n{child.tail()}")
    return line.partition(b"\n")[0].decode()
