"""The commands that move markets, against two real nodes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from cluster_rig import cluster, hosts, market

pytestmark = pytest.mark.broker


async def level4(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    command = [sys.executable, "-m", "level4", *arguments]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_markets_are_moved_drained_and_shared_by_command(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.start_all("a", "b", LEVEL4_PLACEMENT="least_loaded")
        client = it.clients["a"]
        for n in range(1, 5):
            started = await client.start_market(market(n), wait_live=True)
            assert started.market.state == "LIVE"
        placed = hosts(await client.list_markets())
        assert {name: len(ids) for name, ids in placed.items()} == {"a": 2, "b": 2}
        (address,) = [node.address for node in await client.list_nodes() if node.name == "b"]

        async def ask(*arguments: str) -> Any:
            code, out, err = await level4(*arguments, "--json", "--node", address)
            assert code == 0, err
            return json.loads(out)

        moved = min(placed["a"])
        assert (await ask("market", "move", str(moved), "--to", "b"))["node"] == "b"
        assert [(m["source"], m["target"]) for m in await ask("rebalance", "--dry-run")] == [("b", "a")]
        assert len(await ask("rebalance")) == 1
        assert await ask("rebalance") == []
        assert {m["target"] for m in await ask("market", "drain", "b")} == {"a"}
        assert set(hosts(await client.list_markets())) == {"a"}
        for arguments, code, said in (
            (("market", "move", "1", "--to", "a"), 4, "already"),
            (("market", "move", "1", "--to", "nowhere"), 3, "no node is named 'nowhere'; there are a, b"),
            (("market", "move", "99"), 3, "no active market"),
            (("market", "drain", "nowhere"), 3, "no node is named"),
        ):
            failed = await level4(*arguments, "--node", address)
            assert failed[0] == code, failed
            assert said in failed[2]
