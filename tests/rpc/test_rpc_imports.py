"""Importing the room must be clean, and what others need of it must not touch asyncio."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_errors_and_ports_leave_the_asyncio_policy_alone() -> None:
    code = "import sys, level4.rpc.errors, level4.control.ports, level4.control.requests; print(*sys.modules)"
    assert "trio_asyncio" not in run(code).split()


def test_serving_and_calling_import_without_warnings() -> None:
    assert run("import level4.rpc.client, level4.rpc.serve, level4.control.service") == ""
