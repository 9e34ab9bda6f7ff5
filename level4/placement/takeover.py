"""When a host may be taken for gone, and the clock that this is judged by.

A host is gone when it left in order; when membership says it is dead **and** no record of it has come for
`DEAD_SECONDS`; or when none has come for `SILENT_SECONDS`, whatever membership says.

The clock (`Silence`) runs only while one's own records come back from the log: the log is read in order, so when a
record of one's own arrives, everything others wrote before it has arrived too. A reader that was paused, or that is
itself cut off, therefore sees no silence in others; it sees that it knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from level4.placement.fold import Entry
from level4.placement.records import Desired

INTERVAL_SECONDS: Final = 1.0
"""How often a node writes its record."""
DEAD_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 2.5
"""A node whose own record of the last so many seconds has not come back publishes nothing until one does. Less than
`DEAD_SECONDS`: whoever is taken over has fallen silent before."""
_MOST_PER_RECORD: Final = 2 * INTERVAL_SECONDS
"""What one own record can add to the clock, however late it comes."""


class Silence:
    """How long each node has not been heard, in seconds of the clock above. Times given are monotonic seconds."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._own_at: float | None = None
        self._heard: dict[str, float] = {}

    def own(self, now: float) -> None:
        """A record of one's own came back."""
        if self._own_at is not None:
            self._clock += min(max(0.0, now - self._own_at), _MOST_PER_RECORD)
        self._own_at = now

    def heard(self, node: str) -> None:
        self._heard[node] = self._clock

    def of(self, node: str) -> float:
        """A node that was never heard is silent from the moment it is asked about."""
        return self._clock - self._heard.setdefault(node, self._clock)


def gone(*, left: bool, dead: bool, silence: float) -> bool:
    """Whether a host's markets may be taken. `dead`: what membership says; `silence`: seconds, from `Silence`."""
    return left or silence >= SILENT_SECONDS or (dead and silence >= DEAD_SECONDS)


@dataclass(frozen=True, slots=True)
class Orphan:
    """A market that is to run and whose host is gone (None: it never had one)."""

    market_id: int
    entry: Entry
    host: str | None


def orphans(markets: Iterable[Entry], gone: Callable[[str], bool]) -> list[Orphan]:
    """Markets to be placed, by id. `gone` judges a host by name."""
    judged: dict[str, bool] = {}
    found = []
    for entry in markets:
        record = entry.record
        if record.desired is not Desired.RUNNING:
            continue
        host = record.host
        if host is not None and host not in judged:
            judged[host] = gone(host)
        if host is None or judged[host]:
            found.append(Orphan(record.market.id, entry, host))
    return sorted(found, key=lambda orphan: orphan.market_id)


class Lease:
    """Whether this node may publish: a record that it wrote lately has come back. Monotonic seconds."""

    def __init__(self) -> None:
        self._written: float | None = None

    def back(self, written: float) -> None:
        """A record written at that time came back."""
        self._written = written if self._written is None else max(self._written, written)

    def lost(self) -> None:
        self._written = None

    def holds(self, now: float) -> bool:
        return self._written is not None and now - self._written < LEASE_SECONDS
