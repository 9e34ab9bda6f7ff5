"""Plain counters that the room keeps and others read: nothing here acts.

Names that come from outside (kinds of messages and errors) are bounded: an exchange that invents a new kind with every
message fills one `other`, not the memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from level4.exchanges.scheme import Channel
from level4.market import MarketStats
from level4.model import FeedState, Instrument, MarketRequest

_KINDS = 100


class Kinds(Counter[str]):
    """Counts by kind. `add` answers the new count of that kind."""

    def add(self, kind: str) -> int:
        if kind not in self and len(self) >= _KINDS:
            kind = "other"
        self[kind] += 1
        return self[kind]


def worth_logging(count: int) -> bool:
    """The first, the tenth, the hundredth, … of a kind: a fault is seen at once and cannot flood the log."""
    while count % 10 == 0:
        count //= 10
    return count == 1


@dataclass(slots=True)
class ConnectionStats:
    protocol: str
    address: str
    markets: int = 0
    up: bool = False
    since: float | None = None
    """Monotonic seconds since when the socket is open."""
    frames: int = 0
    bytes: int = 0
    sent: int = 0
    """Messages sent."""
    dropped: int = 0
    """Calls for a symbol that is not (or no longer) ours."""
    attempts: int = 0
    connects: int = 0
    refused: int = 0
    """Attempts answered with an HTTP status instead of a socket."""
    disconnects: int = 0
    sequence_breaks: int = 0
    silences: int = 0
    unknown: Kinds = field(default_factory=Kinds)
    errors: Kinds = field(default_factory=Kinds)
    """Frames that could not be decoded or applied, by kind of exception."""
    notices: Kinds = field(default_factory=Kinds)
    refusals: int = 0
    bugs: int = 0
    """Restarts after an exception outside the handling of a frame."""
    last_reason: str = ""
    """Why the last socket ended."""


@dataclass(slots=True)
class FeedStats:
    frame_gaps: int = 0
    """Gaps declared because a frame could not be handled or the connection's sequence broke."""
    resubscribes: int = 0
    snapshots: int = 0
    """Snapshots fetched by REST and handed to the market."""
    snapshot_errors: int = 0
    reconnects: int = 0
    """Reconnections this market asked for."""
    restarts: int = 0
    """Restarts of the market's task after a bug."""
    market: MarketStats = field(default_factory=MarketStats)
    """What the market itself counts: gaps by cause, resyncs, probes …"""


@dataclass(frozen=True, slots=True)
class FeedView:
    """One market as an operator sees it."""

    request: MarketRequest
    instrument: Instrument
    term: int
    state: FeedState
    channels: dict[Channel, str]
    """Address that carries each channel."""
    stats: FeedStats
