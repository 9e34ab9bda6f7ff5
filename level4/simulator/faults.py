"""Faults on demand, the same for every protocol and for recordings.

A fault is asked for ahead of time and waits for the next frames (or requests) that match it; each time it strikes it
is counted, so that a test can prove that what it asked for happened. Faults of a connection as a whole (stall, close,
reset) strike at once.

What each does to a frame: DROP loses it, DUPLICATE sends it twice, REORDER swaps it with the next frame of the same
market and channel, DELAY holds it (and what follows on that connection) for `seconds`, CORRUPT changes one digit of
the first level's size and leaves checksum and numbers alone, TRUNCATE sends its first half, GARBAGE sends something
that is not JSON in its place, BINARY sends its bytes in a binary message, OVERSIZE pads it with white space to
`size` bytes.

A stalled connection stays open and keeps what it should send until it is released; a stall of one market loses that
market's frames (as when an exchange forgets a subscription).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec


class FaultKind(StrEnum):
    DROP = "drop"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DELAY = "delay"
    CORRUPT = "corrupt"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    BINARY = "binary"
    OVERSIZE = "oversize"
    STALL = "stall"
    UNSTALL = "unstall"
    CLOSE = "close"
    RESET = "reset"
    REFUSE_SUBSCRIPTION = "refuse_subscription"
    REFUSE_CONNECTION = "refuse_connection"
    REST_STATUS = "rest_status"


FRAME_FAULTS: Final = frozenset(list(FaultKind)[:9])
"""Wait for a frame."""
AT_ONCE: Final = frozenset({FaultKind.STALL, FaultKind.UNSTALL, FaultKind.CLOSE, FaultKind.RESET})
"""Strike the connections that are open now."""


class Channel(StrEnum):
    """What a frame carries. CONTROL: acks, heartbeats, status. DATA: a recorded frame, whatever it carries."""

    BOOK = "book"
    TRADES = "trades"
    CONTROL = "control"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Frame:
    """One outgoing message."""

    data: str | bytes
    channel: Channel = Channel.CONTROL
    market: str | None = None
    """Native symbol; None when it belongs to no market or to several."""
    top: bool = True
    """Whether its first level is among the ten best of its side: what a checksum covers."""


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What to break. A filter that is None matches everything."""

    kind: FaultKind
    count: int = 1
    """How many frames, requests or connections it strikes."""
    after: int = 0
    """How many matching frames pass before."""
    exchange: str | None = None
    market: str | None = None
    channel: Channel | None = None
    """None: book, trades and recorded data, but not control frames."""
    session: int | None = None
    seconds: float = 1.0
    """DELAY: how long."""
    size: int = 8 * 2**20
    """OVERSIZE: bytes of the message."""
    code: int = 1001
    """CLOSE: WebSocket close code."""
    status: int = 503
    """REST_STATUS, REFUSE_CONNECTION: HTTP status."""
    retry_after: int | None = None
    """REST_STATUS: the header, in seconds."""
    path: str | None = None
    """REST_STATUS: only requests whose path contains this."""

    def matches_frame(self, exchange: str, session: int, frame: Frame) -> bool:
        if self.kind not in FRAME_FAULTS or not self.matches_session(exchange, session):
            return False
        if frame.channel is not self.channel and not (self.channel is None and frame.channel is not Channel.CONTROL):
            return False
        if self.market is not None and self.market != frame.market:
            return False
        return self.kind is not FaultKind.CORRUPT or (frame.top and corrupt(frame.data) != frame.data)

    def matches_session(self, exchange: str, session: int) -> bool:
        return self.exchange in (None, exchange) and self.session in (None, session)


class FaultPlan:
    """The faults that wait, and how many struck."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []
        self.struck: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        self.pending.append(fault)

    def for_frame(self, exchange: str, session: int, frame: Frame) -> Fault | None:
        """The fault that strikes this frame, if any. Counted."""
        for fault in self.pending:
            if fault.matches_frame(exchange, session, frame):
                return self._strike(fault)
        return None

    def for_connection(self, exchange: str) -> Fault | None:
        for fault in self.pending:
            if fault.kind is FaultKind.REFUSE_CONNECTION and fault.exchange in (None, exchange):
                return self._strike(fault)
        return None

    def for_subscription(self, exchange: str, session: int, market: str) -> bool:
        for fault in self.pending:
            if (
                fault.kind is FaultKind.REFUSE_SUBSCRIPTION
                and fault.matches_session(exchange, session)
                and fault.market in (None, market)
                and self._strike(fault)
            ):
                return True
        return False

    def for_request(self, exchange: str, path: str) -> Fault | None:
        for fault in self.pending:
            wanted = fault.kind is FaultKind.REST_STATUS and fault.exchange in (None, exchange)
            if wanted and (fault.path is None or fault.path in path):
                return self._strike(fault)
        return None

    def _strike(self, fault: Fault) -> Fault | None:
        if fault.after > 0:
            fault.after -= 1
            return None
        fault.count -= 1
        if fault.count <= 0:
            self.pending.remove(fault)
        self.struck[fault.kind] += 1
        return fault


_SIZES = (
    re.compile(r'"(?:qty|new_quantity|size)":\s*"?([0-9.]+)'),
    re.compile(r'\[\s*"(?:buy|sell)",\s*"[0-9.]+",\s*"([0-9.]+)"'),
    re.compile(r'\["(?:new|change)",[0-9.e-]+,([0-9.]+)'),
    re.compile(r'\[[0-9.e-]+,[1-9][0-9]*,-?([0-9.]+)'),
    re.compile(r'\[\s*"?[0-9.]+"?,\s*"?([0-9.]+)"?\s*[\],]'),
)
"""Where the size of a level stands in the protocols' frames."""


def corrupt(data: str | bytes) -> str | bytes:
    """The frame with one digit of the first level's size changed; the frame itself when it has no level."""
    if isinstance(data, bytes):
        return data
    for pattern in _SIZES:
        if found := pattern.search(data):
            text = found.group(1)
            at = next((i for i, digit in enumerate(text) if digit not in "0."), len(text) - 1)
            if not text[at].isdigit():
                return data
            at += found.start(1)
            return data[:at] + str(int(data[at]) % 9 + 1) + data[at + 1 :]
    return data


def truncate(data: str | bytes) -> str | bytes:
    return data[: len(data) // 2]


def garbage(data: str | bytes) -> str:
    """As when a proxy answers in the exchange's place."""
    return f"<html>upstream error, {len(data)} bytes lost</html>"


def binary(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def oversize(data: str | bytes, size: int) -> str | bytes:
    lacking = max(0, size - len(data))
    return data + " " * lacking if isinstance(data, str) else data + b" " * lacking
