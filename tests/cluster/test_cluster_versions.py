"""Nodes of two versions in one cluster, as in every rolling upgrade: markets move both ways, and either takes over from
the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cluster_rig import Cluster, accepted, cluster, hosts, live_on, market, started, until_markets, until_nodes
from earlier_version import NoHistoryError, earlier, tree

from level4 import __version__
from level4.client import Integrity
from level4.model import FeedState, Position, Spread
from level4.proto.level4_pb2 import Node

IDS = set(range(1, 9))


@pytest.fixture
def before(tmp_path: Path) -> tuple[Path, str]:
    return tree(tmp_path / "earlier")


@pytest.mark.broker
@pytest.mark.history
@pytest.mark.parametrize("first", ["old", "a"])
async def test_an_earlier_version_and_this_one_share_markets(
    first: str, before: tuple[Path, str], tmp_path: Path, report: Callable[[str], None]
) -> None:
    folder, version = before
    # the current folder is not to be searched before PYTHONPATH
    earlier_one = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    async with cluster(tmp_path) as it:
        for name in dict.fromkeys([first, "a", "b", "old"]):
            await it.start(name, **(earlier_one if name == "old" else {}))
        for client in it.clients.values():
            await until_nodes(client, partial(are_of, {"a": __version__, "b": __version__, "old": version}))
        report(f"versions {version} and {__version__}")
        for asked in (1, 2):  # each version is asked to start some
            ids = {n for n in IDS if n % 2 == asked % 2}
            await started(it.clients["old" if asked == 1 else "a"], *(market(n) for n in ids))
        await it.rig.until(lambda events: {e.market_id for e in accepted(events)} == IDS)
        await move(it, 1, to="old", by="a")
        await move(it, 1, to="b", by="old")
        await move(it, 2, to="old", by="old")
        await move(it, 2, to="a", by="b")
        for client in it.clients.values():
            listed = await until_markets(client, lambda markets: all(m.state == "LIVE" for m in markets))
            assert {one.id for one in listed} == IDS
        await move(it, 4, to="old", by="b")
        await dies(it, "old", survivors=("a", "b"))
        await it.start("old", **earlier_one)
        await until_nodes(it.clients["b"], partial(are_of, {"a": __version__, "b": __version__, "old": version}))
        await move(it, 3, to="old", by="b")
        await move(it, 5, to="a", by="old")
        await dies(it, "a", survivors=("b", "old"))
        integrity = Integrity()
        for event in it.rig.events:
            integrity.check_event(event)
        assert not sum(account.lost for account in integrity.accounts.values())


def are_of(versions: dict[str, str], nodes: list[Node]) -> bool:
    return {node.name: node.version for node in nodes if node.state == "READY"} == versions


async def move(it: Cluster, number: int, to: str, by: str) -> None:
    """A market moves without a hole, told to by one of the nodes; if it is there already, from there and back."""
    before = hosts(await it.clients[by].list_markets())
    if number in before.get(to, ()):
        await move(it, number, to=next(name for name in ("b", "a") if name != to), by=by)
    seen = len(it.rig.events)
    await it.clients[by].move_market(market(number), to)
    await it.rig.until(lambda events: number in live_on(events, to))
    for client in it.clients.values():  # what one node has read back others read a moment later
        await until_markets(client, lambda markets: number in hosts(markets).get(to, ()))
    stream = [event for event in it.rig.events if isinstance(event, Spread) and event.market_id == number]
    [moved] = [e for e in it.rig.events[seen:] if isinstance(e, Spread) and e.market_id == number and e.seq == 1]
    last = stream[next(i for i, event in enumerate(stream) if event is moved) - 1]
    assert (moved.node, moved.state) == (to, FeedState.LIVE)
    assert moved.follows == Position(last.epoch, last.seq)


async def dies(it: Cluster, name: str, survivors: tuple[str, str]) -> None:
    lost = hosts(await it.clients[survivors[0]].list_markets()).get(name, set())
    assert lost
    await it.kill(name)
    await it.rig.until(lambda events: lost <= set().union(*(live_on(events, one) for one in survivors)), 20)


def test_the_earlier_version_is_found_by_tag_or_by_the_last_change_of_the_version(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True, capture_output=True)

    def commit(version: str) -> None:
        (tmp_path / "level4").mkdir(exist_ok=True)
        (tmp_path / "level4/__init__.py").write_text(f'__version__ = "{version}"\n')
        run("add", ".")
        run("commit", "-m", version)

    run("init", "--quiet")
    commit("0.1.0")
    with pytest.raises(NoHistoryError):
        earlier(tmp_path, "0.1.0")
    commit("0.2.0")
    (tmp_path / "more").write_text("")
    run("add", ".")
    run("commit", "-m", "more")
    commit_before, version = earlier(tmp_path, "0.2.0")
    assert (commit_before.endswith("^"), version) == (True, "0.1.0")
    run("tag", "-a", "v0.1.0", "-m", "first", "HEAD~2")
    run("tag", "-a", "v0.2.0", "-m", "second")
    assert earlier(tmp_path, "0.2.0") == ("v0.1.0", "0.1.0")
    assert earlier(tmp_path, "0.3.0") == ("v0.2.0", "0.2.0")
