"""The publisher's plain numbers, read by metrics, health and the status page."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


class Latency:
    """Quantiles over the last `size` durations, in seconds."""

    def __init__(self, size: int = 4096) -> None:
        self._recent: deque[float] = deque(maxlen=size)
        self.count = 0
        self.total = 0.0

    def extend(self, seconds: Iterable[float]) -> None:
        for value in seconds:
            self._recent.append(value)
            self.count += 1
            self.total += value

    def quantile(self, q: float) -> float | None:
        """The q-quantile (0 … 1) of the recent durations; None when there are none."""
        if not self._recent:
            return None
        ordered = sorted(self._recent)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    @property
    def p50(self) -> float | None:
        return self.quantile(0.5)

    @property
    def p99(self) -> float | None:
        return self.quantile(0.99)


@dataclass(slots=True)
class PublisherStats:
    """Counts since the start, and the present state."""

    put: int = 0
    sent: int = 0
    """Handed to the Kafka client (each event once, whatever is sent again)."""
    acked: int = 0
    coalesced: int = 0
    """Older spread states merged into newer ones."""
    alive_superseded: int = 0
    """`alive` status events replaced by newer ones while Kafka was away."""
    trades_dropped: int = 0
    statuses_dropped: int = 0
    refused: int = 0
    """Events that Kafka would not take, had no partition, or could not be encoded."""
    fenced: int = 0
    """Events of a market that another node had taken by then: not published, for its streams have gone on there."""
    errors: int = 0
    reconnects: int = 0
    last_error: str | None = None
    queued: int = 0
    """Events not yet handed over."""
    in_flight: int = 0
    """Events handed over and not acknowledged."""
    oldest_seconds: float = 0.0
    """Age of the oldest event not yet handed over."""
    away_seconds: float = 0.0
    """How long Kafka has been away; 0 when it answers."""
    latency: Latency = field(default_factory=Latency)
    """From put to acknowledgement."""
