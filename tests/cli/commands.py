"""Running `level4 …` as a process, for the tests of the commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

SECONDS = 30.0


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Commands:
    """Runs `level4 …` with an environment that points at the rig."""

    env: dict[str, str]
    folder: Path
    addresses: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, answer: str = "") -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "level4", *arguments],
            env=self.env | dict(env or {}),
            cwd=self.folder,
            input=answer,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on. Whoever starts it ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "level4", *arguments],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def stop_all(self) -> None:
        """End every market of the node; from this process, because that is quicker."""
        from level4.rpc.client import connect  # in here, where the warnings of its imports are known

        async def stop() -> None:
            async with connect("127.0.0.1", int(self.env["RPC_PORT"])) as control:
                for market in await control.list_markets():
                    await control.stop_market(market)

        trio.run(stop)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> Done:
    """End a command in order; killed when it takes too long."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return Done(process.returncode, out, err)
