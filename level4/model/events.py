"""The published events: the contract with consumers.

A stream is (market, topic). `epoch = term * 1_000_000 + run`; `seq` is 1, 2, 3 … within an epoch. A consumer's duty:
lower epoch than seen → an old host, drop; same epoch → `seq` is last + 1, lower is a duplicate, higher is a loss of
exactly the difference; higher epoch → a new stream, and `follows` of its first record says whether anything is missing.

Prices and sizes are plain decimal texts (no exponent, no superfluous zeros), exact from the wire. Times are integer
microseconds since 1970 UTC: `exchange_us` by the exchange's clock (null when it gives none), `received_us` when the
frame was read, `published_us` when the event was handed to Kafka.

The classes are mutable because a publisher fills in what is known only at the hand-off: `seq` of a spread (after
coalescing, so that it has no holes), `mid_price` (costs more than the rest of the event together) and `published_us`.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType

from level4.model.states import FeedState

SPREAD: Final = "level4.spread"
TIMESALES: Final = "level4.timesales"
STATUS: Final = "level4.status"
TOPICS: Final = (SPREAD, TIMESALES, STATUS)

RUNS_PER_TERM: Final = 1_000_000

Changed = Literal["bid", "ask", "both", "state", "none"]
TakerSide = Literal["buy", "sell"]


class Position(Struct, frozen=True, gc=False):
    """A place in a stream."""

    epoch: int
    seq: int


class Spread(Struct, omit_defaults=True, gc=False):
    """Best bid and ask after one frame was applied in full. An empty side has null price and null size."""

    market_id: int
    exchange: str
    type: str | None
    symbol: str
    state: FeedState
    changed: Changed
    bid_price: str | None
    bid_size: str | None
    ask_price: str | None
    ask_size: str | None
    mid_price: str | None
    epoch: int
    seq: int
    exchange_us: int | None
    received_us: int
    published_us: int
    node: str
    follows: Position | UnsetType | None = UNSET
    """Only on the first record of an epoch: the position it follows without loss, or null."""
    coalesced: int = 0
    """Older states merged into this one while Kafka was away."""


class Trade(Struct, omit_defaults=True, gc=False):
    """One trade. `side` is the taker's; null when the exchange gives none."""

    market_id: int
    exchange: str
    type: str | None
    symbol: str
    side: TakerSide | None
    price: str
    size: str
    trade_id: str | None
    epoch: int
    seq: int
    exchange_us: int | None
    received_us: int
    published_us: int
    node: str
    follows: Position | UnsetType | None = UNSET
    """Only on the first record of an epoch, as in `Spread`."""


class Status(Struct, omit_defaults=True, gc=False):
    """What happened to a feed (or, with `market_id` null, to a node or the cluster)."""

    market_id: int | None
    event: str
    """`feed_started, snapshot, live, stale, gap, resync, reconnecting, halted, feed_stopped, alive, …`"""
    state: FeedState | None
    reason: str | None
    member: str | None
    epoch: int
    seq: int
    node: str
    published_us: int
    exchange: str | None = None
    type: str | None = None
    symbol: str | None = None
    lost: int | None = None
    """`gap`: how many trades are known to be missing, when the protocol tells; `trades_dropped`: how many."""
    spread: Position | None = None
    """`alive`: the last position of the spread stream (proves that no tail was lost)."""
    timesales: Position | None = None
    """`alive`: the last position of the trades' stream."""


Event = Spread | Trade | Status
TOPIC_OF: Final[dict[type, str]] = {Spread: SPREAD, Trade: TIMESALES, Status: STATUS}
