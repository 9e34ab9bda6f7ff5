"""What this room acts through: the ownership log, the feeds of this node, the publisher, and what is known of others.

Several nodes plug in here: `Membership` says who is dead (SWIM), `Peers` asks another node (RPC). A node by itself has
neither, and the log alone is enough to be correct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from level4.model import Instrument, MarketRequest


class LogRecord(Protocol):
    """A record as it stands in the log."""

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> str: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def names(self) -> tuple[int | None, int | None]:
        """`supersedes` and `seen` of a tombstone."""


Deliver = Callable[[Sequence[LogRecord]], None]


class Log(Protocol):
    """The ownership log. Calls `Deliver` on the event loop with every record, in order, from the beginning on."""

    async def run(self, task_status: trio.TaskStatus[None] = ...) -> None: ...

    async def append(self, key: str, value: bytes | None, names: tuple[int | None, int | None] = ...) -> int:
        """Raises UnavailableError: not written, or not known whether."""

    def reread(self) -> None:
        """Deliver again from the beginning."""


class Feeds(Protocol):
    """The feeds of this node."""

    async def resolve(self, request: MarketRequest) -> Instrument:
        """The exchange's own facts of a market. Raises ConfigError, UnavailableError or ExchangeError."""

    async def start(self, request: MarketRequest, term: int) -> Instrument:
        """Raises as `resolve` does."""

    async def stop(self, market_id: int, reason: str) -> None: ...

    def term(self, market_id: int) -> int | None:
        """The term in which a market runs here; None: it does not."""


class Gate(Protocol):
    """The publisher's door."""

    async def ensure_market(self, market_id: int) -> None:
        """Raises ConfigError when there is no partition for it, UnavailableError when Kafka does not answer."""

    def fence(self, market_id: int, term: int) -> None:
        """Publish nothing of the market from terms before this one; what waits is dropped and counted."""


class Membership(Protocol):
    """What gossip knows."""

    def dead(self, node: str) -> bool: ...


class Alone:
    """The membership of a node that knows of no others: it calls nobody dead, silence in the log has to do."""

    def dead(self, node: str) -> bool:
        return False
