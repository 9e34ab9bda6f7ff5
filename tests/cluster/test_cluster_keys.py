"""Keys of the cluster change under running nodes: behind the old one, before it, alone; nobody is taken for dead."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from cluster_rig import Cluster, cluster, log_of, market, started, until_markets

from level4.model import Status
from level4.ops.cluster_check import check_cluster
from level4.ops.findings import Verdict
from level4.ops.settings import load

OLD, NEW = "11" * 32, "22" * 32
NODES = ("a", "b", "c")


@pytest.mark.broker
async def test_keys_rotate_in_three_steps_and_every_node_stays(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.keys" for name in NODES}
    async with cluster(tmp_path) as it:
        for name, file in files.items():
            file.write_text(OLD)
            await it.start(name, LEVEL4_CLUSTER_KEYS_FILE=str(file))
        await started(it.clients["a"], market(1), market(2), market(3))
        assert await members_answer(it, OLD) == {*NODES}
        for turn, listed in enumerate((f"{OLD}\n{NEW}\n", f"{NEW}\n{OLD}\n", f"{NEW}\n"), 1):
            for file in files.values():
                file.write_text(listed[:20])  # as a slow editor leaves it for a moment
                await trio.sleep(0.05)
                file.write_text(listed)
            for name in NODES:
                await until_said(it, name, turn)
        assert await members_answer(it, NEW) == {*NODES}
        assert await members_answer(it, OLD) == set()
        await until_markets(it.clients["b"], lambda markets: [one.state for one in markets] == ["LIVE"] * 3)
        assert not [e for e in it.rig.events if isinstance(e, Status) and e.event in ("node_failed", "node_left")]


async def until_said(it: Cluster, name: str, times: int) -> None:
    def said() -> int:
        events = [line["event"] for line in log_of(it.nodes[name])]
        return events.count("keys read anew, because they changed")

    with trio.fail_after(15):
        while said() < times:  # noqa: ASYNC110 - another process
            await trio.sleep(0.1)


async def members_answer(it: Cluster, key: str) -> set[str]:
    """Who answers a stranger with that key."""
    seeds = ",".join(it.seeds.values())
    env = {"LEVEL4_SEEDS": seeds, "LEVEL4_CLUSTER_KEYS": key, "LEVEL4_GOSSIP_PORT": "0", "RPC_PORT": "1"}
    env["LEVEL4_CLUSTER"] = f"test-{it.rig.broker.port}"
    found = await check_cluster(load(env))
    good = [one.check for one in found if one.verdict is Verdict.OK]
    return {check.removeprefix("member ") for check in good if check.startswith("member ")}
