"""The checked-in modules are what the schemas generate."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("level4_pb2.py", "level4_pb2.pyi", "level4_grpc.py", "events_pb2.py", "events_pb2.pyi")
# the generator writes its own version: a comment and three lines with one number each
VERSION = re.compile(r"^# Protobuf Python Version: .*$|^    \d+,$", re.MULTILINE)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("grpc_tools", reason="generating needs grpcio-tools, of the test extra")
    target = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, str(ROOT / "tools/generate-proto"), str(target)], check=True)
    return target


@pytest.mark.parametrize("name", GENERATED)
def test_is_current(generated: Path, name: str) -> None:
    fresh = (generated / "level4/proto" / name).read_text()
    checked_in = (ROOT / "level4/proto" / name).read_text()
    assert VERSION.sub("", fresh) == VERSION.sub("", checked_in), f"run tools/generate-proto: {name} is out of date"
