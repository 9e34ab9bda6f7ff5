"""The ownership log as this process lives with it: it folds what comes, writes what this node has to say, and waits for
its own words to come back.

* Nothing is decided here; `placement.fold` judges, alike for everybody. A claim is over when it has been read back.
* The *lease*: this node may publish while a record that it wrote in the last 2.5 s has come back. The log is read in
  order, so whoever was paused or cut off has read all that happened meanwhile before its lease holds again.
* The node's own record goes out every second. When it is acknowledged and does not come back, the log is read again
  from its beginning: a broker that lost its data has a shorter log than the one being read.
* After a void record the holder appends its own again; for markets that nobody holds the first node by name does.
* A log that is another one than before: what this process holds is written into it again, in the same tenure.

`changed` is called after each batch with the ids of markets whose valid record is another one, but only while the log
has been read to its end: old records read again are no news.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from level4.cluster.namesake import Namesake
from level4.cluster.ports import Alone, Deliver, Log, LogRecord, Membership
from level4.model import Instrument, Level4Error, MarketRequest, UnavailableError
from level4.placement import (
    INTERVAL_SECONDS,
    Barrier,
    Desired,
    Entry,
    Heard,
    Lease,
    Mark,
    MarketRecord,
    NodeRecord,
    Outcome,
    Ownership,
    Passed,
    Record,
    Released,
    Replaced,
    Silence,
    Valid,
    Void,
    Writer,
    again,
    claim,
    encode,
    gone,
    key_of,
    node_key,
    resume,
    stop,
    unplace,
)

log = structlog.get_logger(__name__)

READ_BACK_SECONDS: Final = 5.0
"""For an acknowledged record to come back."""
_RETRY_SECONDS: Final = 0.1
_MOST_TRIES: Final = 8
"""Of writing what must be true of a market whoever holds it (a stop)."""
_LOST_SECONDS: Final = 0.02
"""After a stop that lost against another record, and once more after each further one: a burst of records ends."""


class LostError(Level4Error):
    """Somebody else's record of the market was first. `entry`: the valid one."""

    def __init__(self, market: MarketRequest, entry: Entry | None) -> None:
        host = "nobody" if entry is None else f"node {entry.record.host or 'none'} ({entry.record.market})"
        super().__init__(f"{market}: another claim was first, the market is held by {host}; nothing was started")
        self.entry = entry


class _NotBackError(UnavailableError):
    """Acknowledged, but not read."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """For one own record to come back."""

    event: trio.Event = field(default_factory=trio.Event)
    outcome: Outcome | None = None


class Ledger:
    """`make_log` builds the log, given where to deliver. `about` fills this node's own record: all but `by`."""

    def __init__(
        self,
        writer: Writer,
        make_log: Callable[[Deliver], Log],
        *,
        about: Callable[[Mark], NodeRecord],
        changed: Callable[[Collection[int]], None],
        membership: Membership | None = None,
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.writer = writer
        self.known = Ownership()
        self._log = make_log(self.deliver)
        self._about = about
        self._changed = changed
        self._membership = membership or Alone()
        self._unix_seconds = unix_seconds
        self._serials = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._written: dict[int, float] = {}
        """When own node records were written, by serial, until they come back."""
        self._lease = Lease()
        self._silence = Silence()
        self._mine: dict[int, MarketRecord] = {}
        """The records by which this process holds markets."""
        self._stale = trio.Event()
        self._stale.set()
        self._caught_up = trio.Event()
        self._repair = trio.Event()
        self._leaving = False
        self.namesake = Namesake(writer.generation)

    # -- what is known ------------------------------------------------------------------------------------------

    @property
    def caught_up(self) -> bool:
        """Whether the log has been read to its end."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        await self._caught_up.wait()

    @property
    def ready(self) -> bool:
        """Whether this node may publish and claim now."""
        return self.caught_up and self.may_publish()

    def may_publish(self) -> bool:
        """Whether the lease holds."""
        return self._lease.holds(trio.current_time())

    def mine(self) -> Set[int]:
        """Ids of the markets that this process holds."""
        return self._mine.keys()

    def nodes(self) -> list[NodeRecord]:
        """The newest record of every node that is not gone."""
        return [record for name, record in sorted(self.known.nodes.items()) if record and not self.gone(name)]

    def silence(self, node: str) -> float:
        """For how many seconds no record of a node came, counted while our own did."""
        return self._silence.of(node)

    def gone(self, node: str) -> bool:
        """Whether another node's markets may be taken."""
        left = node in self.known.nodes and self.known.nodes[node] is None
        return node != self.writer.node and gone(
            left=left, dead=self._membership.dead(node), silence=self._silence.of(node)
        )

    def free(self, entry: Entry) -> bool:
        """Whether a market has no host that lives: none at all, one that is gone, an earlier process of this name."""
        record = entry.record
        if record.host == self.writer.node:
            return record.generation != self.writer.generation
        return record.host is None or self.gone(record.host)

    # -- what is written ----------------------------------------------------------------------------------------

    async def claim(
        self,
        market: MarketRequest,
        instrument: Instrument | None = None,
        released: Released | None = None,
        term: int | None = None,
    ) -> Entry:
        """Take a market; its valid record, read back. `term`: as `placement.claim` says. Raises LostError or
        UnavailableError."""
        self.check()
        unix = int(self._unix_seconds())
        record = claim(
            self.known, self._mark(), market, unix, instrument=instrument, released=released, term=term
        )
        return self._won(market, await self._write(record))

    async def stop(self, market_id: int, reason: str) -> Entry | None:
        """Make a market one that is not to run, whoever holds it; None when there is none. Raises UnavailableError."""
        for lost in range(_MOST_TRIES):
            await trio.sleep(lost * _LOST_SECONDS)
            entry = self.known.market(market_id)
            if entry is None or entry.record.desired is Desired.STOPPED:
                return entry
            self.check()
            await self._write(stop(self.known, self._mark(), entry, reason))
        raise UnavailableError(f"market {market_id} changes hands all the time; not stopped, try again")

    async def unplace(self, market_id: int, reason: str) -> None:
        """Say that nobody has room for a market. Lost to another record: nothing to say. Raises UnavailableError."""
        entry = self.known.market(market_id)
        if entry is not None and entry.record.desired is Desired.RUNNING:
            self.check()
            await self._write(unplace(self.known, self._mark(), entry, reason))

    async def read_to_end(self) -> None:
        """All that is in the log by now is known when this returns. Raises UnavailableError."""
        await self._write(Barrier(self._mark()))

    async def leave(self) -> None:
        """Say that this node ends in order, and write no more records of it: whoever wants its markets need not wait.

        Raises UnavailableError.
        """
        self._leaving = True
        await self._log.append(node_key(self.writer.node), None)

    def check(self) -> None:
        """Raises UnavailableError while nothing can be claimed."""
        if not self.caught_up:
            raise UnavailableError("the ownership log has not been read to its end yet (is Kafka away?); try again")

    def _won(self, market: MarketRequest, outcome: Outcome) -> Entry:
        if isinstance(outcome, Valid) and outcome.entry is not None:
            return outcome.entry
        raise LostError(market, self.known.market(market.id))

    def _mark(self) -> Mark:
        return Mark(self.writer.node, self.writer.generation, next(self._serials))

    async def _write(self, record: Record) -> Outcome:
        """Append a record and wait until it comes back; how the log judged it."""
        waiter = self._waiters[record.by.serial] = _Waiter()
        try:
            try:
                await self._log.append(key_of(record), encode(record))
            except UnavailableError:
                if waiter.outcome is not None:  # it is there all the same
                    return waiter.outcome
                raise
            with trio.move_on_after(READ_BACK_SECONDS):
                await waiter.event.wait()
        finally:
            del self._waiters[record.by.serial]
        if waiter.outcome is None:
            raise _NotBackError(f"the ownership log took a record of {key_of(record)}, but it did not come back")
        return waiter.outcome

    # -- what is read -------------------------------------------------------------------------------------------

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """The next records, in order. For the log alone to call, on the event loop."""
        changed: set[int] = set()
        for record in records:
            for outcome in self.known.apply(record.offset, record.key, record.value, record.names):
                self._note(outcome, changed)
        if changed and self.caught_up:
            self._changed(changed)

    def _note(self, outcome: Outcome, changed: set[int]) -> None:
        if isinstance(outcome, Valid):
            entry = outcome.entry
            if self.caught_up:
                self._take_note_of_mine(outcome.market_id, entry)
            changed.add(outcome.market_id)
            if entry is not None:
                self._come_back(entry.record.by, outcome)
        elif isinstance(outcome, Void):
            log.debug("void record in the ownership log", market_id=outcome.market_id, why=outcome.why)
            self._repair.set()
            if outcome.record is not None:
                self._come_back(outcome.record.by, outcome)
        elif isinstance(outcome, Heard):
            self._silence.heard(outcome.node)
            if outcome.node == self.writer.node:
                self.namesake.hear(outcome.record, now=self.caught_up)
            if outcome.record is not None:
                self._come_back(outcome.record.by, outcome)
        elif isinstance(outcome, Passed):
            self._come_back(outcome.by, outcome)
        elif isinstance(outcome, Replaced):
            log.warning(
                "the ownership log begins again: what this node holds is checked, and written again if it is gone"
            )
            self._lease.lost()
            self._caught_up = trio.Event()
            self._stale.set()

    def _take_note_of_mine(self, market_id: int, entry: Entry | None) -> None:
        if entry is not None and self.writer.holds(entry):
            self._mine[market_id] = entry.record
        else:
            self._mine.pop(market_id, None)

    def _come_back(self, by: Mark, outcome: Outcome) -> None:
        if by.node != self.writer.node or by.generation != self.writer.generation:
            return
        if isinstance(outcome, Heard):
            now, written = trio.current_time(), self._written.pop(by.serial, None)
            self._silence.own(now)
            if written is not None:
                self._lease.back(written)
        waiter = self._waiters.get(by.serial)
        if waiter is not None:
            waiter.outcome = outcome
            waiter.event.set()

    # -- tasks --------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read and write until cancelled. Kafka's absence is no error."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._log.run)
            nursery.start_soon(self._catch_up)
            nursery.start_soon(self._report)
            nursery.start_soon(self._keep)
            task_status.started()

    async def _catch_up(self) -> None:
        """Read to the end, at the start and whenever the log is another one."""
        while True:
            await self._stale.wait()
            self._stale = trio.Event()
            try:
                await self.read_to_end()
                for market_id, record in list(self._mine.items()):
                    if self.known.market(market_id) is None:
                        await self._write(resume(self.known, self._mark(), record))
                await self._write_own()  # whoever claims from here on may publish at once
            except UnavailableError:
                self._stale.set()
                await trio.sleep(_RETRY_SECONDS)
                continue
            if not self._stale.is_set():
                present = self.known.markets()
                changed = self._mine.keys() | present.keys()
                self._mine = {one: entry.record for one, entry in present.items() if self.writer.holds(entry)}
                self._caught_up.set()
                self._changed(changed)

    async def _report(self) -> None:
        """This node's own record, every second."""
        patience = 1
        missing = 0
        while not self._leaving:
            began = trio.current_time()
            try:
                await self._write_own()
                patience, missing = 1, 0
            except _NotBackError:
                missing += 1
                if missing >= patience:
                    patience, missing = min(2 * patience, 64), 0
                    self._log.reread()
            except UnavailableError:
                missing = 0  # Kafka is away, which is known and not the reader's fault
            self._repair.set()
            await trio.sleep_until(began + INTERVAL_SECONDS)

    async def _write_own(self) -> None:
        """This node's record, there and back: the lease holds then."""
        mark = self._mark()
        self._written[mark.serial] = trio.current_time()
        try:
            await self._write(self._about(mark))
        finally:
            self._written.pop(mark.serial, None)

    async def _keep(self) -> None:
        """Append valid records again where a void one came after them."""
        while True:
            await self._repair.wait()
            self._repair = trio.Event()
            if not self.caught_up:
                continue
            for market_id in self.known.all_overwritten():
                try:
                    await self._write_again(market_id)
                except UnavailableError as error:
                    log.info("a record could not be written again yet", market_id=market_id, reason=str(error))

    async def _write_again(self, market_id: int) -> None:
        entry = self.known.market(market_id)
        if not self.writer.holds(entry) and not self._first_to_repair(entry):
            return
        if entry is None:
            await self._log.append(str(market_id), None, (None, self.known.newest(market_id)))
        else:
            await self._write(again(self.known, self._mark(), entry))

    def _first_to_repair(self, entry: Entry | None) -> bool:
        """Whether nobody holds it, and this node is the first by name."""
        if entry is not None and entry.record.desired is Desired.RUNNING and not self.free(entry):
            return False
        nodes = self.nodes()
        return bool(nodes) and nodes[0].by.node == self.writer.node
