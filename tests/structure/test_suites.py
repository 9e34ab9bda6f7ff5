"""The closing table of a run: skips are shown with their reasons, and a skip without a cause fails the run.

Each test runs pytest in a process of its own over a small project that has this project's conftest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
INI = "[pytest]\ntestpaths = tests\naddopts = -q --strict-markers\nmarkers =\n    recordings:\n    broker:\n    slow:\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests" / "book").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text(INI)
    shutil.copy(CONFTEST, tmp_path / "tests" / "conftest.py")
    return tmp_path


def run(project: Path, source: str, *arguments: str, recordings: Path | None = None) -> tuple[int, str]:
    (project / "tests" / "book" / "test_it.py").write_text(f"import pytest\n{source}")
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "NO_COLOR": "1"}
    environ["LEVEL4_RECORDINGS"] = str(recordings or project / "nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


USES_RECORDINGS = "def test_a(recordings): assert recordings.is_dir()\ndef test_b(): pass\n"
SKIPS_ANYWAY = "def test_a(recordings): pytest.skip('not in the mood')\n"


def test_a_skip_with_a_cause_is_shown_and_passes(project: Path) -> None:
    code, out = run(project, USES_RECORDINGS)
    assert code == 0, out
    assert "book                1 passed      0 failed      1 skipped" in out
    assert "1 skipped: no recordings: nowhere is neither beside the repository nor named by LEVEL4_RECORDINGS" in out


def test_with_its_prerequisite_the_test_runs(project: Path) -> None:
    code, out = run(project, USES_RECORDINGS, recordings=project)
    assert code == 0, out
    assert "book                2 passed      0 failed      0 skipped" in out


def test_a_skip_though_the_prerequisite_is_there_fails_the_run(project: Path) -> None:
    code, out = run(project, SKIPS_ANYWAY, recordings=project)
    assert code == 1, out
    assert "FAILED tests/book/test_it.py::test_a: skipped (not in the mood) though recordings can be had" in out
    code, out = run(project, SKIPS_ANYWAY)
    assert code == 0, out


def test_slow_tests_wait_to_be_asked_for(project: Path) -> None:
    source = "@pytest.mark.slow\ndef test_a(): pass\n@pytest.mark.slow\ndef test_b(): pytest.skip('no reason')\n"
    code, out = run(project, source)
    assert code == 0, out
    assert "2 skipped: slow: run with --slow" in out
    code, out = run(project, source, "--slow")
    assert code == 1, out
    assert "test_b: skipped (no reason) though slow can be had" in out
    assert "1 passed" in out


def test_a_failure_and_a_broken_file_are_counted(project: Path) -> None:
    code, out = run(project, "def test_a(): assert False\n")
    assert code == 1, out
    assert "book                0 passed      1 failed" in out
    code, out = run(project, "import nothing_of_this_name\n")
    assert code == 2, out
    assert "book                0 passed      1 failed" in out
