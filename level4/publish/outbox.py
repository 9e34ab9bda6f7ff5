"""The bounded queue of events that have not been handed to Kafka: what is kept, merged and dropped while Kafka is away.

Theory. In normal operation every event is kept and leaves first in, first out. Memory is bounded by a number of events
and of bytes; what Kafka has been given but has not acknowledged counts too (`outstanding`). When the bound is reached
the outbox is *congested*, until it has shrunk to half:

* **Spread**: all queued states of a market collapse into one slot that holds the newest state, and newer ones go into
  the same slot. `coalesced` tells how many older states a record swallowed. Nothing is lost that a consumer could still
  act on. The sequence number is given when the event leaves, so the published stream has no hole.
* **Trade**: the queued ones wait; the newest is dropped. Its `seq` was given when it was decoded, so the hole in the
  published stream is the exact loss. Counted per market, reported by `losses()`.
* **Status**: few, and the most telling in trouble: accepted beyond the bound while fewer than `reserve` are queued,
  dropped and counted beyond that. An `alive` replaces the queued `alive` of its market when no other status of that
  market stands between them.

Invariants (see `check`): events held ≤ `max_events` + one spread for each market + `reserve`; per market and topic
the order of `put` is the order of `take`; events put = taken + held + coalesced + dropped + superseded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from msgspec import UNSET

from level4.model import Changed, Event, Spread, Status, Trade

_SPREAD_BYTES = 700
_TRADE_BYTES = 600
_STATUS_BYTES = 500
"""Memory of one queued event with its texts, rounded up (CPython 3.11); a status reason's length comes on top."""


class Queued:
    """One slot. `put_at`: monotonic seconds of the first event that went into it."""

    __slots__ = ("event", "put_at")

    def __init__(self, event: Event, put_at: float):
        self.event = event
        self.put_at = put_at


@dataclass(slots=True)
class Loss:
    """Trades of one market that were dropped since the last report."""

    trades: int
    last: Trade


@dataclass(slots=True)
class OutboxCounts:
    put: int = 0
    taken: int = 0
    coalesced: int = 0
    trades_dropped: int = 0
    statuses_dropped: int = 0
    alive_superseded: int = 0


def merge(older: Spread, newer: Spread) -> Spread:
    """The one record that stands for both; `newer` is the later put. Changes and returns one of its arguments."""
    coalesced = older.coalesced + newer.coalesced + 1
    if older.epoch != newer.epoch:
        survivor = newer if newer.epoch > older.epoch else older
        survivor.coalesced = coalesced
        return survivor
    newer.coalesced = coalesced
    if older.follows is not UNSET:
        newer.follows = older.follows
        newer.changed = "state"
    else:
        newer.changed = _both(older.changed, newer.changed)
    return newer


def _both(one: Changed, other: Changed) -> Changed:
    """What changed in either of two records of the same epoch."""
    if "state" in (one, other):
        return "state"
    if one == "none" or one == other:
        return other
    return one if other == "none" else "both"


class Outbox:
    """The queue. Pure: not thread-safe, reads no clock."""

    def __init__(self, max_events: int = 50_000, max_bytes: int = 64 * 2**20, reserve: int = 2_000) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.reserve = reserve
        self.counts = OutboxCounts()
        self.outstanding_events = 0
        """Handed over, not acknowledged; set by the owner."""
        self.outstanding_bytes = 0
        self.congested = False
        self._queue: deque[Queued] = deque()
        self._bytes = 0
        self._spreads: dict[int, Queued] = {}
        """While congested: the one slot of each market's spread."""
        self._alive: dict[int | None, Queued] = {}
        """While congested: the slot of each market's `alive`, as long as it is the market's last status."""
        self._statuses = 0
        self._losses: dict[int, Loss] = {}
        self._broken_epochs: dict[int, int] = {}
        """Markets whose first trade of an epoch was dropped: the next kept one must not claim continuity."""

    def __len__(self) -> int:
        return len(self._queue)

    def holds(self, market_id: int) -> bool:
        """Whether an event of that market waits."""
        return any(slot.event.market_id == market_id for slot in self._queue)

    @property
    def queued_bytes(self) -> int:
        """Estimate of the memory of the queue."""
        return self._bytes

    @property
    def oldest(self) -> float | None:
        """When the slot at the head was first put (monotonic seconds)."""
        return self._queue[0].put_at if self._queue else None

    def put(self, event: Event, now: float) -> bool:
        """Take an event; `now` in monotonic seconds. False: it was dropped (and counted)."""
        self.counts.put += 1
        if self._full() and not self.congested:
            self._congest()
        if type(event) is Spread:
            return self._put_spread(event, now)
        if type(event) is Trade:
            return self._put_trade(event, now)
        assert type(event) is Status
        return self._put_status(event, now)

    def take(self, limit: int) -> list[Queued]:
        """Remove and return at most `limit` slots, oldest first."""
        pop = self._queue.popleft
        batch = [pop() for _ in range(min(limit, len(self._queue)))]
        for slot in batch:
            self._bytes -= _size(slot.event)
            self._statuses -= type(slot.event) is Status
            if self.congested:
                self._forget(slot)
        self.counts.taken += len(batch)
        if self.congested and self._relieved():
            self.congested = False
            self._spreads.clear()
            self._alive.clear()
        return batch

    def losses(self) -> list[Loss]:
        """What was dropped since the last call, one entry for each market."""
        losses = list(self._losses.values())
        self._losses.clear()
        return losses

    @property
    def has_losses(self) -> bool:
        return bool(self._losses)

    def check(self) -> None:
        """Raise AssertionError when an invariant does not hold. Slow: for tests."""
        counts, slots = self.counts, list(self._queue)
        gone = counts.taken + counts.coalesced + counts.trades_dropped + counts.statuses_dropped
        assert counts.put == gone + counts.alive_superseded + len(slots)
        assert self._bytes == sum(_size(slot.event) for slot in slots)
        markets = {slot.event.market_id for slot in slots if type(slot.event) is Spread}
        assert len(slots) <= self.max_events + self.reserve + len(markets)
        assert self._statuses == sum(type(slot.event) is Status for slot in slots)
        if self.congested:
            spreads = [slot for slot in slots if type(slot.event) is Spread]
            assert len(spreads) == len(markets) == len(self._spreads), "one slot for each market's spread"
            assert all(self._spreads[slot.event.market_id or 0] is slot for slot in spreads)
        else:
            assert not self._spreads
            assert not self._alive

    def _full(self) -> bool:
        return (
            len(self._queue) + self.outstanding_events >= self.max_events
            or self._bytes + self.outstanding_bytes >= self.max_bytes
        )

    def _relieved(self) -> bool:
        return (
            len(self._queue) + self.outstanding_events <= self.max_events // 2
            and self._bytes + self.outstanding_bytes <= self.max_bytes // 2
        )

    def _append(self, event: Event, now: float) -> Queued:
        slot = Queued(event, now)
        self._queue.append(slot)
        self._bytes += _size(event)
        return slot

    def _put_spread(self, event: Spread, now: float) -> bool:
        if not self.congested:
            self._append(event, now)
            return True
        slot = self._spreads.get(event.market_id)
        if slot is None:
            self._spreads[event.market_id] = self._append(event, now)
        else:
            self._merge_into(slot, event)
        return True

    def _merge_into(self, slot: Queued, newer: Spread) -> None:
        older = slot.event
        assert type(older) is Spread
        slot.event = merge(older, newer)
        self.counts.coalesced += 1

    def _put_trade(self, event: Trade, now: float) -> bool:
        market_id = event.market_id
        if self._full():
            loss = self._losses.get(market_id)
            if loss is None:
                self._losses[market_id] = Loss(1, event)
            else:
                loss.trades += 1
                loss.last = event
            self.counts.trades_dropped += 1
            if event.follows is not UNSET:
                self._broken_epochs[market_id] = event.epoch
            return False
        if self._broken_epochs and self._broken_epochs.pop(market_id, None) == event.epoch:
            event.follows = None
        self._append(event, now)
        return True

    def _put_status(self, event: Status, now: float) -> bool:
        alive = event.event == "alive"
        if self.congested and alive:
            slot = self._alive.get(event.market_id)
            if slot is not None:
                self._bytes += _size(event) - _size(slot.event)
                slot.event = event
                self.counts.alive_superseded += 1
                return True
        if self._statuses >= self.reserve and self._full():
            self.counts.statuses_dropped += 1
            return False
        slot = self._append(event, now)
        self._statuses += 1
        if self.congested:
            self._note_status(slot, alive)
        return True

    def _note_status(self, slot: Queued, alive: bool) -> None:
        if alive:
            self._alive[slot.event.market_id] = slot
        else:
            self._alive.pop(slot.event.market_id, None)

    def _congest(self) -> None:
        """Collapse the queued spreads: each market keeps its oldest slot, with the newest state in it."""
        self.congested = True
        kept: deque[Queued] = deque()
        for slot in self._queue:
            event = slot.event
            if type(event) is Spread:
                first = self._spreads.setdefault(event.market_id, slot)
                if first is not slot:
                    self._merge_into(first, event)
                    self._bytes -= _SPREAD_BYTES
                    continue
            elif type(event) is Status:
                self._note_status(slot, event.event == "alive")
            kept.append(slot)
        self._queue = kept

    def _forget(self, slot: Queued) -> None:
        event = slot.event
        if type(event) is Spread:
            del self._spreads[event.market_id]
        elif type(event) is Status and self._alive.get(event.market_id) is slot:
            del self._alive[event.market_id]


def _size(event: Event) -> int:
    if type(event) is Spread:
        return _SPREAD_BYTES
    if type(event) is Trade:
        return _TRADE_BYTES
    return _STATUS_BYTES + len(event.reason or "") if type(event) is Status else _STATUS_BYTES
