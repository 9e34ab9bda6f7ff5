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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from level4.client import AsyncReader, Integrity
from level4.model import Spread
from level4.publish import EmbeddedBroker

ROOT = Path(__file__).parents[2]

MARKET = {"id": 17, "exchange_name": "KRAKEN", "type": "SPOT", "base_symbol": "BTC", "quote_symbol": "USD"}

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


@pytest.mark.broker
async def test_one_file_plays_an_exchange_and_publishes_its_market_with_grpcurl_driving(
    built: Path, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Run in an empty folder by the Python that the environment was made from, which has none of our packages."""
    shutil.copy(built / "level4.pyz", tmp_path)
    report(f"level4.pyz: {(tmp_path / 'level4.pyz').stat().st_size / 1e6:.1f} MB")
    with EmbeddedBroker() as broker:
        async with bare(tmp_path, "simulate", "--port", "0") as exchange:
            simulator = (await first_line(exchange)).rpartition("=")[2]
            node_env = {"HOSTNAME": "one-file", "KAFKA_ENDPOINTS": broker.endpoint, "LEVEL4_SIMULATOR": simulator}
            async with bare(tmp_path, "node", "--announce", **node_env) as node:
                port = int((await first_line(node)).rpartition(":")[2])
                with trio.fail_after(30):
                    while "READY" not in await grpcurl(port, "ListNodes"):  # noqa: ASYNC110 - another process
                        await trio.sleep(0.1)
                reply = json.loads(await grpcurl(port, "StartMarket", {"market": MARKET, "wait_live": True}))
                assert (reply["node"]["name"], reply["market"]["state"]) == ("one-file", "LIVE")
                integrity, changes = Integrity(), 0
                with trio.fail_after(30):
                    async with AsyncReader([broker.endpoint], markets=[17], start="beginning") as reader:
                        async for record in reader:
                            assert integrity.check_event(record.event).whole
                            event = record.event
                            changes += isinstance(event, Spread) and event.changed in ("bid", "ask", "both")
                            if changes == 20:
                                break
                assert json.loads(await grpcurl(port, "IsMarketOnline", {"market": {"id": 17}}))["is_online"]
                node.terminate()
                assert await node.wait() == 0


@asynccontextmanager
async def bare(folder: Path, *arguments: str, **env: str) -> AsyncIterator[trio.Process]:
    """`level4.pyz ARGUMENTS…` there, by a Python without packages and with nothing in its environment but this."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    env |= {"PATH": os.environ["PATH"], "HOME": str(folder), "RPC_PORT": "0"}
    env |= {"LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}
    process = await trio.lowlevel.open_process(
        [str(python), "-I", "level4.pyz", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


async def first_line(process: trio.Process) -> str:
    assert process.stdout is not None
    with trio.fail_after(60):  # it unpacks itself
        return (await process.stdout.receive_some(1000)).decode().strip()


async def grpcurl(port: int, call: str, message: object = None) -> str:
    program = shutil.which("grpcurl", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert program is not None, "it comes with the test extra"
    said = [] if message is None else ["-d", json.dumps(message)]
    command = [program, "-plaintext", *said, f"127.0.0.1:{port}", f"level4.rpc.Control/{call}"]
    done = await trio.run_process(command, capture_stdout=True)
    return done.stdout.decode()
