"""Where figures are stored, with the machine and the versions they belong to."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import level4

FOLDER = Path(__file__).parents[1] / "bench_results"


def machine() -> dict[str, Any]:
    """What the figures depend on; no host name."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    return {"cpu": model or platform.processor(), "cores": os.cpu_count(), "system": platform.system()}


def store(name: str, packages: list[str], figures: dict[str, Any]) -> Path:
    """Write `tools/bench_results/NAME.json`."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": {"level4": level4.__version__} | {package: version(package) for package in packages},
        **figures,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
