"""Half an hour of 25 feeds under load and faults, and what it costs: the soak of the test suite, with its figures kept.

The figures are stored also when a limit is broken; then the command fails, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import results

TEST = "tests/faults/test_soak.py::test_a_long_soak"
PACKAGES = ["trio", "websockets", "msgspec"]


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long to go on.")
@click.option("--store/--no-store", default=True, show_default=True, help="Keep the figures in bench_results/.")
def soak(minutes: float, store: bool) -> None:
    """25 feeds of five simulated exchanges, faults every second: memory, event-loop lag, and books in the end."""
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        environ = os.environ | {"LEVEL4_SOAK_SECONDS": str(minutes * 60), "LEVEL4_SOAK_RESULT": str(figures)}
        command = [sys.executable, "-m", "pytest", "--slow", TEST]
        code = subprocess.run(command, cwd=root, env=environ, check=False).returncode
        if figures.exists():
            content = json.loads(figures.read_text())
            click.echo(json.dumps(content, indent=1))
            if store:
                path = results.store("soak", PACKAGES, content | {"passed": code == 0})
                click.echo(f"stored in tools/bench_results/{path.name}")
    sys.exit(code)
