"""SWIM over real UDP on loopback: finding each other, a death, a leave, keys, names, addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest
import trio

from level4.cluster import gossip
from level4.cluster.gossip import Gossip, GossipSettings
from level4.cluster.whereabouts import split_address
from level4.model import ConfigError
from level4.swim import LOCAL, Address, Change, Event, MemberEvent, NameConflict

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


class Node:
    """One gossiping node of a test."""

    def __init__(self, nursery: trio.Nursery, name: str, **settings: Any) -> None:
        self.events: list[Event] = []
        self._changed = trio.Event()
        options: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "multicast_port": None, "config": LOCAL} | settings
        self.gossip = Gossip(GossipSettings(name, **options), on_event=self._take, random=Random(name))
        self.scope = trio.CancelScope()
        self.address: Address = ("", 0)
        self._nursery = nursery

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()
        self._changed = trio.Event()

    async def start(self) -> Node:
        async def run(task_status: trio.TaskStatus[Address]) -> None:
            with self.scope:
                await self.gossip.run(task_status)

        self.address = await self._nursery.start(run)
        return self

    @property
    def seed(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def sees(self) -> set[str]:
        return {member.name for member in self.gossip.members()}

    async def until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        with trio.fail_after(seconds):
            while not done():
                await self._changed.wait()


def sees(node: Node, *names: str) -> bool:
    return node.sees == set(names)


@asynccontextmanager
async def cluster() -> AsyncIterator[Callable[..., Any]]:
    async with trio.open_nursery() as nursery:
        yield lambda name, **settings: Node(nursery, name, **settings).start()
        nursery.cancel_scope.cancel()


async def test_three_nodes_find_each_other_by_one_seed_and_see_a_death() -> None:
    async with cluster() as start:
        a = await start("a")
        b = await start("b", seeds=(a.seed,))
        c = await start("c", seeds=(a.seed,))
        for node in (a, b, c):
            await node.until(partial(sees, node, "a", "b", "c"))
        c.scope.cancel()
        began = trio.current_time()
        for node in (a, b):
            await node.until(partial(sees, node, "a", "b"))
        assert trio.current_time() - began < 5
        deaths = [e for e in a.events if isinstance(e, MemberEvent) and e.change is Change.DEAD]
        assert [event.member.name for event in deaths] == ["c"]


async def test_leaving_is_told_and_takes_no_suspicion() -> None:
    async with cluster() as start:
        a = await start("a")
        b = await start("b", seeds=(a.seed,))
        for node in (a, b):
            await node.until(partial(sees, node, "a", "b"))
        await b.gossip.leave()
        await a.until(lambda: a.sees == {"a"}, 2)
        assert [e.change for e in a.events if isinstance(e, MemberEvent)][-1] is Change.LEFT


async def test_meta_reaches_everybody() -> None:
    async with cluster() as start:
        a = await start("a")
        b = await start("b", seeds=(a.seed,))
        await a.until(lambda: a.sees == {"a", "b"})
        b.gossip.set_meta(b"room for 7")
        await a.until(lambda: any(member.meta == b"room for 7" for member in a.gossip.members()), 3)


async def test_the_younger_of_one_name_is_told_who_holds_it() -> None:
    async with cluster() as start:
        a = await start("a")
        b = await start("b", seeds=(a.seed,))
        await a.until(lambda: a.sees == {"a", "b"})
        await trio.sleep(0.002)  # of the same millisecond neither would be the younger one
        second = await start("b", seeds=(a.seed,))
        await second.until(lambda: any(isinstance(event, NameConflict) for event in second.events))
        (conflict,) = [event for event in second.events if isinstance(event, NameConflict)]
        assert conflict.holder.address == b.address
        assert a.sees == {"a", "b"}


@pytest.mark.parametrize("strange", [{"keys": (OTHER_KEY,)}, {"keys": ()}, {"keys": (KEY,), "cluster": "another"}])
async def test_strangers_stay_out_and_learn_nothing(strange: dict[str, Any]) -> None:
    async with cluster() as start:
        a = await start("a", keys=(KEY,))
        b = await start("b", keys=(KEY,), seeds=(a.seed,))
        await a.until(lambda: a.sees == {"a", "b"})
        stranger = await start("stranger", seeds=(a.seed, b.seed), **strange)
        await trio.sleep(2)  # what must not happen has no event to wait for
        assert stranger.sees == {"stranger"}
        assert a.sees == b.sees == {"a", "b"}
        assert sum(a.gossip.membership.stats.dropped.values()) > 0


async def test_nodes_of_one_network_find_each_other_by_multicast() -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with cluster() as start:
        a = await start("a", host="0.0.0.0", multicast_port=port)
        b = await start("b", host="0.0.0.0", multicast_port=port)
        if any(node.gossip.unsent for node in (a, b)):
            pytest.skip("this machine has no route for multicast")
        await a.until(lambda: a.sees == {"a", "b"}, 5)
        await b.until(lambda: b.sees == {"a", "b"}, 5)


async def test_a_port_in_use_is_told() -> None:
    async with cluster() as start:
        a = await start("a")
        gossip = Gossip(
            GossipSettings("b", host="127.0.0.1", port=a.address[1], multicast_port=None),
            on_event=lambda event: None,
            random=Random(0),
        )
        with pytest.raises(ConfigError, match="another node uses it"):
            await gossip.run()


@pytest.mark.parametrize(
    ("text", "address"),
    [("n1:7000", ("n1", 7000)), ("n1", ("n1", 7946)), ("[::1]:7", ("::1", 7)), ("10.0.0.1", ("10.0.0.1", 7946))],
)
def test_addresses_as_people_write_them(text: str, address: Address) -> None:
    assert split_address(text, 7946) == address


@pytest.mark.parametrize("text", ["", ":7", "n1:x", "n1:0", "n1:70000"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        split_address(text, 7946)


async def test_an_advertised_address_is_told_to_others() -> None:
    async with cluster() as start:
        a = await start("a", advertise="127.0.0.1")
        assert a.address[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match="LEVEL4_GOSSIP_ADVERTISE"):
            await partial(
                Gossip(
                    GossipSettings("b", host="127.0.0.1", port=0, advertise="no.such.host.invalid:1"),
                    on_event=lambda event: None,
                    random=Random(0),
                ).run
            )()


async def test_a_node_whose_machine_gets_another_address_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    routes: list[str | None] = ["127.0.0.1"]
    monkeypatch.setattr(gossip, "route_towards", lambda seeds, own: routes[-1])
    monkeypatch.setattr(gossip, "ROUTE_SECONDS", 0.05)
    async with cluster() as start:
        a = await start("a")
        b = await start("b", host="0.0.0.0", seeds=(a.seed,))
        await a.until(partial(sees, a, "a", "b"))
        routes.append(None)  # no network at all: the last address stays
        await trio.sleep(0.2)
        assert b.gossip.address == b.address
        routes.append("127.0.0.2")

        def told() -> bool:
            return {one.address for one in a.gossip.members() if one.name == "b"} == {("127.0.0.2", b.address[1])}

        await a.until(told)
        assert b.gossip.address == ("127.0.0.2", b.address[1])
        assert sees(a, "a", "b")
