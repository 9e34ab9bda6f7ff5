"""What happens to members, told as stories in virtual time. The network asserts the invariants after each step."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from virtual import Judged, states

from level4.swim import (
    FEEDS,
    LAN,
    Active,
    Address,
    Change,
    Departed,
    Keyring,
    Member,
    Membership,
    NameConflict,
    Phase,
    State,
)
from level4.swim.member import Accusation
from level4.swim.messages import Ack, Digest, Heard, Message, More, Ping, Sender, Told, decode, encode
from level4.swim.simulation.network import CLUSTER, FIRST_GENERATION, Node, where

BOTH = pytest.mark.parametrize("keyring", [None, Keyring([bytes(32)])], ids=["clear", "sealed"])


def joined(net: Judged, count: int) -> list[Node]:
    """Nodes that found each other by one seed."""
    nodes = [net.start(f"node{i + 1}", where(i), seeds=[where(0)]) for i in range(count)]
    assert net.run_until(net.agreed, net.now + 30)
    return nodes


def conflicts(net: Judged) -> list[tuple[str, NameConflict]]:
    return [(observer, event) for _, observer, event in net.events if isinstance(event, NameConflict)]


# Joining


@BOTH
def test_nodes_that_share_a_seed_find_each_other(keyring: Keyring | None) -> None:
    net = Judged(keyring=keyring)
    joined(net, 5)
    assert net.now < 3.0
    assert all(net.changes(f"node{i}").count(Change.JOINED) == 4 for i in range(1, 6))


def test_a_node_that_nobody_answers_is_active_alone_and_joins_later() -> None:
    net = Judged()
    net.start("node2", where(1), seeds=[where(0)])
    net.run(10)
    assert [event for _, _, event in net.events] == [Active(alone=True)]
    net.start("node1", where(0))
    assert net.run_until(net.agreed, net.now + 10)


def test_a_newcomer_learns_a_large_view_piece_by_piece() -> None:
    net = Judged(seed=4)
    net.grown(120)
    net.start("new", where(999), seeds=[where(7)])
    assert net.run_until(net.agreed, 6.0)


def test_names_as_long_as_allowed_still_fit() -> None:
    net = Judged()
    members = [Member(f"{i:064}", FIRST_GENERATION, 0, where(i), bytes(512)) for i in range(60)]
    for member in members:
        net.start(member.name, member.address, members=members, meta=bytes(512), generation=FIRST_GENERATION)
    net.start("n" * 64, where(100), seeds=[where(0)], meta=bytes(512))
    assert net.run_until(net.agreed, 30.0)


@BOTH
def test_a_hello_is_enough_to_meet(keyring: Keyring | None) -> None:
    net = Judged(keyring=keyring)
    one, other = net.start("node1", where(0)), net.start("node2", where(1))
    net.run(5)
    net.send(one.membership.hello(), one.address, other.address)
    assert net.run_until(net.agreed, net.now + 2)
    sent = other.membership.stats.sent
    net.send(one.membership.hello(), one.address, other.address)
    net.run(net.now + 0.01)
    assert other.membership.stats.sent == sent, "known members are not asked again"


def test_hellos_of_many_strangers_are_not_all_answered() -> None:
    net = Judged()
    node = net.start("node1", where(0))
    net.run(3)
    sent = node.membership.stats.sent
    for i in range(500):
        net.send(node.membership.hello(), where(1000 + i), node.address)
    net.run(net.now + 0.1)
    assert node.membership.stats.sent - sent <= 3


def test_another_cluster_is_foreign() -> None:
    net = Judged()
    node = net.start("node1", where(0))
    other = Membership(
        "node2", 1, where(1), cluster="other", rng=Random(1), secret=bytes(32), now=0.0, seeds=[where(0)]
    )
    other.handle_timer(0.0)
    ((data, address),) = other.datagrams_to_send(0.0)
    assert address == where(0)
    net.send(data, where(1), address)
    net.run(1)
    assert node.membership.stats.dropped == {"foreign": 1}
    assert states(node) == {}


def test_a_path_that_drops_large_datagrams_is_seen() -> None:
    net = Judged(seed=2)
    plain = net.send

    def narrow(data: bytes, source: Address, destination: Address, side: int = 0) -> None:
        if len(data) <= 600:
            plain(data, source, destination, side)

    net.send = narrow  # type: ignore[method-assign]  # a network of another kind
    one = net.start("node1", where(0), seeds=[where(1)])
    other = net.start("node2", where(1), seeds=[where(0)])
    net.run(2)
    assert other.membership.full_size_passes is not True
    net.start("node3", where(2), seeds=[where(0), where(9)])
    net.run(60)
    assert net.agreed()
    assert one.membership.full_size_passes is not True
    assert net.nodes[where(2)].membership.full_size_passes is False


def test_a_path_that_does_not_is_seen_too() -> None:
    net = Judged()
    nodes = joined(net, 3)
    assert [node.membership.full_size_passes for node in nodes[1:]] == [True] * 2


# Death, suspicion, refutation


def test_a_dead_member_is_known_everywhere_in_time() -> None:
    net = Judged(seed=2)
    nodes = net.grown(10)
    net.run(5)
    net.kill(nodes[3])
    assert net.run_until(net.agreed, 10.0)
    assert set(net.changes("node4")) == {Change.SUSPECTED, Change.DEAD}
    assert net.changes("node4").count(Change.DEAD) == 9


def test_an_accused_member_refutes() -> None:
    net = Judged()
    nodes = net.grown(5)
    net.run(3)
    rumour = Heard(Accusation(State.SUSPECT, "node1", FIRST_GENERATION, 0, "node2"))
    tell(net, nodes[2], rumour)
    net.run(5)
    assert Change.SUSPECTED in net.changes("node1")
    assert Change.DEAD not in net.changes("node1")
    assert nodes[0].membership.own.incarnation == 1
    assert nodes[0].membership.stats.refutations == 1
    assert net.run_until(net.quiet, 10)


def tell(net: Judged, node: Node, *parts: Heard | Told) -> None:
    body = b"".join(encode(part) for part in parts)
    datagram = node.membership._core.outlet.envelope.close(body, bytes(8))
    node.membership.receive_datagram(datagram, ("10.9.9.9", 1), net.now)
    net.settle(node)


def test_a_death_told_from_a_table_is_only_suspected() -> None:
    net = Judged()
    nodes = net.grown(3)
    net.run(3)
    accusation = Accusation(State.DEAD, "node1", FIRST_GENERATION, 0, "")
    tell(net, nodes[1], Told(accusation))
    assert states(nodes[1])["node1"] == State.SUSPECT
    tell(net, nodes[1], Told(accusation))
    tell(net, nodes[2], Heard(accusation))
    assert states(nodes[2])["node1"] == State.DEAD
    assert net.run_until(net.quiet, net.now + 10)


def test_a_member_accused_by_itself_does_not_refute() -> None:
    net = Judged()
    nodes = net.grown(3)
    tell(net, nodes[0], Heard(Accusation(State.SUSPECT, "node1", FIRST_GENERATION, 0, "node1")))
    assert nodes[0].membership.own.incarnation == 0


def test_a_rumour_far_ahead_is_refused() -> None:
    net = Judged()
    nodes = net.grown(3)
    far = Accusation(State.DEAD, "node1", FIRST_GENERATION, 1 << 60, "")
    tell(net, nodes[0], Heard(far))
    tell(net, nodes[1], Heard(far))
    assert [node.membership.stats.rumours_refused for node in nodes] == [1, 1, 0]
    assert net.agreed()


def test_an_accusation_just_within_bounds_can_be_answered() -> None:
    net = Judged()
    nodes = net.grown(3)
    tell(net, nodes[0], Heard(Accusation(State.DEAD, "node1", FIRST_GENERATION, 1 << 40, "")))
    assert nodes[0].membership.own.incarnation == (1 << 40) + 1
    assert net.run_until(net.quiet, 20)


def test_rumours_of_strangers_who_are_not_alive_are_nothing() -> None:
    net = Judged()
    nodes = net.grown(3)
    for state in (State.SUSPECT, State.DEAD, State.LEFT):
        tell(net, nodes[0], Heard(Accusation(state, "nobody", FIRST_GENERATION, 0, "node2")))
    assert "nobody" not in states(nodes[0])


def test_a_short_stop_harms_nobody() -> None:
    net = Judged(seed=3)
    nodes = net.grown(8)
    net.run(5)
    net.pause(nodes[0], 0.9)
    net.run(20)
    assert not any(Change.DEAD in net.changes(f"node{i}") for i in range(1, 9))
    assert nodes[0].membership.stats.lags >= 1


def test_a_long_stop_is_a_death_and_then_a_return() -> None:
    net = Judged(seed=3)
    nodes = net.grown(6)
    net.run(5)
    net.pause(nodes[0], 20)
    assert net.run_until(lambda: net.changes("node1").count(Change.DEAD) == 5, 12)
    assert net.run_until(net.quiet, 35)
    assert net.changes("node1", "node2")[-1] is Change.JOINED
    assert not any(Change.DEAD in net.changes(f"node{i}") for i in range(2, 7)), "it does not accuse the others"


def test_a_member_that_did_not_run_doubts_itself() -> None:
    net = Judged()
    nodes = net.grown(3)
    net.run(3)
    nodes[0].membership.loop_lagged(0.1)
    assert nodes[0].membership.health == 0
    nodes[0].membership.loop_lagged(0.6)
    assert nodes[0].membership.health in (2, 3)
    net.run(10)
    assert nodes[0].membership.health == 0


def test_an_ack_proves_nothing_but_the_probe_that_it_answers() -> None:
    net = Judged()
    nodes = net.grown(2)
    net.run(3)
    net.kill(nodes[1])
    envelope = nodes[0].membership._core.outlet.envelope
    for _ in range(100):
        net.run(net.now + 0.1)
        nodes[0].membership.receive_datagram(envelope.close(encode(Ack(7)), bytes(8)), where(1), net.now)
    assert states(nodes[0])["node2"] == State.DEAD


def said(node: Node, now: float) -> dict[Address, list[Message]]:
    """What a node is about to send, by destination."""
    envelope = node.membership._core.outlet.envelope
    return {to: decode(envelope.open(data).body) for data, to in node.membership.datagrams_to_send(now)}


def hear(node: Node, now: float, *parts: Message) -> None:
    body = b"".join(encode(part) for part in parts)
    node.membership.receive_datagram(node.membership._core.outlet.envelope.close(body, bytes(8)), where(1), now)


def test_having_to_refute_is_a_reason_to_doubt_oneself() -> None:
    node = Judged().grown(3)[0]
    hear(node, 0.0, Heard(Accusation(State.SUSPECT, "node1", FIRST_GENERATION, 0, "node2")))
    assert node.membership.health == 1


def test_a_suspect_is_told_with_the_ping_and_the_dead_when_they_speak() -> None:
    net = Judged()
    node = net.grown(3)[0]
    net.run(2)
    for state in (State.SUSPECT, State.DEAD):
        node.membership._rumours.accuse(net.nodes[where(1)].membership.own, state, net.now)
        node.membership._core.queue.clear()
        expected = Heard(Accusation(state, "node2", FIRST_GENERATION, 0, ""))
        if state == State.SUSPECT:
            envelope = node.membership._core.outlet.envelope
            ((data, _),) = pinged(node.membership, "node2", net.now)
            assert expected in decode(envelope.open(data).body)
        ping = Ping(9, "node1", FIRST_GENERATION)
        hear(node, net.now, Sender("node2", FIRST_GENERATION, 0, node.membership.view), ping)
        reply = said(node, net.now)[where(1)]
        assert expected in reply
        assert Ack(9) in reply


def test_the_dead_are_told_too() -> None:
    net = Judged()
    node = net.grown(2)[0]
    net.run(2)
    node.membership._rumours.accuse(net.nodes[where(1)].membership.own, State.DEAD, net.now)
    node.membership._core.gossip(net.now)
    assert where(1) in said(node, net.now)


def test_an_answer_that_ends_early_says_where() -> None:
    net = Judged()
    others = [Member(f"node{i:03}", FIRST_GENERATION, 0, where(i)) for i in range(300)]
    node = net.start("own", where(999), members=others)
    hear(node, 1.0, Digest("", "", ()))
    envelope = node.membership._core.outlet.envelope
    replies = [decode(envelope.open(data).body) for data, _ in node.membership.datagrams_to_send(1.0)]
    told = [part.rumour.name for parts in replies for part in parts if isinstance(part, Told)]
    (more,) = [part for parts in replies for part in parts if isinstance(part, More)]
    assert 50 < len(told) < 300
    assert max(told) < more.first
    assert len(replies) == 5


def test_a_ping_for_another_life_is_not_answered_but_corrected() -> None:
    net = Judged()
    nodes = net.grown(2)
    net.run(3)
    replies: list[bytes] = []
    net.kill(nodes[1])
    net.tap = lambda data, source, destination: replies.append(data) if source == where(1) else None
    net.start("node2", where(1))
    prober = nodes[0].membership
    for data, _ in pinged(prober, "node2", net.now):
        net.send(data, where(0), where(1))
    net.run(net.now + 0.01)
    parts = [part for data in replies for part in decode(prober._core.outlet.envelope.open(data).body)]
    assert not any(isinstance(part, Ack) for part in parts)


def pinged(membership: Membership, name: str, now: float) -> list[tuple[bytes, tuple[str, int]]]:
    target = membership.member(name)
    assert target is not None
    membership._prober._ping(target, 77, now)
    return membership.datagrams_to_send(now)


# Leaving, coming back


@BOTH
def test_leaving_is_told_at_once_and_is_no_death(keyring: Keyring | None) -> None:
    net = Judged(keyring=keyring)
    nodes = net.grown(6)
    net.run(5)
    nodes[2].membership.leave(net.now)
    net.settle(nodes[2])
    assert net.run_until(lambda: net.changes("node3") == [Change.LEFT] * 5, net.now + 1)
    assert net.run_until(lambda: not nodes[2].running, net.now + 2)
    assert nodes[2].membership.phase is Phase.GONE
    assert nodes[2].membership.get_timer() is None
    nodes[2].membership.leave(net.now)
    assert [event for _, who, event in net.events if who == "node3"][-1] == Departed()


def test_leaving_alone_is_immediate() -> None:
    net = Judged()
    node = net.start("node1", where(0))
    node.membership.leave(0.0)
    net.settle(node)
    assert not node.running


@BOTH
def test_a_restarted_process_takes_the_place_of_the_former(keyring: Keyring | None) -> None:
    net = Judged(keyring=keyring)
    nodes = net.grown(5)
    net.run(5)
    net.kill(nodes[1])
    net.run(net.now + 0.2)
    again = net.start("node2", nodes[1].address, seeds=[where(0)])
    assert net.run_until(net.agreed, net.now + 3)
    assert again.membership.phase is Phase.ACTIVE
    assert net.changes("node2", "node4") == [Change.DEAD, Change.JOINED]


def test_a_restart_elsewhere_first_finds_the_former_silent() -> None:
    net = Judged()
    nodes = net.grown(5)
    net.run(5)
    net.kill(nodes[1])
    began = net.now
    again = net.start("node2", where(50), seeds=[where(0)])
    assert net.run_until(net.agreed, net.now + 5)
    assert net.now - began > 4 * net._config.probe_timeout
    assert again.membership.own.address == where(50)
    assert again.running


def test_a_restart_with_a_clock_set_back_still_comes_in() -> None:
    net = Judged()
    nodes = net.grown(4)
    net.run(5)
    net.kill(nodes[1])
    assert net.run_until(net.agreed, net.now + 10)
    again = net.start("node2", where(1), seeds=[where(0)], generation=FIRST_GENERATION - 1_000_000)
    assert net.run_until(net.agreed, net.now + 10)
    assert again.membership.own.incarnation > 1_000_000


def test_all_restart_at_once_while_one_remembers() -> None:
    net = Judged(seed=5)
    nodes = net.grown(6)
    net.run(5)
    for node in nodes[1:]:
        net.kill(node)
    net.run(net.now + 8)
    for i in range(1, 6):
        net.start(f"node{i + 1}", where(i), seeds=[where(0)])
    assert net.run_until(net.agreed, net.now + 5)


# Names


@BOTH
def test_a_newcomer_with_a_name_that_is_held_must_exit(keyring: Keyring | None) -> None:
    net = Judged(keyring=keyring)
    nodes = net.grown(4)
    net.run(5)
    twin = net.start("node2", where(60), seeds=[where(0)])
    assert net.run_until(lambda: not twin.running, net.now + 3)
    ((who, conflict),) = conflicts(net)
    assert who == "node2"
    assert conflict.holder.address == where(1)
    assert "node at 10.0.0.1:7946" in str(conflict)
    assert "must exit" in str(conflict)
    assert net.agreed()
    assert nodes[1].running
    assert net.changes("node2") == [], "nobody saw anything of it"


def test_a_newcomer_that_asks_the_holder_itself() -> None:
    net = Judged()
    net.grown(3)
    net.run(5)
    twin = net.start("node1", where(60), seeds=[where(0)])
    assert net.run_until(lambda: not twin.running, net.now + 3)
    assert len(conflicts(net)) == 1


@BOTH
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_when_two_meet_after_a_partition_the_younger_exits(keyring: Keyring | None, seed: int) -> None:
    net = Judged(seed=seed, keyring=keyring)
    nodes = net.grown(6)
    net.run(3)
    net.divide([nodes[3:]])
    net.run(20)
    twin = net.start("node5", where(70), seeds=[where(0)])
    assert net.run_until(lambda: twin.membership.phase is Phase.ACTIVE, net.now + 5)
    net.run(40)
    net.heal()
    assert net.run_until(net.quiet, net.now + 60)
    assert not twin.running
    assert nodes[4].running
    ((_, conflict),) = conflicts(net)
    assert conflict.holder.generation == FIRST_GENERATION
    assert nodes[4].membership.own.generation == FIRST_GENERATION


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_that_started_in_the_same_millisecond_the_one_at_the_lower_address_stays(first: int) -> None:
    net = Judged()
    net.grown(3)
    net.run(3)
    places = [first, 1 - first]
    twins = [net.start("twin", where(80 + i), seeds=[where(i)], generation=FIRST_GENERATION) for i in places]
    assert net.run_until(net.quiet, 30)
    assert [node.address for node in twins if node.running] == [where(80)]
    assert [event.holder.address for _, event in conflicts(net)] == [where(80)]


# Partitions, lost memory


@BOTH
def test_a_partition_longer_than_all_gossip_heals(keyring: Keyring | None) -> None:
    """memberlist#222: both halves had forgotten each other."""
    net = Judged(seed=6, keyring=keyring)
    nodes = net.grown(10)
    net.run(2)
    net.divide([nodes[4:]])
    net.run(602)
    assert all(len(node.membership.members()) in (4, 6) for node in nodes)
    before = len(net.events)
    net.heal()
    assert net.run_until(net.quiet, net.now + 60)
    after = [event.change for _, _, event in net.events[before:] if hasattr(event, "change")]
    assert Change.DEAD not in after, "healing kills nobody"


def test_a_half_without_seeds_remembers_where_the_others_were() -> None:
    net = Judged(seed=6)
    members = [Member(f"node{i}", FIRST_GENERATION, 0, where(i)) for i in range(6)]
    nodes = [net.start(m.name, m.address, members=members, generation=FIRST_GENERATION) for m in members]
    net.run(2)
    net.divide([nodes[3:]])
    net.run(60)
    net.heal()
    assert net.run_until(net.quiet, net.now + 60)


def test_what_gossip_missed_is_found_by_comparing() -> None:
    net = Judged(config=replace(FEEDS, sync_interval=1e6))  # so it is the fingerprints that tell
    nodes = net.grown(40)
    net.run(3)
    nodes[0].membership._rumours.accuse(nodes[0].membership.members()[9], State.DEAD, net.now)
    nodes[0].membership._core.queue.clear()
    net.settle(nodes[0])
    assert not net.agreed()
    assert net.run_until(net.quiet, net.now + 20)


def test_many_differences_are_mended_in_a_few_rounds() -> None:
    net = Judged(config=LAN)
    everybody = [Member(f"node{i:03}", FIRST_GENERATION, 0, where(i)) for i in range(100)]
    for i, member in enumerate(everybody):
        known = everybody[:50] if i < 50 else everybody[50:]
        net.start(member.name, member.address, members=known, generation=FIRST_GENERATION, seeds=[where(0)])
    assert net.run_until(net.agreed, 30)


def test_the_remembered_and_the_buried_are_bounded() -> None:
    net = Judged(config=replace(FEEDS, max_tombstones=20, max_remembered=10, max_members=50))
    node = net.start("node0", where(0), members=[Member("node1", FIRST_GENERATION, 0, where(1))])
    for i in range(2, 300):
        tell(net, node, Heard(Member(f"node{i}", FIRST_GENERATION, 0, where(i))))
        if i % 2:
            tell(net, node, Heard(Accusation(State.DEAD, f"node{i}", FIRST_GENERATION, 0, "x")))
    roster = node.membership._core.roster
    assert (len(roster.graves), len(roster.remembered), roster.live) == (20, 10, 50)
    assert node.membership.stats.rumours_refused > 0
    net.run(100)


def test_tombstones_are_forgotten_after_their_time() -> None:
    net = Judged(config=replace(FEEDS, tombstone_seconds=100.0))
    nodes = net.grown(3)
    net.kill(nodes[2])
    net.run(60)
    assert "node3" in states(nodes[0])
    net.run(200)
    assert "node3" not in states(nodes[0])
    assert where(2) in nodes[0].membership._core.roster.remembered, "its address is tried for ever"


# Another address


@BOTH
@pytest.mark.parametrize("apart", [0.0, 40.0])
def test_a_member_that_comes_back_with_another_address_is_found_there(apart: float, keyring: Keyring | None) -> None:
    """A container taken from its network and put back: others had buried it, or had not noticed."""
    net = Judged(keyring=keyring)
    nodes = net.grown(5)
    net.run(3)
    net.divide([[nodes[2]]])
    net.run(net.now + apart)
    net.heal()
    net.move(nodes[2], where(90))
    assert net.run_until(net.quiet, net.now + 30)
    seen = {member.address for node in nodes for member in node.membership.members() if member.name == "node3"}
    assert seen == {where(90)}
    net.move(nodes[2], where(2))
    assert net.run_until(net.quiet, net.now + 30)
    assert not conflicts(net), "its own former word is not another process"
    deaths = net.changes("node3").count(Change.DEAD)
    net.run(net.now + 20)
    assert net.changes("node3").count(Change.DEAD) == deaths


def test_another_address_must_be_one() -> None:
    net = Judged()
    node = net.start("node1", where(0))
    with pytest.raises(ValueError, match="port"):
        node.membership.set_address(("10.0.0.1", 0), 0.0)
    assert node.membership.own.address == where(0)


# Meta


def test_meta_reaches_everybody_and_costs_an_incarnation() -> None:
    net = Judged()
    nodes = net.grown(8)
    net.run(3)
    nodes[0].membership.set_meta(b"room=3", net.now)
    nodes[0].membership.set_meta(b"room=3", net.now)
    net.settle(nodes[0])
    assert net.run_until(net.agreed, net.now + 3)
    seen = [node.membership.member("node1") for node in nodes]
    assert {(one.meta, one.incarnation) for one in seen if one} == {(b"room=3", 1)}
    assert net.changes("node1") == [Change.CHANGED] * 7


def test_meta_has_a_bound_and_the_old_stays() -> None:
    net = Judged()
    node = net.start("node1", where(0), meta=b"old")
    with pytest.raises(ValueError, match="at most 512 bytes of meta, got 513"):
        node.membership.set_meta(bytes(513), 0.0)
    assert node.membership.own.meta == b"old"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "node name"),
        ({"name": "x" * 65}, "node name"),
        ({"generation": 0}, "generation"),
        ({"address": ("localhost", 1)}, "localhost"),
        ({"meta": bytes(513)}, "meta"),
        ({"secret": b"short"}, "32 secret bytes"),
        ({"cluster": ""}, "cluster name"),
        ({"seeds": [("seed.example", 1)]}, "seed"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], says: str) -> None:
    right: dict[str, object] = {
        "name": "a", "generation": 1, "address": where(0), "cluster": CLUSTER, "rng": Random(1), "secret": bytes(32),
        "now": 0.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=says):
        Membership(**{**right, **wrong})  # type: ignore[arg-type]  # one value per case


def test_equal_inputs_give_equal_outputs() -> None:
    sent: list[list[tuple[bytes, object, object]]] = [[], []]
    for log in sent:
        net = Judged(seed=9, loss=0.1, keyring=Keyring([bytes(32)]))
        net.tap = lambda data, source, destination, log=log: log.append((data, source, destination))
        nodes = net.grown(5)
        net.run(5)
        net.kill(nodes[0])
        net.run(12)
    assert sent[0] == sent[1]
    assert len(sent[0]) > 100
