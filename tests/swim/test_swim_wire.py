"""The wire: what is written is read again; what is not of it is refused; bytes are pinned."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.swim import Keyring, Member, State
from level4.swim.config import MAX_META_BYTES, MAX_NAME_BYTES, MIN_PACKET_BYTES
from level4.swim.member import Accusation
from level4.swim.messages import (
    Ack,
    Answer,
    Challenge,
    Contact,
    Digest,
    Heard,
    Held,
    Hello,
    Message,
    More,
    Nack,
    Padding,
    Ping,
    PingRequest,
    Ranges,
    Sender,
    Told,
    Unknown,
    Want,
    Welcome,
    decode,
    encode,
)
from level4.swim.packet import NOBODY, Envelope, Refusal, RefusedError
from level4.swim.reading import MalformedError, Reader, address, number

names = st.text(min_size=1, max_size=16)
maybe = st.text(max_size=16)
generations = st.integers(1, (1 << 48) - 1)
incarnations = st.integers(0, (1 << 62) - 1)
sequences = st.integers(0, (1 << 32) - 1)
views = st.integers(0, (1 << 64) - 1)
cookies = st.binary(min_size=16, max_size=16)
addresses = st.tuples(st.ip_addresses().map(str).filter(lambda ip: "%" not in ip), st.integers(1, 65535))
members = st.builds(Member, names, generations, incarnations, addresses, st.binary(max_size=MAX_META_BYTES))
accusations = st.builds(
    Accusation, st.sampled_from([State.SUSPECT, State.DEAD, State.LEFT]), names, generations, incarnations, maybe
)
rumours = members | accusations
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Sender, names, generations, incarnations, views),
    st.builds(Ping, sequences, names, generations),
    st.builds(Ack, sequences),
    st.builds(Nack, sequences),
    st.builds(PingRequest, sequences, names, generations, addresses),
    st.builds(Heard, rumours),
    st.builds(Told, rumours),
    st.builds(Contact, members, st.lists(generations, max_size=8).map(tuple)),
    st.builds(Welcome, members),
    st.builds(Held, members),
    st.builds(Ranges, st.lists(st.tuples(maybe, maybe, views), max_size=16).map(tuple)),
    st.builds(Digest, maybe, maybe, st.lists(st.tuples(names, generations, incarnations), max_size=16).map(tuple)),
    st.builds(Want, st.lists(names, max_size=16).map(tuple)),
    st.builds(More, maybe, maybe),
    st.builds(Challenge, st.integers(0, 1 << 48), cookies),
    st.builds(Answer, cookies),
    st.just(Hello()),
    st.builds(Padding, st.integers(0, 1400)),
)


@given(st.lists(messages, max_size=6))
def test_what_is_written_is_read_again(sent: list[Message]) -> None:
    assert decode(b"".join(encode(message) for message in sent)) == sent


@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_body_cut_anywhere_but_between_parts_is_refused(sent: list[Message], data: st.DataObject) -> None:
    parts = [encode(message) for message in sent]
    body = b"".join(parts)
    cut = data.draw(st.integers(1, len(body) - 1))
    ends = {sum(map(len, parts[:i])) for i in range(len(parts) + 1)}
    if cut in ends:
        assert decode(body[:cut]) == sent[: sorted(ends).index(cut)]
    else:
        with pytest.raises(MalformedError):
            decode(body[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read = decode(body)
    except MalformedError:
        return
    assert len(read) <= len(body)


def test_a_part_of_an_unknown_kind_is_skipped() -> None:
    later = bytes([200]) + number(300) + bytes(300)
    body = encode(Ack(7)) + later + encode(Nack(8))
    assert decode(body) == [Ack(7), Unknown(200), Nack(8)]


@pytest.mark.parametrize(
    ("why", "body"),
    [
        ("bytes after the end", b"\x03\x02\x07\x00"),
        ("an empty name", b"\x02\x03\x01\x00\x01"),
        ("an unknown state", b"\x06\x06\x09\x01x\x01\x00\x00"),
        ("a text that is not UTF-8", b"\x02\x04\x01\x01\xff\x01"),
        ("a text that is too long", b"\x02\x02\x01\x41"),
        ("a number without an end", b"\x03\x0a" + b"\xff" * 10),
        ("a part without a length", b"\x03"),
        ("a part without a length", b"\x03\xff\xff\xff\xff"),
        ("a part longer than its packet", b"\x03\x05\x01"),
        ("an address of an unknown family", b"\x05\x0b\x01\x01x\x01\x05\x0a\x00\x00\x01\x00\x01"),
        ("port 0", b"\x05\x0b\x01\x01x\x01\x04\x0a\x00\x00\x01\x00\x00"),
        ("a generation or incarnation", encode(Heard(Accusation(State.DEAD, "x", 1 << 48, 0, "")))),
        ("a generation or incarnation", encode(Heard(Accusation(State.DEAD, "x", 1, 1 << 62, "")))),
        ("bytes beyond their bound", encode(Heard(Member("x", 1, 0, ("1.2.3.4", 5), bytes(MAX_META_BYTES + 1))))),
        ("an accusation where a record", b"\x09\x06\x02\x01x\x01\x00\x00"),
        ("too many parts", encode(Ack(1)) * 513),
    ],
)
def test_malformed(why: str, body: bytes) -> None:
    with pytest.raises(MalformedError, match=why):
        decode(body)


def test_the_bytes_are_these() -> None:
    """Other versions must read them: a change here is a change of the protocol."""
    member = Member("a", 300, 2, ("10.0.0.1", 7946), b"m")
    accused = Accusation(State.SUSPECT, "a", 300, 2, "b")
    parts: list[Message] = [Sender("a", 300, 2, 5), Ping(5, "a", 300), Ack(128), Heard(member), Told(accused)]
    assert [encode(part).hex() for part in parts] == [
        "010d0161ac02020000000000000005",
        "0205050161ac02",
        "03028001",
        "060f000161ac0202040a0000011f0a016d",
        "0708010161ac02020162",
    ]
    assert Envelope("c", bytes(8), None).close(b"body", NOBODY) == b"L4\x01\x00\x01cbody"


@pytest.mark.parametrize("wrong", [("host.example", 1), ("10.0.0.1", 0), ("10.0.0.1", 65536), ("fe80::1%eth0", 1)])
def test_an_address_must_be_an_ip_address_and_a_port(wrong: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="IP"):
        address(wrong)


def test_an_address_of_either_family_is_read_again() -> None:
    assert Reader(address(("10.0.0.1", 80))).address() == ("10.0.0.1", 80)
    assert Reader(address(("::1", 80))).address() == ("::1", 80)


def test_the_largest_record_fits_the_smallest_packet() -> None:
    name = "x" * MAX_NAME_BYTES
    largest = Member(name, (1 << 48) - 1, (1 << 62) - 1, ("ffff:" * 7 + "ffff", 65535), bytes(MAX_META_BYTES))
    parts: list[Message] = [Sender(name, (1 << 48) - 1, (1 << 62) - 1, (1 << 64) - 1), Answer(bytes(16))]
    parts += [Ping(1 << 31, name, (1 << 48) - 1), Heard(largest)]
    envelope = Envelope("c" * 64, bytes(8), Keyring([bytes(32)]))
    assert envelope.overhead + sum(len(encode(part)) for part in parts) <= MIN_PACKET_BYTES


# Datagrams


def refusal(envelope: Envelope, data: bytes) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        envelope.open(data)
    return caught.value.reason


def envelope(*keys: int, cluster: str = "c", session: int = 1) -> Envelope:
    keyring = Keyring([bytes([key]) * 32 for key in keys]) if keys else None
    return Envelope(cluster, struct.pack(">Q", session), keyring)


def test_in_clear() -> None:
    assert envelope().open(envelope().close(b"hi", NOBODY)).body == b"hi"


def test_sealed_and_what_is_known_of_it() -> None:
    sender, receiver = envelope(1, session=5), envelope(1, session=6)
    first = receiver.open(sender.close(b"hi", receiver.session))
    second = receiver.open(sender.close(b"hi", NOBODY))
    assert (first.body, first.sender, first.to, first.counter) == (b"hi", sender.session, receiver.session, 1)
    assert (second.to, second.counter) == (NOBODY, 2)


def test_equal_bodies_never_look_equal() -> None:
    sender = envelope(1)
    assert sender.close(b"hi", NOBODY)[-20:] != sender.close(b"hi", NOBODY)[-20:]
    assert envelope(1, session=2).close(b"hi", NOBODY)[-20:] != envelope(1, session=3).close(b"hi", NOBODY)[-20:]


@pytest.mark.parametrize(
    ("sender", "receiver", "reason"),
    [
        (envelope(cluster="d"), envelope(), Refusal.FOREIGN),
        (envelope(cluster="cc"), envelope(), Refusal.FOREIGN),
        (envelope(), envelope(1), Refusal.UNSEALED),
        (envelope(1, session=2), envelope(), Refusal.SEALED),
        (envelope(2, session=2), envelope(1), Refusal.UNKNOWN_KEY),
        (envelope(1), envelope(1), Refusal.OWN),
    ],
)
def test_refused(sender: Envelope, receiver: Envelope, reason: Refusal) -> None:
    assert refusal(receiver, sender.close(b"hi", NOBODY)) is reason


def test_each_bit_is_authentic() -> None:
    sender, receiver = envelope(1, session=2), envelope(1)
    data = sender.close(b"hi", receiver.session)
    reasons = set()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        reasons.add(refusal(receiver, bytes(changed)))
    assert reasons == {
        Refusal.MALFORMED, Refusal.VERSION, Refusal.FOREIGN, Refusal.UNSEALED, Refusal.UNKNOWN_KEY, Refusal.UNAUTHENTIC,
    }  # fmt: skip


def test_cut_anywhere_it_is_refused() -> None:
    data = envelope(1, session=2).close(b"hi", NOBODY)
    for length in range(len(data)):
        refusal(envelope(1), data[:length])
    refusal(envelope(), b"L4\x01\x00\x01c" + bytes(70_000))


def test_keys_are_changed_without_downtime() -> None:
    """Old only → both, old first → both, new first → new only; neighbours in that row understand each other."""
    steps = [(1,), (1, 2), (2, 1), (2,)]
    for one, other in pairwise(steps):
        for sender, receiver in ((one, other), (other, one)):
            assert envelope(*receiver).open(envelope(*sender, session=2).close(b"hi", NOBODY)).body == b"hi"
    assert refusal(envelope(2), envelope(1, session=2).close(b"hi", NOBODY)) is Refusal.UNKNOWN_KEY


@pytest.mark.parametrize("keys", [[], [b"short"], [bytes(32), bytes(31)]])
def test_wrong_keys_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="keys of 32 bytes"):
        Keyring(keys)


@pytest.mark.parametrize("cluster", ["", "c" * 65])
def test_a_cluster_name_has_bounds(cluster: str) -> None:
    with pytest.raises(ValueError, match="cluster name of 1 to 64 bytes"):
        Envelope(cluster, bytes(8), None)
