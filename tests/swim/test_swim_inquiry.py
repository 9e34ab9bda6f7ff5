"""A stranger asks members without becoming one."""

from __future__ import annotations

from random import Random

import pytest
from virtual import Judged, states

from level4.swim import FEEDS, Inquiry, Keyring, Refusal, Reply
from level4.swim.simulation.network import CLUSTER, Node, where

ASKER = where(900)
KEY, OTHER = bytes(range(32)), bytes(32)
BOTH = pytest.mark.parametrize("keyring", [None, Keyring([KEY])], ids=["clear", "sealed"])


def asker(cluster: str = CLUSTER, keyring: Keyring | None = None) -> Inquiry:
    return Inquiry(cluster, Random(7).randbytes(32), keyring, FEEDS, Random(1))


def answers(net: Judged, node: Node, inquiry: Inquiry, *, full: bool) -> tuple[list[Reply], list[int]]:
    """What the node answers, and the sizes of all datagrams between both."""
    replies, sizes = [], []
    inquiry.ask(node.address, net.now, full=full)
    while asked := inquiry.datagrams_to_send():
        for data, _ in asked:
            sizes.append(len(data))
            node.membership.receive_datagram(data, ASKER, net.now)
        for data, destination in node.membership.datagrams_to_send(net.now):
            if destination == ASKER:
                sizes.append(len(data))
                reply = inquiry.receive(data, node.address, net.now)
                replies += [] if reply is None else [reply]
    return replies, sizes


def nodes_of(net: Judged) -> list[Node]:
    nodes = net.grown(5)
    net.run(3)
    return nodes


@BOTH
@pytest.mark.parametrize("full", [False, True])
def test_a_member_tells_a_stranger_of_itself_and_of_others_and_forgets_it(keyring: Keyring | None, full: bool) -> None:
    net = Judged(keyring=keyring)
    nodes = nodes_of(net)
    net.kill(nodes[4])
    assert net.run_until(net.quiet, net.now + 30)
    view = nodes[0].membership.view
    replies, sizes = answers(net, nodes[0], asker(keyring=keyring), full=full)
    assert [reply.member for reply in replies if reply.member] == [nodes[0].membership.own]
    assert {one.name for reply in replies for one in reply.others} >= {"node2", "node3", "node4"}
    assert "node5" not in {one.name for reply in replies for one in reply.others}, "it is dead"
    assert [reply.full for reply in replies if reply.member] == [full]
    assert (max(sizes) > FEEDS.packet_bytes - 64) is full
    assert max(sizes) <= FEEDS.packet_bytes
    net.run(net.now + 5)
    assert (nodes[0].membership.view, set(states(nodes[0]))) == (view, {"node2", "node3", "node4", "node5"})
    assert net.quiet()


@pytest.mark.parametrize(
    ("cluster", "asked_with", "held", "reason"),
    [
        ("another", None, None, Refusal.FOREIGN),
        (CLUSTER, Keyring([OTHER]), Keyring([KEY]), Refusal.UNKNOWN_KEY),
        (CLUSTER, None, Keyring([KEY]), Refusal.UNSEALED),
        (CLUSTER, Keyring([KEY]), None, Refusal.SEALED),
    ],
)
def test_who_is_not_of_the_cluster_hears_nothing(
    cluster: str, asked_with: Keyring | None, held: Keyring | None, reason: Refusal
) -> None:
    net = Judged(keyring=held)
    nodes = nodes_of(net)
    assert answers(net, nodes[0], asker(cluster, asked_with), full=False)[0] == []
    assert nodes[0].membership.stats.dropped[reason] == 1


def test_nonsense_is_no_answer() -> None:
    inquiry = asker()
    for data in (b"", b"L4", b"\0" * 1400, b"L4\x01\x00\x09simulated\xff\xff"):
        assert inquiry.receive(data, where(1), 0.0) is None
    assert inquiry.stats.dropped.total() >= 3
