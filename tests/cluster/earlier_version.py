"""The program as it was in its version before, taken from the repository's own history.

    python tests/cluster/earlier_version.py      prints which; exit code 0: it can be had
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from level4 import __version__

ROOT = Path(__file__).parents[2]


class NoHistoryError(Exception):
    """Why there is none to be had here."""


def git(*arguments: str, root: Path = ROOT) -> bytes:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise NoHistoryError(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def earlier(root: Path = ROOT, present: str = __version__) -> tuple[str, str]:
    """(commit or tag, version) of the newest version before `present`: the newest tag, or, in a clone without tags, the
    commit before the one that raised the version. Raises NoHistoryError."""
    if shutil.which("git") is None:
        raise NoHistoryError("no git on PATH")
    if git("rev-parse", "--is-shallow-repository", root=root).strip() == b"true":
        raise NoHistoryError("a shallow clone has no earlier version")
    tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname", root=root).decode().split()
    for tag in tags:
        if (version := _version(root, tag)) != present:
            return tag, version
    raised = git("log", "-1", "--format=%H", "-G^__version__", "--", "level4/__init__.py", root=root).decode().strip()
    version = _version(root, f"{raised}^")
    if version == present:
        raise NoHistoryError(f"no version before {present} in this history")
    return f"{raised}^", version


def _version(root: Path, commit: str) -> str:
    content = git("show", f"{commit}:level4/__init__.py", root=root)
    found = re.search(rb'^__version__ = "([^"]+)"', content, re.MULTILINE)
    if found is None:
        raise NoHistoryError(f"{commit} has no version")
    return found[1].decode()


def tree(folder: Path) -> tuple[Path, str]:
    """A folder to be put on PYTHONPATH, and the version in it."""
    try:
        commit, version = earlier()
        packed = git("archive", "--format=tar", commit, "level4")
    except NoHistoryError as error:
        pytest.skip(f"no earlier version: {error}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder, version


if __name__ == "__main__":
    try:
        print(*earlier())
    except NoHistoryError as why:
        sys.exit(str(why))
