"""Recorded packets are worthless, strangers cost nothing, first contact loses nothing."""

from __future__ import annotations

import copy
from random import Random

import pytest
from virtual import Judged, states

from level4.swim import Keyring, Refusal, State
from level4.swim.member import Accusation, Address
from level4.swim.messages import Answer, Challenge, Heard, Ping, decode, encode
from level4.swim.packet import NOBODY, Envelope
from level4.swim.sessions import KEPT_SECONDS, WINDOW, Sessions
from level4.swim.simulation.network import CLUSTER, Node, where

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
Datagram = tuple[bytes, Address, Address]


def sealed(seed: object = 1, **options: object) -> Judged:
    return Judged(seed=seed, keyring=Keyring([OLD]), **options)


def recorded(net: Judged) -> list[Datagram]:
    tape: list[Datagram] = []
    net.tap = lambda data, source, destination: tape.append((data, source, destination))
    return tape


def belief(node: Node) -> tuple[object, ...]:
    membership = node.membership
    core = membership._core
    return (
        membership.view, membership.own, dict(core.roster.members), set(core.roster.suspicions), list(core.events),
        len(core.queue), membership.health, membership.phase, core.timers.next(), dict(core.roster.remembered),
    )  # fmt: skip


def a_history(net: Judged) -> list[Datagram]:
    """A tape with all there is: joins, a death, a refutation, meta, a departure."""
    tape = recorded(net)
    nodes = [net.start(f"node{i + 1}", where(i), seeds=[where(0)]) for i in range(6)]
    net.run(4)
    net.kill(nodes[5])
    nodes[1].membership._rumours.accuse(nodes[2].membership.own, State.SUSPECT, net.now)
    nodes[3].membership.set_meta(b"x", net.now)
    net.run(9)
    nodes[4].membership.leave(net.now)
    net.run(14)
    return list(tape)


def test_a_tape_played_again_does_nothing() -> None:
    """Every datagram that was ever sent, to everybody that is still there, from its true and from another address."""
    net = sealed()
    tape = a_history(net)
    assert len(tape) > 500
    for node in net.running():
        before = belief(node)
        dropped = node.membership.stats.dropped.total()
        for data, source, _ in tape:
            for address in (source, ("10.6.6.6", 666)):
                node.membership.receive_datagram(data, address, net.now)
        replies = node.membership.datagrams_to_send(net.now)
        assert belief(node) == before
        assert node.membership.stats.dropped.total() - dropped == 2 * len(tape)
        assert max(len(data) for data, _ in replies) < 90, "nothing but challenges"
        assert sum(len(data) for data, _ in replies) <= sum(2 * len(data) for data, _, _ in tape)
        node.membership.check()


def test_a_tape_played_to_a_restarted_receiver_does_nothing() -> None:
    net = sealed()
    tape = a_history(net)
    for joined in (False, True):
        again = net.start("node1", where(0), seeds=[where(1)])
        net.divide([] if joined else [[again]])
        net.run(net.now + 5)
        before = belief(again)
        for data, source, _ in tape:
            again.membership.receive_datagram(data, source, net.now)
        for data, address in again.membership.datagrams_to_send(net.now):
            net.send(data, again.address, address)  # the challenges reach those who once sent the packets
        assert belief(again) == before
        net.run(net.now + 0.05)
        expected = {"node2": State.ALIVE, "node3": State.ALIVE, "node4": State.ALIVE} if joined else {}
        live = {name: state for name, state in states(again).items() if state == State.ALIVE}
        assert live == expected
        net.kill(again)


def test_packets_for_one_receiver_are_nothing_to_another() -> None:
    net = sealed()
    nodes = net.grown(4)
    tape = recorded(net)
    net.run(6)
    for_second = [data for data, source, to in tape if to == where(1) and source != where(2)]
    before, replayed = belief(nodes[2]), nodes[2].membership.stats.dropped["replayed"]
    for data in for_second:
        nodes[2].membership.receive_datagram(data, where(0), net.now)
    assert belief(nodes[2]) == before
    assert nodes[2].membership.stats.dropped["replayed"] == replayed
    assert nodes[2].membership.stats.dropped["unknown_session"] >= len(for_second)


def test_first_contact_loses_nothing() -> None:
    """The very first ping between two processes gets its ack, one round trip later."""
    net = sealed()
    net.grown(2)
    net.run(8)
    for node in net.running():
        assert node.membership.stats.failed_probes == 0
        assert node.membership.stats.probes > 10
        assert node.membership.stats.challenges <= 1


def test_a_restarted_peer_is_known_again_at_once() -> None:
    net = sealed()
    nodes = net.grown(4)
    net.run(5)
    net.start("node2", where(1), seeds=[where(0)])
    assert net.run_until(net.agreed, net.now + 2)
    net.run(net.now + 10)
    assert sum(node.membership.stats.failed_probes for node in net.running()) <= 2
    assert nodes[0].running


def test_keys_are_rotated_while_running() -> None:
    net = sealed(seed=2)
    nodes = net.grown(5)
    rings = [Keyring([OLD, NEW]), Keyring([NEW, OLD]), Keyring([NEW])]
    net.run(3)
    for ring in rings:
        for node in nodes:
            node.membership.set_keyring(ring)
            net.run(net.now + 0.7)
    net.run(net.now + 5)
    assert not any(net.changes(f"node{i}") for i in range(1, 6))
    for node in nodes:
        assert set(node.membership.stats.dropped) <= {Refusal.UNKNOWN_SESSION}
    stranger = net.start("stranger", where(50), seeds=[where(0)])
    net.run(net.now + 3)
    assert len(stranger.membership.members()) == 1
    assert nodes[0].membership.stats.dropped[Refusal.UNKNOWN_KEY] > 0


def test_keys_cannot_be_begun_while_running() -> None:
    node = Judged().start("node1", where(0))
    with pytest.raises(ValueError, match="speaks in clear"):
        node.membership.set_keyring(Keyring([OLD]))


def test_strangers_cost_no_memory() -> None:
    """Authentic packets of sessions never seen, as many as one likes: challenged, and forgotten."""
    net = sealed()
    nodes = net.grown(2)
    net.run(3)
    target = nodes[0].membership
    sessions, before = len(target._core.outlet.sessions), belief(nodes[0])
    body = encode(Ping(1, "node1", target.own.generation))
    for i in range(3000):
        stranger = Envelope(CLUSTER, (1000 + i).to_bytes(8, "big"), Keyring([OLD]))
        target.receive_datagram(stranger.close(body, target._core.outlet.envelope.session), where(500 + i), net.now)
        target.datagrams_to_send(net.now)
    assert len(target._core.outlet.sessions) == sessions
    assert belief(nodes[0]) == before
    assert target.stats.challenges >= 3000


def test_a_challenge_is_not_larger_than_what_it_answers() -> None:
    net = sealed()
    node = net.grown(1)[0]
    stranger = Envelope(CLUSTER, bytes(8), Keyring([OLD]))
    data = stranger.close(encode(Heard(Accusation(State.DEAD, "node1", 1, 1, ""))) * 3, NOBODY)
    node.membership.receive_datagram(data, where(9), net.now)
    ((reply, _),) = node.membership.datagrams_to_send(net.now)
    assert len(reply) <= len(data)


def test_a_challenge_is_never_challenged() -> None:
    net = sealed()
    node = net.grown(1)[0]
    stranger = Envelope(CLUSTER, bytes(8), Keyring([OLD]))
    for to in (NOBODY, node.membership._core.outlet.envelope.session):
        node.membership.receive_datagram(stranger.close(encode(Challenge(1, bytes(16))), to), where(9), net.now)
    assert [address for _, address in node.membership.datagrams_to_send(net.now) if address == where(9)] == []
    assert node.membership.stats.dropped == {Refusal.UNKNOWN_SESSION: 1, Refusal.REPLAYED: 1}


@pytest.mark.parametrize("later", [0.0, 9.0, 31.0])
def test_a_cookie_is_of_one_session_one_address_and_one_time(later: float) -> None:
    sessions, other = Sessions(b"s" * 24, 10), Sessions(b"t" * 24, 10)
    cookie = sessions.cookie(b"session1", where(1), 100.0)
    assert sessions.paid(cookie, b"session1", where(1), 100.0 + later) is (later < 20.0)
    assert not sessions.paid(cookie, b"session2", where(1), 100.0)
    assert not sessions.paid(cookie, b"session1", where(2), 100.0)
    assert not other.paid(cookie, b"session1", where(1), 100.0)


def test_an_answer_with_a_wrong_cookie_is_challenged() -> None:
    net = sealed()
    node = net.grown(1)[0]
    stranger = Envelope(CLUSTER, bytes(8), Keyring([OLD]))
    data = stranger.close(encode(Answer(bytes(16))), node.membership._core.outlet.envelope.session)
    node.membership.receive_datagram(data, where(9), net.now)
    assert node.membership.stats.dropped == {Refusal.UNKNOWN_SESSION: 1}
    assert len(node.membership._core.outlet.sessions) == 0


def test_counters_may_be_reordered_but_not_repeated() -> None:
    sessions, rng = Sessions(bytes(24), 10), Random(1)
    assert sessions.fresh(b"s", 1, where(1), 0.0) is None
    assert sessions.accept(b"s", 100, where(1), 0.0)
    assert not sessions.fresh(b"s", 100, where(1), 0.0)
    assert not sessions.fresh(b"s", 99, where(1), 0.0), "older than the first that was believed"
    seen: set[int] = set()
    highest = 100
    for _ in range(3000):
        counter = max(101, highest + rng.randrange(-2 * WINDOW, 5))
        fresh = sessions.fresh(b"s", counter, where(1), 0.0)
        assert fresh is (counter not in seen and counter > highest - WINDOW)
        seen.add(counter)
        highest = max(highest, counter)


def test_sessions_are_bounded_and_those_that_speak_are_kept() -> None:
    sessions = Sessions(bytes(24), 2)
    assert sessions.accept(b"a", 1, where(1), 0.0)
    assert sessions.accept(b"b", 1, where(2), 0.0)
    assert not sessions.accept(b"c", 1, where(3), KEPT_SECONDS - 1)
    assert sessions.fresh(b"a", 2, where(1), KEPT_SECONDS)
    assert sessions.accept(b"c", 1, where(3), KEPT_SECONDS + 1)
    assert sessions.at(where(2)) is None
    assert sessions.at(where(1)) == b"a"
    sessions.check()


def test_a_session_that_moved_is_answered_where_it_is() -> None:
    sessions = Sessions(bytes(24), 2)
    sessions.accept(b"a", 1, where(1), 0.0)
    assert sessions.fresh(b"a", 3, where(2), 0.0)
    assert sessions.fresh(b"a", 2, where(1), 0.0), "late, from where it was"
    assert (sessions.at(where(1)), sessions.at(where(2))) == (None, b"a")
    sessions.check()


def test_what_is_challenged_is_sent_again_once() -> None:
    sessions = Sessions(bytes(24), 2)
    sessions.sent(7, b"body", 0.0)
    sessions.sent(8, b"late", 0.0)
    assert sessions.challenged(7, 1.0) == b"body"
    assert sessions.challenged(7, 1.0) is None
    assert sessions.challenged(8, 100.0) is None
    for i in range(1000):
        sessions.sent(100 + i, b"", 0.0)
    sessions.check()


# Fuzz


def spoilt(rng: Random, data: bytes, tape: list[bytes]) -> bytes:
    """A mutation of a datagram. Most keep the header."""
    start = 5 + data[4]
    out = bytearray(data)
    choice = rng.randrange(7)
    if choice == 0:
        return rng.randbytes(rng.randrange(1500))
    if choice == 1:
        return bytes(out[:start]) + rng.randbytes(rng.randrange(300))
    if choice == 2:
        return bytes(out[: rng.randrange(start, len(out) + 1)])
    if choice == 3:
        other = rng.choice(tape)
        cut = rng.randrange(start, len(out) + 1)
        return bytes(out[:cut]) + other[cut:]
    if choice == 4:
        return bytes(out) + rng.randbytes(rng.randrange(1, 50))
    low = start if choice == 5 else 0
    for _ in range(rng.randrange(1, 6)):
        out[rng.randrange(low, len(out))] = rng.randrange(256)
    return bytes(out)


def test_fuzz_sealed_nothing_changes() -> None:
    """20,000 datagrams that nobody with a key has made: all counted by reason, no state touched, and then it works."""
    rng, net = Random(7), sealed()
    tape = [data for data, _, _ in a_history(net)]
    genuine = set(tape)
    node = net.running()[0]
    membership = node.membership
    before, counted = belief(node), copy.copy(membership.stats.dropped)
    sessions, header = len(membership._core.outlet.sessions), 0
    for _ in range(20_000):
        data = spoilt(rng, rng.choice(tape), tape)
        if data in genuine:
            continue
        header += data[:5] == tape[0][:5]
        membership.receive_datagram(data, where(rng.randrange(10)), net.now)
    assert belief(node) == before
    assert membership.datagrams_to_send(net.now) == [], "not even answered"
    dropped = membership.stats.dropped - counted
    reasons = {Refusal.MALFORMED, Refusal.FOREIGN, Refusal.VERSION, Refusal.UNAUTHENTIC, Refusal.UNKNOWN_KEY}
    assert reasons <= set(dropped)
    assert dropped[Refusal.UNAUTHENTIC] + dropped[Refusal.UNKNOWN_KEY] > 6_000
    assert dropped.total() > 19_000
    assert header > 0.5 * 20_000
    assert len(membership._core.outlet.sessions) == sessions
    membership.check()
    net.start("new", where(80), seeds=[node.address])
    assert net.run_until(net.agreed, net.now + 5)


@pytest.mark.parametrize("keyring", [None, Keyring([OLD])], ids=["clear", "by a member"])
def test_fuzz_what_is_believed_never_raises_and_stays_in_bounds(keyring: Keyring | None) -> None:
    """In clear anybody may say anything, and so may whoever has a key: nothing raises, invariants and bounds hold."""
    rng, net = Random(8), Judged(keyring=keyring)
    envelope = Envelope(CLUSTER, NOBODY, None)
    clear = [data for data, _, _ in a_history(Judged(seed=3))]
    nodes = net.grown(3)
    node, peer = nodes[0].membership, nodes[1].membership
    net.run(5)
    read = 0
    for i in range(20_000):
        data = spoilt(rng, rng.choice(clear), clear)
        if keyring is not None:
            body = data[len(envelope.close(b"", NOBODY)) :]
            data = peer._core.outlet.envelope.close(body, node._core.outlet.envelope.session)
        malformed = node.stats.dropped.total()
        node.receive_datagram(data, where(1), net.now)
        read += node.stats.dropped.total() == malformed
        if i % 50 == 0:
            node.handle_timer(net.now + i / 1000)
            node.check()
        node.datagrams_to_send(net.now)
        while node.next_event():
            pass
    assert read > 2_000
    assert node.stats.dropped[Refusal.MALFORMED] > 2_000
    assert len(node._core.timers) < 5_000
    assert len(node._core.roster.members) < 3_000


def test_the_fuzz_of_bodies_reads_parts() -> None:
    tape = [data for data, _, _ in a_history(Judged(seed=3))]
    envelope = Envelope(CLUSTER, NOBODY, None)
    kinds = {type(part).__name__ for data in tape for part in decode(envelope.open(data).body)}
    assert {"Sender", "Ping", "Ack", "Nack", "PingRequest", "Heard", "Contact", "Welcome", "Digest"} <= kinds
