"""podman for the tests. It can be had when LEVEL4_TEST_CONTAINERS says so (`podman`, as it is on PATH, or the path of a
script that makes it ready and prints `export` lines for the shell), or when such a script lies beside the repository.

    python tests/deploy/podman.py      exit code 0: it can be had; else the last line says why not
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE = ROOT.parent / "shared" / "containers" / "prepare"
IMAGE = "localhost/level4-test"
BUILD_SECONDS = 1200.0
PREPARE_SECONDS = 900.0
STOP_SECONDS = 8.0


class NoContainersError(Exception):
    """Why they cannot be had here."""


@functools.cache
def environment() -> dict[str, str]:
    """The variables with which `podman` is run. Raises NoContainersError."""
    named = os.environ.get("LEVEL4_TEST_CONTAINERS")
    if named == "podman":
        if shutil.which("podman") is None:
            raise NoContainersError("LEVEL4_TEST_CONTAINERS=podman, and there is none on PATH")
        return dict(os.environ)
    script = Path(named) if named else BESIDE
    if not script.is_file():
        where = f"LEVEL4_TEST_CONTAINERS={named} is no file" if named else "LEVEL4_TEST_CONTAINERS is not set"
        raise NoContainersError(f"{where}: it names `podman` or a script that makes it ready")
    command = 'set -e; exports=$("$0"); eval "$exports"; env -0'
    try:
        told = subprocess.run(
            ["bash", "-c", command, script], check=False, capture_output=True, text=True, timeout=PREPARE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NoContainersError(f"{script.name} was not done within {PREPARE_SECONDS:g} s") from None
    prepared = dict(line.split("=", 1) for line in told.stdout.split("\0") if "=" in line)
    if told.returncode != 0 or shutil.which("podman", path=prepared.get("PATH")) is None:
        raise NoContainersError(f"{script.name} could not make podman ready: {told.stderr.strip()[-300:]}")
    return prepared


class Podman:
    def __init__(self, variables: dict[str, str]) -> None:
        self.environment = variables

    @classmethod
    def find(cls) -> Podman:
        try:
            return cls(environment())
        except NoContainersError as error:
            pytest.skip(f"no containers: {error}")

    def __call__(self, *arguments: str, seconds: float = 60.0, check: bool = True) -> str:
        """What it prints, both streams together."""
        return self.run("podman", *arguments, seconds=seconds, check=check)

    def run(
        self, *command: str, seconds: float = 60.0, check: bool = True, given: str | None = None, **more: str
    ) -> str:
        """Any program with podman's environment and these variables; what it prints. `given`: its standard input."""
        done = subprocess.run(
            command,
            env=self.environment | more,
            stdin=subprocess.DEVNULL if given is None else None,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}"
        return done.stdout.strip()

    def build(self, *tags: str, context: Path = ROOT) -> None:
        named = [f"--tag={tag}" for tag in tags or (IMAGE,)]
        self("build", "--network=host", "--format=docker", *named, str(context), seconds=BUILD_SECONDS)

    def pid(self, name: str) -> int:
        """Of the first process of a container, as this machine sees it."""
        return int(json.loads(self("inspect", name))[0]["State"]["Pid"])

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
        pid = self._podman.pid(self.name)
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


if __name__ == "__main__":
    try:
        environment()
    except NoContainersError as why:
        sys.exit(str(why))
