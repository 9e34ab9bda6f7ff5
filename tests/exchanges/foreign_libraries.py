"""Clients that other people wrote, each installed into a folder of its own when a test first wants it.

Nothing of them comes into the project's own environment: they pin and bring what they like. The folders are kept
between runs in the user's cache. As a program: install all, exit 0 when all can be had.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300.0
SCRIPTS = Path(__file__).parent / "foreign"


@dataclass(frozen=True)
class Library:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> Path:
        cache = os.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "level4-tests" / f"{self.name}-{self.version}"


TARDIS = Library("tardis-dev", "13.35.3")
CCXT = Library("ccxt", "4.5.90")


@functools.cache
def missing(library: Library) -> str | None:
    """Why it cannot be had; None when it is there. The first time it is installed."""
    if (library.folder / "complete").exists():
        return None
    if library is TARDIS and not (shutil.which("node") and shutil.which("npm")):
        return f"{library}: there is no node and npm here"
    shutil.rmtree(library.folder, ignore_errors=True)
    library.folder.mkdir(parents=True)
    try:
        subprocess.run(_install(library), cwd=library.folder, capture_output=True, check=True, timeout=SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", b"") or b""
        last = output.decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
        return f"{library} cannot be installed: {last[0]}"
    (library.folder / "complete").touch()
    return None


def _install(library: Library) -> list[str]:
    if library is TARDIS:
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(library.folder)]
        return ["npm", "install", *options, f"{library.name}@{library.version}"]
    venv.create(library.folder, with_pip=True)
    python = str(library.folder / "bin" / "python")
    return [python, "-m", "pip", "install", "--quiet", f"{library.name}=={library.version}"]


def command(library: Library, port: int, arguments: list[str]) -> list[str]:
    """What runs its client against a simulator."""
    if library is TARDIS:
        return ["node", str(SCRIPTS / "tardis.js"), str(library.folder), str(port), *arguments]
    return [str(library.folder / "bin" / "python"), str(SCRIPTS / "ccxt_client.py"), str(port), *arguments]


if __name__ == "__main__":
    reasons = [reason for library in (TARDIS, CCXT) if (reason := missing(library)) is not None]
    sys.exit("\n".join(reasons) or 0)
