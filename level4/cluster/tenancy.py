"""The markets of this node, kept as the ownership log says: what it holds runs, what it does not hold does not.

The log leads and the feeds follow. Whoever wants something changed here or from another node writes a record; the feed
starts or stops when that record has been read. So a claim whose acknowledgement got lost, a stop by another node, a
take-over, a log that was lost with its broker all take the one way, `_settle`.

* Nothing of a term is published before its claim has been read back: the feed starts only then.
* A newer term shuts the publisher's door for the older ones at the moment it is read, before the feed is stopped.
* A market that this node holds and cannot start (its exchange is away) is tried again with growing pauses, for ever.
* At the start, markets of an earlier process of this name are taken back, as many as there is room for; the others are
  marked as unplaced, for whoever has room (`placing`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from level4.cluster.failovers import Failovers
from level4.cluster.ledger import Ledger, LostError
from level4.cluster.ports import Feeds, Gate
from level4.model import ConfigError, ExchangeError, Level4Error, MarketRequest, UnavailableError
from level4.placement import Desired, Entry, to_take_back

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


class FullError(Level4Error):
    """This node hosts as many markets as it may."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A market that is to run here and does not run yet, and why."""

    request: MarketRequest
    reason: str


class Tenancy:
    """`capacity`: most markets of this node. `run` must be running; `changed` is the ledger's to call."""

    def __init__(
        self, feeds: Feeds, gate: Gate, node: str, capacity: int, failovers: Failovers | None = None
    ) -> None:
        self.ledger: Ledger
        """Set by whoever builds both: each calls the other."""
        self.waiting: dict[int, Waiting] = {}
        self.failovers = failovers or Failovers()
        self._feeds = feeds
        self._gate = gate
        self._node = node
        self.capacity = capacity
        self._claiming: set[int] = set()
        self._retrying: set[int] = set()
        """Held markets that could not be started and are tried again."""
        self._rehearsed: set[int] = set()
        """Markets that are being made ready here; not claimed yet."""
        self._released: set[int] = set()
        """Held markets that were stopped for another node to go on."""
        self._locks: dict[int, trio.Lock] = defaultdict(trio.Lock)
        self._dirty: set[int] = set()
        self._wake = trio.Event()
        self._closing = False
        self.open = False
        """Whether the markets of an earlier process have been seen to."""
        self._nursery: trio.Nursery | None = None

    @property
    def active(self) -> int:
        """Markets that this node holds or is about to."""
        return len(self.ledger.mine() | self._claiming)

    # -- what is wanted -----------------------------------------------------------------------------------------

    async def start(self, request: MarketRequest) -> Entry:
        """Claim a market for this node and start it.

        Raises LostError (somebody has it), FullError, ConfigError, UnavailableError, ExchangeError. Cancelled before
        the claim is written: nothing remains; after that, the log decides, and the market may well run.
        """
        self.ledger.check()
        if not self.open:
            raise UnavailableError(f"node {self._node} has just started and takes its markets back first; try again")
        entry = self.ledger.known.market(request.id)
        if request.id in self._claiming or self._taken(entry) or _another(request, entry):
            raise LostError(request, entry)
        if self.active >= self.capacity:
            raise FullError(
                f"node {self._node} hosts {self.capacity} markets, which is all it may (MAX_DATA_FEEDS); "
                "stop one or add a node"
            )
        self._claiming.add(request.id)
        try:
            instrument = await self._feeds.resolve(request)
            await self._gate.ensure_market(request.id)
            entry = self.ledger.known.market(request.id)
            if self._taken(entry) or _another(request, entry):  # meanwhile; a claim now would take it away again
                raise LostError(request, entry)
            with trio.CancelScope(shield=True):  # bounded: an acknowledgement and a read-back, some seconds at most
                won = await self.ledger.claim(request, instrument)
        finally:
            self._claiming.discard(request.id)
        await self._settle(request.id)
        if request.id in self._retrying:
            raise UnavailableError(f"{self.waiting[request.id].reason}; it is held by this node and tried again")
        return won

    async def stop(self, market_id: int, reason: str) -> None:
        """Make it a market that does not run, whoever holds it. Stopped here when this returns."""
        if market_id in self.waiting and self.ledger.known.market(market_id) is None:
            del self.waiting[market_id]
            await trio.lowlevel.checkpoint()
            return
        await self.ledger.stop(market_id, reason)
        await self._settle(market_id)

    async def close(self, reason: str) -> None:
        """Stop the feeds; the log goes on saying that they are to run: the next process of this name takes them."""
        self._closing = True
        self.waiting.clear()
        self._retrying.clear()
        for market_id in sorted(self.ledger.mine()):
            async with self._locks[market_id]:
                if self._feeds.term(market_id) is not None:
                    await self._feeds.stop(market_id, reason)

    # -- what follows -------------------------------------------------------------------------------------------

    def changed(self, market_ids: Collection[int]) -> None:
        """Other records of these markets are valid now."""
        for market_id in market_ids:
            entry, term = self.ledger.known.market(market_id), self._feeds.term(market_id)
            if entry is None:
                continue
            starting = market_id in self._locks and self._locks[market_id].locked()
            if starting or (term is not None and entry.record.term > term):
                self._gate.fence(market_id, entry.record.term)
        self._dirty.update(market_ids)
        self._wake.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                dirty, self._dirty = self._dirty, set()
                for market_id in sorted(dirty):
                    if self._due(market_id):
                        nursery.start_soon(self._settle, market_id)

    def _due(self, market_id: int) -> bool:
        """Whether feed and log differ."""
        return market_id not in self._rehearsed and self._feeds.term(market_id) != self._term_here(market_id)

    def _term_here(self, market_id: int) -> int | None:
        """The term in which a market is to run here; None: it is not."""
        entry = self.ledger.known.market(market_id)
        if self._closing or entry is None or not self.ledger.writer.holds(entry) or market_id in self._released:
            return None
        return entry.record.term

    async def _settle(self, market_id: int) -> None:
        """Make the feed of a market what the log says."""
        async with self._locks[market_id]:
            if market_id in self._rehearsed:
                return
            while (running := self._feeds.term(market_id)) != (wanted := self._term_here(market_id)):
                if running is not None:
                    await self._feeds.stop(market_id, self._why_stopped(market_id))
                elif market_id in self._retrying:
                    break
                elif wanted is not None:  # while it starts, the log may go on
                    await self._start_feed(market_id, wanted)
            if wanted is None:
                self.waiting.pop(market_id, None)
                self._retrying.discard(market_id)

    async def _start_feed(self, market_id: int, term: int) -> None:
        entry = self.ledger.known.market(market_id)
        assert entry is not None
        request = entry.record.market
        try:
            await self._gate.ensure_market(market_id)
            await self._feeds.start(request, term)
        except Level4Error as error:
            log.warning("market not started yet", market=str(request), reason=str(error))
            if market_id not in self._retrying and self._nursery is not None:
                self._retrying.add(market_id)
                self._nursery.start_soon(self._try_again, market_id)
            self.waiting[market_id] = Waiting(request, str(error))
            return
        self.waiting.pop(market_id, None)
        self._retrying.discard(market_id)

    async def _try_again(self, market_id: int) -> None:
        pause = _FIRST_PAUSE
        while market_id in self._retrying:
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            async with self._locks[market_id]:
                term = self._term_here(market_id)
                if term is None or self._feeds.term(market_id) is not None:
                    self._retrying.discard(market_id)
                elif market_id in self._retrying:
                    await self._start_feed(market_id, term)

    def _why_stopped(self, market_id: int) -> str:
        entry = self.ledger.known.market(market_id)
        if entry is None:
            return "the market was removed"
        record = entry.record
        if record.desired is Desired.STOPPED:
            return record.reason or f"stopped through node {record.by.node}"
        return f"moved to node {record.host}" if record.host else "no node has room for it"

    # -- moving (`moving` decides, here the feeds are told) -------------------------------------------------------

    @contextmanager
    def rehearsing(self, request: MarketRequest) -> Iterator[None]:
        """While the block runs, a feed of this market is left alone, claimed or not. Raises LostError, FullError."""
        if request.id in self._claiming:
            raise LostError(request, self.ledger.known.market(request.id))
        if self._closing or self.active >= self.capacity:
            raise FullError(f"node {self._node} has no room for {request}")
        self._claiming.add(request.id)
        self._rehearsed.add(request.id)
        try:
            yield
        finally:
            self._rehearsed.discard(request.id)
            self._claiming.discard(request.id)
            self._dirty.add(request.id)
            self._wake.set()

    async def ensure(self, market_id: int) -> None:
        await self._gate.ensure_market(market_id)

    async def release(self, market_id: int, reason: str) -> None:
        """Stop the feed of a market that is held here; until `released` it is not started again."""
        self._released.add(market_id)
        async with self._locks[market_id]:
            if self._feeds.term(market_id) is not None:
                await self._feeds.stop(market_id, reason)

    def released(self, market_id: int) -> None:
        """The log alone says again whether it runs here."""
        self._released.discard(market_id)
        self._dirty.add(market_id)
        self._wake.set()

    def spawn(self, task: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Run a task that belongs to a market but to no caller."""
        if self._nursery is not None:
            self._nursery.start_soon(task, *arguments)

    # -- the start ----------------------------------------------------------------------------------------------

    async def take_back(self) -> None:
        """Take the markets of an earlier process of this name. Before that nothing is started here."""
        self.open = True
        async with trio.open_nursery() as nursery:
            for market_id, entry in to_take_back(self.ledger.known, self.ledger.writer).items():
                take = self._take if self._reserve(market_id) else self._unplace
                nursery.start_soon(take, entry)

    def take(self, entry: Entry) -> None:
        """Claim a market that has no host, and start it, if there is room."""
        if self._nursery is not None and self._reserve(entry.record.market.id):
            self._nursery.start_soon(self._take, entry)

    def _reserve(self, market_id: int) -> bool:
        if self._closing or market_id in self._claiming or self.active >= self.capacity:
            return False
        self._claiming.add(market_id)
        return True

    async def _take(self, entry: Entry) -> None:
        request = entry.record.market
        try:
            self._check_orphan(request)
            with trio.CancelScope(shield=True):
                await self.ledger.claim(request)
        except LostError as error:
            log.info("market not taken", market=str(request), reason=str(error))
        except UnavailableError as error:
            log.warning("market not taken yet", market=str(request), reason=str(error))
        else:
            host = entry.record.host
            log.info("market taken from the log", market=str(request), before=host)
            if host is not None and host != self._node:
                self.failovers.taken(request.id, self.ledger.silence(host))
        finally:
            self._claiming.discard(request.id)
        await self._settle(request.id)

    def _check_orphan(self, request: MarketRequest) -> None:
        """Raises LostError when a claim would take the market away from somebody, or start what is stopped."""
        present = self.ledger.known.market(request.id)
        if present is None or present.record.desired is not Desired.RUNNING or self._taken(present):
            raise LostError(request, present)

    async def _unplace(self, entry: Entry) -> None:
        market_id = entry.record.market.id
        try:
            await self.ledger.unplace(market_id, f"node {self._node} has room for {self.capacity} markets only")
        except UnavailableError as error:
            log.warning("market without room", market_id=market_id, reason=str(error))

    def announce(self, request: MarketRequest, reason: str) -> None:
        """Show a market of the settings before it can be started."""
        self.waiting[request.id] = Waiting(request, reason)

    async def start_wanted(self, request: MarketRequest) -> Level4Error | None:
        """Start a market of the settings, unless the log has it already; again and again while something is away.

        Returns why it never can be started.
        """
        pause = _FIRST_PAUSE
        self.waiting.pop(request.id, None)
        while not self._closing:
            entry = self.ledger.known.market(request.id)
            if entry is not None and _another(request, entry):
                other = ConfigError(
                    f"{request}: market id {request.id} is {entry.record.market} in the ownership log, on node "
                    f"{entry.record.host or 'none yet'}; stop that one first or use another id"
                )
                log.error("market cannot be started", market=str(request), reason=str(other))
                return other
            if request.id in self._claiming or self._taken(entry):
                log.info("market runs already", market=str(request), node=entry.record.host if entry else self._node)
                return None
            try:
                await self.start(request)
                return None
            except LostError:
                continue
            except (UnavailableError, ExchangeError) as error:
                if request.id in self.ledger.mine():
                    return None  # held, and tried again
                self.waiting[request.id] = Waiting(request, str(error))
                log.warning("market not started yet", market=str(request), reason=str(error), again_in=pause)
            except Level4Error as error:
                log.error("market cannot be started", market=str(request), reason=str(error))  # noqa: TRY400 - expected
                return error
            await trio.sleep(pause)
            if self.waiting.pop(request.id, None) is None:
                return None  # stopped meanwhile
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None

    def _taken(self, entry: Entry | None) -> bool:
        """Whether a market is to run and somebody has it."""
        return entry is not None and entry.record.desired is Desired.RUNNING and not self.ledger.free(entry)


def _another(request: MarketRequest, entry: Entry | None) -> bool:
    """Whether the id belongs to another market that is to run, be it placed or not."""
    return entry is not None and entry.record.desired is Desired.RUNNING and entry.record.market != request
