"""podman for the tests. LEVEL4_TEST_CONTAINERS says that it can be had: `podman`, as it is on PATH, or the path of a
script that makes it ready and prints `export` lines for the shell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/level4-test"
BUILD_SECONDS = 1200.0
STOP_SECONDS = 8.0


class Podman:
    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    @classmethod
    def find(cls) -> Podman:
        script = os.environ.get("LEVEL4_TEST_CONTAINERS")
        if not script:
            pytest.skip("no containers: LEVEL4_TEST_CONTAINERS is neither `podman` nor a script that makes it ready")
        environment = dict(os.environ)
        if script != "podman":
            command = f'set -e; exports=$("{script}"); eval "$exports"; env -0'
            told = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True, timeout=600)
            environment = dict(line.split("=", 1) for line in told.stdout.split("\0") if "=" in line)
        assert shutil.which("podman", path=environment["PATH"]), f"LEVEL4_TEST_CONTAINERS={script}, but no podman"
        return cls(environment)

    def __call__(self, *arguments: str, seconds: float = 60.0, check: bool = True) -> str:
        """What it prints, both streams together."""
        done = subprocess.run(
            ["podman", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}: {done.stdout}"
        return done.stdout.strip()

    def build(self) -> None:
        self("build", "--network=host", "--format=docker", "--tag", IMAGE, str(ROOT), seconds=BUILD_SECONDS)

    @contextmanager
    def container(self, *options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
        """One that runs, with everything taken from it that a node does not need."""
        strict = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
        name = self("run", "--detach", *strict, *options, IMAGE, *command).splitlines()[-1]
        try:
            yield Container(self, name)
        finally:
            self("rm", "--force", "--time=0", name, check=False)


class Container:
    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name

    def log(self) -> list[dict[str, object]]:
        """The log so far; every line of it must be JSON."""
        return [json.loads(line) for line in self._podman("logs", self.name).splitlines()]

    def port(self, inside: int) -> int:
        """Where a published port is on this machine."""
        return int(self._podman("port", self.name, str(inside)).splitlines()[0].rpartition(":")[2])

    def stop(self) -> tuple[int, float]:
        """Exit code after SIGTERM, and how many seconds it took."""
        began = time.monotonic()
        self._podman("kill", "--signal=TERM", self.name)
        code = int(self._podman("wait", self.name, seconds=30))
        return code, time.monotonic() - began

    def until_it_takes_signals(self, seconds: float = 30.0) -> None:
        """Wait until process 1 has a handler for SIGTERM: before that the kernel throws the signal away."""
        pid = json.loads(self._podman("inspect", self.name))[0]["State"]["Pid"]
        deadline = time.monotonic() + seconds
        while not _catches(pid, signal.SIGTERM):
            assert time.monotonic() < deadline, "it takes no signals"
            time.sleep(0.005)

    def run(self, *command: str) -> str:
        return self._podman("exec", self.name, *command)

    def healthy(self) -> bool:
        return "unhealthy" not in self._podman("healthcheck", "run", self.name, check=False) and self._state() == 0

    def _state(self) -> int:
        told = json.loads(self._podman("inspect", self.name))[0]["State"]
        health = told.get("Health") or told.get("Healthcheck")
        return int(health["Log"][-1]["ExitCode"])


def _catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)
