"""Plain counters of one market, kept here and read by others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Cause(StrEnum):
    """What kinds of gaps there are."""

    SEQUENCE = "sequence"
    CHECKSUM = "checksum"
    CROSSED = "crossed"
    ROW = "row"
    NUMBER = "number"
    """A best price or size that is none."""
    FRAME = "frame"
    """A frame that could not be handled."""
    SNAPSHOT = "snapshot"
    """None came, or it came too late."""
    DEPTH = "depth"
    """The best left the part of the book that is known."""
    CONNECTION = "connection"
    SUBSCRIPTION = "subscription"
    """Subscribed anew while the book was good."""


@dataclass(slots=True)
class MarketStats:
    gaps: Counter[Cause] = field(default_factory=Counter)
    """Marked in the stream: trust in a book ended. By cause."""
    breaks: Counter[Cause] = field(default_factory=Counter)
    """Every proof that a book is wrong, also of one that was not trusted yet."""
    deepened: int = 0
    """Deeper snapshots that were taken over without a break."""
    resyncs: int = 0
    """Attempts to get the book anew that were decided on by the market."""
    probes: int = 0
    probes_failed: int = 0
    """Not answered, or answered with another book."""
    stale: int = 0
    crossed: int = 0
    """Books found crossed or locked; short ones are common and no fault."""
    halted: int = 0
    switched: int = 0
    """Changes to another connection without a break."""
    bad_times: int = 0
    """Exchange times that could not be read."""
    clock_us: int | None = None
    """Least difference between receive time and exchange time in the last minute, in microseconds."""
    trades_lost: int = 0
    """Known from their numbers."""
    trades_repeated: int = 0
    """Dropped, because two connections brought them."""
