"""tools/build: the wheel, the source, and one file that a bare Python runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [ROOT / "tools/build", folder], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_and_the_source_hold_what_they_must(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"level4/py.typed", "level4/proto/level4.proto", "level4/cli/main.py"} <= names
    assert not [name for name in names if name.startswith("tests/")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    [source] = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert any(name.endswith("/pyproject.toml") for name in archive.getnames())


async def test_one_file_serves_a_node_that_grpcurl_drives(built: Path, tmp_path: Path) -> None:
    """Run in an empty folder by the Python that the environment was made from, which has none of our packages."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    shutil.copy(built / "level4.pyz", tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RPC_PORT": "0", "HOSTNAME": "one-file"}
    environment |= {"LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}
    environment["LEVEL4_MULTICAST"] = "false"
    command = [str(python), "-I", "level4.pyz", "node", "--announce", "--kafka", "127.0.0.1:9"]
    process = await trio.lowlevel.open_process(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        with trio.fail_after(60):
            line = (await process.stdout.receive_some(1000)).decode()
            port = int(line.rpartition(":")[2])
            nodes = json.loads(await grpcurl(port, "level4.rpc.Control/ListNodes"))["nodes"]
            assert nodes[0]["name"] == "one-file"
            process.terminate()
            assert await process.wait() == 0
    finally:
        process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


async def grpcurl(port: int, method: str) -> bytes:
    program = shutil.which("grpcurl", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert program is not None, "it comes with the test extra"
    done = await trio.run_process([program, "-plaintext", f"127.0.0.1:{port}", method], capture_stdout=True)
    return done.stdout
