"""What the control service needs of the program around it: `MarketHost`. No gRPC in here.

Failures cross this border as exceptions, and each kind has one status code (`level4.rpc.errors.code_of`):

| raise | when | the caller gets |
|---|---|---|
| `ConfigError`, `InvalidArgumentError` | symbol not in the exchange's instrument list | INVALID_ARGUMENT |
| `NotFoundError` | no such market | NOT_FOUND |
| `AlreadyExistsError` | the id was taken in the meantime (another node won the claim) | ALREADY_EXISTS |
| `ResourceExhaustedError` | no room | RESOURCE_EXHAUSTED |
| `FailedPreconditionError` | draining; the topic lacks the partition and may not grow | FAILED_PRECONDITION |
| `UnavailableError`, `ExchangeError` | Kafka, the exchange or another node is away | UNAVAILABLE |
| anything else | a bug | INTERNAL, with a traceback in the log |

Messages are shown to people as they are: what was expected, what came, what to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from level4.model import FeedState, Instrument, Level, MarketRequest, MarketType


class NodeState(StrEnum):
    READY = "READY"
    NOT_READY = "NOT_READY"
    """It cannot host markets now (Kafka is away); those it has go on as far as they can."""
    DRAINING = "DRAINING"
    """It hands its markets over and takes no new ones."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    name: str
    active: int
    """Markets it hosts."""
    capacity: int
    """MAX_DATA_FEEDS."""
    state: NodeState = NodeState.READY
    version: str = ""
    address: str = ""
    """`host:port` of its control service."""


@dataclass(frozen=True, slots=True)
class ActiveMarket:
    request: MarketRequest
    state: FeedState
    node: str | None = None
    """The host's name; None while no node has room."""
    instrument: Instrument | None = None
    """None before it is resolved."""
    reason: str | None = None
    """Why it is in that state, for people."""


@dataclass(frozen=True, slots=True)
class BookView:
    """The top of a book, best first, exact texts. Only a LIVE one is to be trusted."""

    state: FeedState
    bids: Sequence[Level]
    asks: Sequence[Level]
    exchange_us: int | None = None
    received_us: int | None = None


@dataclass(frozen=True, slots=True)
class MoveInfo:
    """A market that was moved, or was not."""

    market_id: int
    source: str
    target: str = ""
    error: str = ""
    """Why it stayed where it was."""


class MarketHost(Protocol):
    """The cluster as one node sees it. Methods without `async` answer from memory, at once."""

    @property
    def max_market_id(self) -> int: ...

    def node(self) -> NodeInfo:
        """This node."""

    def nodes(self) -> Sequence[NodeInfo]:
        """All nodes of the cluster, this one included."""

    def known_exchanges(self) -> Mapping[str, Collection[MarketType]]:
        """Name (upper case) → the market types it has here."""

    def active(self) -> Sequence[ActiveMarket]:
        """All markets of the cluster that were started and not stopped, in any order."""

    def is_live(self, market_id: int) -> bool: ...

    async def refresh(self, market_ids: Collection[int] | None = None) -> None:
        """Ask other nodes for the states of the markets that they host (None: of all), so that what is answered from
        memory is fresh. Bounded; a node that does not answer is no error here."""

    async def start(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        """Resolve the instrument, claim the market, start its feed; with `wait_live` wait until it is LIVE.

        The control service calls this for an id that is in range, not active and not being started by another call
        of this node. Cancelled before the claim: nothing remains. Cancelled while it waits for LIVE: it stays started.
        """

    async def stop(self, market_id: int) -> ActiveMarket:
        """Stop a market; returns it as it was last, with state STOPPED. NotFoundError when it is not active."""

    async def move(self, market_id: int, node: str | None) -> ActiveMarket:
        """Move a market to a node (None: the cluster chooses), without a break where that can be had."""

    async def drain(self, node: str) -> Sequence[MoveInfo]:
        """Move all markets of a node to others."""

    async def rebalance(self, dry_run: bool) -> Sequence[MoveInfo]:
        """Move markets from nodes with more than their share to others; with `dry_run` say what would be moved."""

    def watch(self) -> AsyncIterator[Sequence[ActiveMarket]]:
        """The whole of `active()` at once, and again after every change. `changes.Changes.follow` is one.

        Left by its reader at any point, without being closed: not an async generator.
        """

    async def book(self, market_id: int, depth: int) -> BookView:
        """The best `depth` levels of each side now. NotFoundError when the market is not active."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the data streams of a market end: (epoch, seq), None when nothing was published; and the last trade."""

    spread: tuple[int, int] | None = None
    timesales: tuple[int, int] | None = None
    trade_id: str | None = None


class PeerHost(Protocol):
    """What other nodes ask of this one. Nothing of it asks a third node."""

    async def start_here(self, request: MarketRequest, wait_live: bool) -> ActiveMarket: ...

    def hosted(self) -> Sequence[ActiveMarket]:
        """The markets that run on this node."""

    async def book_here(self, market_id: int, depth: int) -> BookView: ...

    async def take(self, market_id: int, source: str) -> ActiveMarket:
        """Take a market over from the node that hosts it."""

    async def release(self, market_id: int, target: str) -> Ends:
        """Stop publishing a market, for the node that is to go on."""

    def node(self) -> NodeInfo: ...
