"""The shell of the tools: the environment is made once, made again when the project changes, and never half.

A false python3.11 stands in for the real one, so that nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"

PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
*venv*)
    [ -z "$NO_VENV" ] || { echo "ensurepip is not available"; exit 1; }
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    ;;
*install*) [ -z "$NO_NETWORK" ] || exit 1 ;;
esac
"""
OLD_PYTHON = "#!/bin/sh\n[ \"$1\" = --version ] && echo Python 3.9.2\ncase $1 in -c) exit 1 ;; esac\n"


class Project:
    """A folder with tools/_environment, and a PATH on which only our Pythons are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"
        self.bin = folder / "bin"
        (folder / "tools").mkdir()
        self.bin.mkdir()
        for program in ("cat", "cksum", "cp", "dirname", "mkdir", "rm", "sh"):
            (self.bin / program).symlink_to(shutil.which(program) or program)
        shutil.copy(TOOLS / "_environment", folder / "tools")
        (folder / "pyproject.toml").write_text("one")

    def python(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, extra: str, **environ: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error of a tool that wants this extra and prints $PYTHON."""
        tool = 'set -euo pipefail; . tools/_environment "$1"; echo "$PYTHON"'
        fixed = {"PATH": str(self.bin), "CALLS": str(self._calls), "NO_VENV": "", "NO_NETWORK": ""}
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-c", tool, "-", extra], cwd=self.folder, env=fixed | environ,
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def installed(self) -> list[str]:
        """The extras that were installed since the last call."""
        calls = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.write_text("")
        return [call.rpartition("[")[2].rstrip("]") for call in calls if call.startswith("-m pip install")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_made_once_then_quiet(project: Project) -> None:
    project.python("python3.11", PYTHON)
    code, out, err = project.run("test")
    assert (code, out) == (0, f"{project.folder}/.venv/bin/python\n"), err
    assert err.count("\n") == 1
    assert err.startswith("Installing level4[test]")
    assert project.installed() == ["test"]
    assert project.run("test") == (0, out, "")
    assert project.run("demo") == (0, out, ""), "test contains demo"
    assert project.installed() == []


def test_made_again_when_the_project_changed_or_more_is_wanted(project: Project) -> None:
    project.python("python3.11", PYTHON)
    assert project.run("demo")[0] == 0
    assert project.run("test")[0] == 0
    (project.folder / "pyproject.toml").write_text("two")
    assert project.run("demo")[0] == 0
    assert project.installed() == ["demo", "test", "demo"]


def test_a_failed_installation_is_done_over(project: Project) -> None:
    project.python("python3.11", PYTHON)
    code, _, err = project.run("test", NO_NETWORK="1")
    assert code == 2
    assert "The installation failed" in err
    assert project.run("test")[0] == 0
    assert project.installed() == ["test", "test"]


def test_an_environment_whose_python_is_gone_is_made_anew(project: Project) -> None:
    project.python("python3.11", PYTHON)
    assert project.run("test")[0] == 0
    (project.folder / ".venv" / "bin" / "python").unlink()
    assert project.run("test")[0] == 0
    assert project.installed() == ["test", "test"]


def test_a_python_that_does_not_fit_is_passed_over(project: Project) -> None:
    project.python("python3.13", OLD_PYTHON)  # such as a version manager's stub for a version that is not there
    project.python("python3.12", PYTHON)
    assert project.run("demo")[0] == 0


def test_no_python_that_fits_is_a_clear_error(project: Project) -> None:
    project.python("python3", OLD_PYTHON)
    code, _, err = project.run("test")
    assert code == 2
    assert "needs Python 3.11, 3.12 or 3.13" in err
    assert "Python 3.9.2" in err
    assert not (project.folder / ".venv").exists()


def test_a_python_without_venv_is_a_clear_error(project: Project) -> None:
    project.python("python3", PYTHON)
    code, _, err = project.run("test", NO_VENV="1")
    assert code == 2
    assert "apt install python3-venv" in err
    assert "ensurepip is not available" in err


@pytest.mark.parametrize("tool", ["test", "demo", "bench", "settings-page", "../.ci/run"])
def test_tools_can_be_run(tool: str) -> None:
    path = TOOLS / tool
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", path], check=True, timeout=10)
