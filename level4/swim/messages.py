"""What members say to each other: the parts of a packet's body.

A body is a row of parts, each `kind (1 byte), length (number), content`, so that a part of an unknown kind is skipped.
Kinds are never used again for something else. A packet is read whole before anything of it is applied.

| kind | part | says |
|---|---|---|
| 1 | Sender | who speaks, and the fingerprint of its view |
| 2 | Ping | are you (name, generation) alive? Only that life answers |
| 3 | Ack | yes; only for a probe that is pending |
| 4 | Nack | I was asked to ping for you, and got no answer so far |
| 5 | PingRequest | ping (name, generation) for me |
| 6 | Heard | a rumour |
| 7 | Told | the same from a member's table, not as news: a death told so is only suspected |
| 8 | Contact | I want in, here is my record, and the lives of my name that I have found silent |
| 9 | Welcome | you are in; my record |
| 10 | Held | your name is held by this one |
| 11 | Ranges | fingerprints of ranges of names of my view |
| 12 | Digest | what I know in a range of names |
| 13 | Want | tell me of these |
| 14 | More | my answer ended at this name: ask on from there |
| 15 | Challenge | your packet of that number came, but I do not know your session: prove that you live |
| 16 | Answer | here is your cookie |
| 17 | Hello | (multicast) I am here |
| 18 | Padding | nothing; zeros |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from level4.swim.config import MAX_META_BYTES
from level4.swim.member import Accusation, Address, Member, Rumour, State
from level4.swim.reading import MalformedError, Reader, address, blob, number, text

MAX_PARTS: Final = 512
MAX_GENERATION: Final = 1 << 48
MAX_INCARNATION: Final = 1 << 62
MAX_SILENT: Final = 8
COOKIE_BYTES: Final = 16


class Sender(NamedTuple):
    name: str
    generation: int
    incarnation: int
    view: int


class Ping(NamedTuple):
    sequence: int
    name: str
    generation: int


class Ack(NamedTuple):
    sequence: int


class Nack(NamedTuple):
    sequence: int


class PingRequest(NamedTuple):
    sequence: int
    name: str
    generation: int
    address: Address


class Heard(NamedTuple):
    rumour: Rumour


class Told(NamedTuple):
    rumour: Rumour


class Contact(NamedTuple):
    member: Member
    silent: tuple[int, ...]


class Welcome(NamedTuple):
    member: Member


class Held(NamedTuple):
    member: Member


class Ranges(NamedTuple):
    ranges: tuple[tuple[str, str, int], ...]
    """(first name, name after the last, fingerprint). Empty names: from the start, to the end."""


class Digest(NamedTuple):
    first: str
    end: str
    entries: tuple[tuple[str, int, int], ...]
    """(name, generation, incarnation) of the live members in it."""


class Want(NamedTuple):
    names: tuple[str, ...]


class More(NamedTuple):
    first: str
    end: str


class Challenge(NamedTuple):
    counter: int
    cookie: bytes


class Answer(NamedTuple):
    cookie: bytes


class Hello(NamedTuple):
    pass


class Padding(NamedTuple):
    length: int


class Unknown(NamedTuple):
    kind: int


Message = (
    Sender | Ping | Ack | Nack | PingRequest | Heard | Told | Contact | Welcome | Held
    | Ranges | Digest | Want | More | Challenge | Answer | Hello | Padding | Unknown
)  # fmt: skip


def _life(name: str, generation: int, incarnation: int) -> bytes:
    return text(name) + number(generation) + number(incarnation)


def _rumour(rumour: Rumour) -> bytes:
    start = bytes((rumour.state,)) + _life(rumour.name, rumour.generation, rumour.incarnation)
    if isinstance(rumour, Accusation):
        return start + text(rumour.accuser)
    return start + address(rumour.address) + blob(rumour.meta)


def encode(message: Message) -> bytes:
    """The part. Raises ValueError for an address that is none."""
    match message:
        case Sender(name, generation, incarnation, view):
            kind, content = 1, _life(name, generation, incarnation) + view.to_bytes(8, "big")
        case Ping(sequence, name, generation):
            kind, content = 2, number(sequence) + text(name) + number(generation)
        case Ack(sequence):
            kind, content = 3, number(sequence)
        case Nack(sequence):
            kind, content = 4, number(sequence)
        case PingRequest(sequence, name, generation, where):
            kind, content = 5, number(sequence) + text(name) + number(generation) + address(where)
        case Heard(rumour):
            kind, content = 6, _rumour(rumour)
        case Told(rumour):
            kind, content = 7, _rumour(rumour)
        case Contact(member, silent):
            kind, content = 8, _rumour(member) + b"".join(number(one) for one in silent[-MAX_SILENT:])
        case Welcome(member):
            kind, content = 9, _rumour(member)
        case Held(member):
            kind, content = 10, _rumour(member)
        case Ranges(ranges):
            parts = (text(first) + text(end) + view.to_bytes(8, "big") for first, end, view in ranges)
            kind, content = 11, b"".join(parts)
        case Digest(first, end, entries):
            kind, content = 12, text(first) + text(end) + b"".join(_life(*entry) for entry in entries)
        case Want(names):
            kind, content = 13, b"".join(text(name) for name in names)
        case More(first, end):
            kind, content = 14, text(first) + text(end)
        case Challenge(counter, cookie):
            kind, content = 15, number(counter) + cookie
        case Answer(cookie):
            kind, content = 16, cookie
        case Hello():
            kind, content = 17, b""
        case Padding(length):
            kind, content = 18, bytes(length)
        case Unknown(kind):
            content = b""
    return bytes((kind,)) + number(len(content)) + content


def _read_life(reader: Reader) -> tuple[str, int, int]:
    name, generation, incarnation = reader.name(), reader.number(), reader.number()
    if generation >= MAX_GENERATION or incarnation >= MAX_INCARNATION:
        raise MalformedError("a generation or incarnation beyond its bound")
    return name, generation, incarnation


def _read_rumour(reader: Reader) -> Rumour:
    state = reader.take(1)[0]
    if state > State.LEFT:
        raise MalformedError("an unknown state")
    life = _read_life(reader)
    if state != State.ALIVE:
        return Accusation(State(state), *life, reader.text())
    return Member(*life, reader.address(), reader.blob(MAX_META_BYTES))


def _read_member(reader: Reader) -> Member:
    rumour = _read_rumour(reader)
    if not isinstance(rumour, Member):
        raise MalformedError("an accusation where a record belongs")
    return rumour


@lru_cache(maxsize=4096)
def _whole_rumour(content: bytes) -> Rumour:
    """Each rumour comes to each member several times."""
    reader = Reader(content)
    rumour = _read_rumour(reader)
    reader.end()
    return rumour


def _sender(reader: Reader) -> Sender:
    return Sender(*_read_life(reader), int.from_bytes(reader.take(8), "big"))


def _contact(reader: Reader) -> Contact:
    member, silent = _read_member(reader), list[int]()
    while reader.left() and len(silent) < MAX_SILENT:
        silent.append(reader.number())
    return Contact(member, tuple(silent))


def _ranges(reader: Reader) -> Ranges:
    ranges = []
    while reader.left():
        ranges.append((reader.text(), reader.text(), int.from_bytes(reader.take(8), "big")))
    return Ranges(tuple(ranges))


def _digest(reader: Reader) -> Digest:
    first, end, entries = reader.text(), reader.text(), []
    while reader.left():
        entries.append(_read_life(reader))
    return Digest(first, end, tuple(entries))


def _want(reader: Reader) -> Want:
    names = []
    while reader.left():
        names.append(reader.name())
    return Want(tuple(names))


_READERS: Final[dict[int, Callable[[Reader], Message]]] = {
    1: _sender,
    2: lambda reader: Ping(reader.number(), reader.name(), reader.number()),
    3: lambda reader: Ack(reader.number()),
    4: lambda reader: Nack(reader.number()),
    5: lambda reader: PingRequest(reader.number(), reader.name(), reader.number(), reader.address()),
    8: _contact,
    9: lambda reader: Welcome(_read_member(reader)),
    10: lambda reader: Held(_read_member(reader)),
    11: _ranges,
    12: _digest,
    13: _want,
    14: lambda reader: More(reader.text(), reader.text()),
    15: lambda reader: Challenge(reader.number(), reader.take(COOKIE_BYTES)),
    16: lambda reader: Answer(reader.take(COOKIE_BYTES)),
    17: lambda reader: Hello(),
    18: lambda reader: Padding(reader.rest()),
}


def decode(body: bytes) -> list[Message]:
    """All parts of a body. Raises MalformedError, and then nothing of it counts."""
    messages: list[Message] = []
    at, size = 0, len(body)
    while at < size:
        kind = body[at]
        at += 1
        length = shift = 0
        while True:
            if at >= size or shift > 14:
                raise MalformedError("a part without a length")
            byte = body[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        end = at + length
        if end > size:
            raise MalformedError("a part longer than its packet")
        if len(messages) >= MAX_PARTS:
            raise MalformedError("too many parts")
        content = body[at:end]
        at = end
        if kind == 6:
            messages.append(Heard(_whole_rumour(content)))
        elif kind == 7:
            messages.append(Told(_whole_rumour(content)))
        elif read := _READERS.get(kind):
            reader = Reader(content)
            messages.append(read(reader))
            reader.end()
        else:
            messages.append(Unknown(kind))
    return messages
