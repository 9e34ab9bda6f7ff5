"""The trio side of publishing: `put` on the event loop, one task that hands events to the Kafka thread.

A hand-off goes at once when the task is idle; events gather while one is under way (never two at a time) and for
`gather_seconds` after it began, for as long as which it waits for Kafka's answer. Sequence numbers, the mid price,
`published_us` and the record's bytes are made in the hand-off (`handoff.py`), in order, in the thread, and so is all
network work: the event loop pays for a queue entry and nothing more. While something is unanswered, and once a second
otherwise, the thread is given time to work on the connections (`_serve`).

Kafka is *away* when no producer can be made, or when nothing has been acknowledged for `away_seconds` although
something is outstanding. Then the node goes on, not ready, and keeps trying; `outbox.py` tells what is kept, merged and
dropped. A producer that makes no progress for `stall_seconds` is replaced (`kafka.py`).

This task is all that is needed: `put` works before it runs, while it reconnects, and after it has ended.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from level4.model import STATUS, TOPIC_OF, Event, Level4Error, Position, Status, UnavailableError
from level4.model.events import RUNS_PER_TERM
from level4.publish.clients import EventClient, grow
from level4.publish.encode import Record
from level4.publish.handoff import HandOff, PublisherSettings
from level4.publish.kafka import KafkaLink
from level4.publish.outbox import Outbox, Queued
from level4.publish.stats import PublisherStats
from level4.publish.topics import has_partition

_log = structlog.get_logger("level4.publish")

_TICK: Final = 0.02
"""How often acknowledgements are looked for while none come; and what is waited for, that has no event."""
_QUICK_SECONDS: Final = 0.25
"""After an acknowledgement: Kafka answers, so events that come meanwhile need not wait for it."""
_IDLE: Final = 1.0
_REPORT_SECONDS: Final = 1.0
"""Least time between two reports of dropped trades."""


@dataclass(slots=True)
class _Outage:
    """Since when Kafka is away (monotonic seconds), and what was seen last."""

    since: float
    why: str


@dataclass(slots=True)
class _Refused:
    """Events of one market that Kafka did not take, since the last report."""

    last: Event
    why: str
    events: int = 0


class KafkaPublisher:
    """Publishes events to Kafka. `node` is this node's name, for the events that the publisher itself makes."""

    def __init__(self, settings: PublisherSettings, node: str) -> None:
        self.may_publish: Callable[[], bool] = lambda: True
        """Asked before each hand-off; while it says no, events are kept as if Kafka were away."""
        self._fences: dict[int, int] = {}
        self._settings = settings
        self._node = node
        self._outbox = Outbox(settings.max_events, settings.max_bytes, settings.reserve)
        self._link = KafkaLink(lambda: EventClient(settings.kafka))
        self._hand_off = HandOff(self._link, settings.encoding)
        self._stats = PublisherStats()
        self._wake = trio.Event()
        self._waiting = False
        self._growing = trio.Lock()
        self._drained: trio.Event | None = None
        self._first_connected = trio.Event()
        self._connected = False
        self._outage: _Outage | None = None
        self._told = (0, 0, 0)
        """Coalesced, trades and status events dropped, as told at the last recovery. The queue may well overflow
        before an outage is recognised as one."""
        self._delay = settings.backoff_seconds
        self._progress_at = 0.0
        self._handed_over = 0
        self._handing = False
        """Whether a batch is on its way to the producer."""
        self._settled = 0
        self._reported_at = -math.inf
        self._refused: dict[int, _Refused] = {}
        self._refusals_logged: set[int] = set()
        self._epochs: dict[int | None, int] = {}
        """Epoch of each market's last status event: our own status events continue that stream."""

    def put(self, event: Event) -> None:
        """Take an event for publishing. Never blocks, never raises; what cannot be kept is counted and marked."""
        if type(event) is Status:
            self._epochs[event.market_id] = event.epoch
        self._outbox.put(event, time.monotonic())
        if self._waiting:
            self._waiting = False
            self._wake.set()

    def fence(self, market_id: int, term: int) -> None:
        """Hand over nothing more of the market from terms before this one; dropped events are counted as fenced."""
        self._fences[market_id] = max(term, self._fences.get(market_id, 0))

    @property
    def ready(self) -> bool:
        """Whether what is put now is expected to reach Kafka soon."""
        return self._connected and self._outage is None

    async def first_connected(self) -> None:
        """Wait until Kafka has answered once."""
        await self._first_connected.wait()

    @property
    def remaining(self) -> int:
        """Events put and neither acknowledged nor counted as dropped, merged or refused."""
        return len(self._outbox) + self._handed_over - self._settled

    @property
    def partitions(self) -> dict[str, int]:
        """Number of partitions of each topic; empty until Kafka has answered."""
        return dict(self._link.partitions)

    async def ends(self, market_id: int, seconds: float) -> tuple[Position | None, Position | None, str | None] | None:
        """Where a stopped market's streams end: positions of spread and trades, and the last trade's id. Waits until
        Kafka has all of it; None when it has not within `seconds`."""
        with trio.move_on_after(seconds):
            while (  # noqa: ASYNC110 - acknowledgements are looked for, they do not call
                self._handing or self._outbox.holds(market_id) or self._link.waits_for(market_id)
            ):
                await trio.sleep(_TICK / 2)
            return self._hand_off.ends(market_id)
        return None

    @property
    def cluster_id(self) -> str:
        """What Kafka calls itself; empty until it has answered."""
        return self._link.cluster_id

    async def ensure_market(self, market_id: int) -> None:
        """Make sure that every topic has this market's partition: grow what is short, where that is allowed.

        Raises ConfigError with the remedy when a topic is short and may not or cannot grow, UnavailableError when
        Kafka does not answer. To be called before anything of the market is put.
        """
        if not self._link.partitions:
            raise UnavailableError("Kafka has not answered yet: the number of partitions is not known")
        if has_partition(market_id, self._link.partitions):
            await trio.lowlevel.checkpoint()
            return
        async with self._growing:
            counts = await trio.to_thread.run_sync(grow, self._settings.kafka, market_id, abandon_on_cancel=True)
        self._link.expect(counts)

    @property
    def stats(self) -> PublisherStats:
        stats, counts, now = self._stats, self._outbox.counts, time.monotonic()
        stats.put = counts.put
        stats.coalesced = counts.coalesced
        stats.alive_superseded = counts.alive_superseded
        stats.trades_dropped = counts.trades_dropped
        stats.statuses_dropped = counts.statuses_dropped
        stats.queued = len(self._outbox)
        stats.in_flight = self._handed_over - self._settled
        oldest = self._outbox.oldest
        stats.oldest_seconds = 0.0 if oldest is None else now - oldest
        stats.away_seconds = 0.0 if self._outage is None else now - self._outage.since
        return stats

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect and hand over, for ever. Kafka's absence is no error. To stop: `drain`, then cancel."""
        task_status.started()
        try:
            while True:
                await self._connect()
                acked = self._stats.acked
                await self._hand_over_until_failure()
                self._connected = False
                if self._stats.acked == acked:  # it connects, but takes nothing
                    await self._back_off()
        finally:
            self._connected = False
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._settings.close_seconds + 0.5):
                await trio.to_thread.run_sync(self._link.close, self._settings.close_seconds, abandon_on_cancel=True)

    async def drain(self, seconds: float) -> int:
        """Wait until everything put so far is acknowledged, for at most `seconds`; the number of events that are not.

        `run` must still be running. Stop the markets first: what is put meanwhile is waited for, too.
        """
        if self.remaining:
            self._drained = trio.Event()
            with trio.move_on_after(seconds):
                await self._drained.wait()
        if self.remaining:
            _log.warning("Not everything reached Kafka before the deadline", events=self.remaining, seconds=seconds)
        return self.remaining

    async def _connect(self) -> None:
        while True:
            try:
                await trio.to_thread.run_sync(self._link.open, abandon_on_cancel=True)
            except Level4Error as error:
                self._error(str(error))
                await self._back_off()
            else:
                break
        self._connected = True
        self._first_connected.set()
        self._progress_at = time.monotonic()
        self._stats.reconnects = self._link.opened - 1
        self._account()
        if not self._link.outstanding:
            self._back()

    async def _back_off(self) -> None:
        pause = self._delay * (0.5 + 0.5 * random.random())
        self._delay = min(self._delay * 2, self._settings.backoff_max_seconds)
        self._account()
        self._away(self._stats.last_error or "unknown", f"trying again in {pause:.1f} s")
        await trio.sleep(pause)

    async def _hand_over_until_failure(self) -> None:
        settings = self._settings
        began = -math.inf
        while True:
            self._account()
            if (failure := self._link.failure) is not None:
                self._error(failure)
                break
            now = time.monotonic()
            if self._link.outstanding and now - self._progress_at > settings.stall_seconds:
                self._error(f"no acknowledgement for {settings.stall_seconds:g} s")
                break
            if self._link.outstanding and now - self._progress_at > settings.away_seconds:
                self._away(f"no acknowledgement for {settings.away_seconds:g} s", "waiting for it")
            room = min(settings.batch, settings.window - self._link.outstanding)
            if not self._outbox and not self._link.outstanding:
                await self._pause(_IDLE, until_put=True)
                if not self._outbox:
                    await self._serve(0.0)  # connections and metadata want to be looked after
            elif not self._outbox or room <= 0 or not self.may_publish():
                if self._link.outstanding:
                    await self._serve(settings.gather_seconds if now - self._progress_at < _QUICK_SECONDS else _TICK)
                else:
                    await self._pause(_TICK, until_put=False)
            elif (rest := began + settings.gather_seconds - now) > 0:
                await self._pause(rest, until_put=False)
            else:
                if not self._link.outstanding:
                    self._progress_at = now
                began = now
                await self._hand_over(room)

    async def _hand_over(self, room: int) -> None:
        batch = self._outbox.take(room)
        if self._fences:
            batch = self._unfenced(batch)
        self._handed_over += len(batch)
        self._stats.sent += len(batch)
        published_us = time.time_ns() // 1000
        self._handing, gather = True, self._settings.gather_seconds
        await trio.to_thread.run_sync(self._hand_off, batch, published_us, gather, abandon_on_cancel=True)
        self._handing = False

    async def _serve(self, seconds: float) -> None:
        await trio.to_thread.run_sync(self._link.serve, seconds, abandon_on_cancel=True)

    def _unfenced(self, batch: list[Queued]) -> list[Queued]:
        fences = self._fences
        kept = [
            slot
            for slot in batch
            if (event := slot.event).market_id is None or event.epoch >= fences.get(event.market_id, 0) * RUNS_PER_TERM
        ]
        self._stats.fenced += len(batch) - len(kept)
        return kept

    async def _pause(self, seconds: float, *, until_put: bool) -> None:
        """Sleep; when wanted, the next `put` ends it."""
        self._wake = trio.Event()
        self._waiting = until_put
        with trio.move_on_after(seconds):
            await self._wake.wait()
        self._waiting = False

    def _account(self) -> None:
        """Bring acknowledgements, refusals and losses to book."""
        link, stats, outbox = self._link, self._stats, self._outbox
        collected = link.collect()
        if collected.records:
            stats.acked += collected.records
            stats.latency.extend(collected.latencies)
            self._settled += collected.records
            self._progress_at = time.monotonic()
            self._delay = self._settings.backoff_seconds
            if self._connected:
                self._back()
        for refusal in link.take_refusals():
            self._settled += 1
            self._note_refusal(refusal.record, refusal.reason)
        if unencodable := self._hand_off.unencodable:
            self._hand_off.unencodable = 0
            self._settled += unencodable
            stats.refused += unencodable
            self._error(f"event could not be encoded: {self._hand_off.error}")
        outbox.outstanding_events = link.outstanding
        outbox.outstanding_bytes = link.outstanding_bytes
        if self._outage is None and (outbox.has_losses or self._refused):
            self._report_losses()
        if self._drained is not None and not self.remaining:
            self._drained.set()

    def _note_refusal(self, record: Record, reason: str) -> None:
        self._stats.refused += 1
        self._stats.last_error = reason
        market_id = record.partition
        if market_id not in self._refusals_logged:
            self._refusals_logged.add(market_id)
            _log.error(
                "Kafka does not take events of this market: they are dropped and counted",
                market_id=market_id,
                topic=record.topic,
                why=reason,
            )
        if type(record.event) is not Status and market_id < self._link.partitions.get(STATUS, 0):
            entry = self._refused.setdefault(market_id, _Refused(record.event, reason))
            entry.events += 1

    def _report_losses(self) -> None:
        """Say in the markets' own status streams what was lost; at most once a second."""
        now = time.monotonic()
        if now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        for loss in self._outbox.losses():
            self._put_status(loss.last, "trades_dropped", "Kafka was away longer than the queue lasts", loss.trades)
        for entry in self._refused.values():
            why = f"not taken by Kafka, the last in {TOPIC_OF[type(entry.last)]}: {entry.why}"
            self._put_status(entry.last, "refused", why, entry.events)
        self._refused.clear()

    def _put_status(self, about: Event | None, event: str, reason: str, lost: int | None = None) -> None:
        market_id = None if about is None else about.market_id
        epoch = self._epochs.get(market_id)
        if epoch is None:
            epoch = about.epoch if about is not None else int(time.time()) * RUNS_PER_TERM + 1
        status = Status(
            market_id=market_id,
            event=event,
            state=None,
            reason=reason,
            member=None,
            epoch=epoch,
            seq=0,
            node=self._node,
            published_us=0,
            lost=lost,
        )
        if about is not None:
            status.exchange, status.type, status.symbol = about.exchange, about.type, about.symbol
        self.put(status)

    def _error(self, text: str) -> None:
        self._stats.errors += 1
        self._stats.last_error = text

    def _away(self, why: str, next_step: str) -> None:
        if self._outage is not None:
            self._outage.why = why
            return
        self._outage = _Outage(self._progress_at if self._link.outstanding else time.monotonic(), why)
        _log.warning(
            f"Kafka is away: {why}; keeping up to {self._settings.max_events:,} events, spreads coalesce; {next_step}"
        )

    def _back(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            return
        counts = self._outbox.counts
        now_told = (counts.coalesced, counts.trades_dropped, counts.statuses_dropped)
        coalesced, trades, statuses = (now - before for now, before in zip(now_told, self._told, strict=True))
        self._told = now_told
        seconds = time.monotonic() - outage.since
        lost = f"{coalesced} spread states coalesced, {trades} trades and {statuses} status events dropped"
        _log.info(f"Kafka is back after {seconds:.1f} s: {lost}", queued=len(self._outbox))
        self._put_status(None, "kafka_recovered", f"away for {seconds:.1f} s ({outage.why}); {lost}")
