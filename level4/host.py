"""What the control service sees of the cluster, put together from the ownership log and from this node's feeds.

What runs where is the log's to say; the state of a market is known where it runs. `Tenancy` acts, this class answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

import structlog
import trio

from level4 import __version__
from level4.cluster.ledger import LostError
from level4.cluster.members import Members
from level4.cluster.meta import Meta
from level4.cluster.moving import Moving
from level4.cluster.placing import Placing
from level4.cluster.tenancy import FullError, Tenancy
from level4.control.changes import Changes
from level4.control.messages import market_message
from level4.control.ports import ActiveMarket, BookView, Ends, MoveInfo, NodeInfo, NodeState
from level4.elsewhere import Elsewhere, node_of_meta, node_of_record
from level4.exchanges import VENUES
from level4.feeds import Feeds
from level4.model import FeedState, Level4Error, MarketRequest, MarketType, Position
from level4.ops.advertised import control_address
from level4.ops.settings import Settings
from level4.placement import Desired, Entry, Mark, NodeRecord, Released, balance
from level4.proto.level4_pb2 import Market
from level4.publish import KafkaPublisher
from level4.rpc.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NodeUnavailableError,
    NotFoundError,
    ResourceExhaustedError,
)
from level4.rpc.peers import Peers

WATCH_SECONDS: Final = 1.0
START_SECONDS: Final = 15.0
"""For another node to resolve and claim a market."""
LIVE_SECONDS: Final = 60.0
READ_SECONDS: Final = 2.0
MOVE_SECONDS: Final = 28.0
"""For one market to move: its new host may have to wait for the exchange."""
ANSWER_SECONDS: Final = 4.0
MOVES_AT_ONCE: Final = 32
"""A move waits for the exchange most of its time: so a node ends in one wave, two if it hosts many."""

log = structlog.get_logger(__name__)


class DrainingError(FailedPreconditionError):
    """This node takes no markets any more; others may."""


class Host:
    """The markets of the cluster as this node knows them. Implements `level4.control.ports.MarketHost`."""

    def __init__(
        self,
        settings: Settings,
        feeds: Feeds,
        publisher: KafkaPublisher,
        changes: Changes,
        tenancy: Tenancy,
        peers: Peers,
    ) -> None:
        self._settings = settings
        self._feeds = feeds
        self._publisher = publisher
        self._changes = changes
        self._tenancy = tenancy
        self.members: Members
        self.placing: Placing
        """Like `moving`, set by whoever builds them: each asks the other."""
        self.moving: Moving
        self._peers = peers
        self.elsewhere = Elsewhere(settings.hostname, peers, self.address)
        self.draining = False
        self.port = 0

    @property
    def max_market_id(self) -> int:
        return self._settings.max_market_id

    @property
    def ready(self) -> bool:
        """Whether markets may be sent here."""
        return self._publisher.ready and self._tenancy.ledger.ready and not self.draining

    def node(self) -> NodeInfo:
        working = NodeState.READY if self.ready else NodeState.NOT_READY
        return NodeInfo(
            name=self._settings.hostname,
            active=self._tenancy.active,
            capacity=self._settings.max_data_feeds,
            state=NodeState.DRAINING if self.draining else working,
            version=__version__,
            address=control_address(self._settings, self.members.host, self.port),
        )

    def meta(self) -> Meta:
        """This node as it shows itself in gossip."""
        info = self.node()
        return Meta(
            control=info.address,
            capacity=info.capacity,
            active=info.active,
            draining=self.draining,
            ready=info.state is NodeState.READY,
            version=info.version,
            kafka=self._publisher.cluster_id,
            egress=self._settings.egress_group,
        )

    def record(self, mark: Mark) -> NodeRecord:
        """This node as it shows itself in the ownership log."""
        info = self.node()
        return NodeRecord(
            by=mark,
            at_ms=time.time_ns() // 1_000_000,
            address=info.address,
            active=info.active,
            capacity=info.capacity,
            draining=self.draining,
            version=info.version,
        )

    def nodes(self) -> Sequence[NodeInfo]:
        """Who writes into our log, and whom gossip sees: a node whose Kafka is away is in one of both only."""
        own = self._settings.hostname
        found = {own: self.node()}
        for peer in self.members.live():
            if peer.name != own and peer.meta is not None and not self.members.foreign(peer):
                found[peer.name] = node_of_meta(peer.name, peer.meta)
        for record in self._tenancy.ledger.nodes():
            if record.by.node not in found:
                found[record.by.node] = node_of_record(record)
        return list(found.values())

    def known_exchanges(self) -> Mapping[str, Collection[MarketType]]:
        known: dict[str, list[MarketType]] = {}
        for exchange, kind in VENUES:
            known.setdefault(exchange, []).append(kind)
        return known

    def active(self) -> Sequence[ActiveMarket]:
        present = self._tenancy.ledger.known.markets()
        running = [self._active(entry) for entry in present.values() if entry.record.desired is Desired.RUNNING]
        listed = {market.request.id for market in running}
        waiting = [
            ActiveMarket(one.request, FeedState.STARTING, None, None, one.reason)
            for one in self._tenancy.waiting.values()
            if one.request.id not in listed
        ]
        return [*running, *waiting]

    def _active(self, entry: Entry) -> ActiveMarket:
        record = entry.record
        market_id = record.market.id
        state, reason = FeedState.STARTING, record.reason
        if record.host != self._settings.hostname:
            told = self.elsewhere.told(market_id, record.host)
            if told is not None:
                state, reason = told
        elif (market := self._feeds.market(market_id)) is not None:
            state, reason = market.state, market.reason
        elif (waiting := self._tenancy.waiting.get(market_id)) is not None:
            reason = waiting.reason
        return ActiveMarket(record.market, state, record.host, record.instrument, reason)

    def hosted(self) -> Sequence[ActiveMarket]:
        return [market for market in self.active() if market.node == self._settings.hostname]

    def is_live(self, market_id: int) -> bool:
        entry = self._tenancy.ledger.known.market(market_id)
        return entry is not None and self._active(entry).state is FeedState.LIVE

    async def refresh(self, market_ids: Collection[int] | None = None) -> None:
        wanted = [one for one in self.active() if market_ids is None or one.request.id in market_ids]
        if await self.elsewhere.refresh(wanted):
            self._changes.notify()

    async def keep_fresh(self) -> None:
        """Until cancelled: while somebody watches, ask for the states of markets elsewhere, again and again."""
        while True:
            await trio.sleep(WATCH_SECONDS)
            if self._changes.watched:
                await self.refresh()

    def address(self, node: str) -> str:
        """Where a node's control service is. Raises NodeUnavailableError when nobody has told."""
        for known in self.nodes():
            if known.name == node and known.address:
                return known.address
        raise NodeUnavailableError(f"node {node} is not known to be alive; its markets go to others soon")

    # -- starting and stopping ----------------------------------------------------------------------------------

    async def start(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        """On the node that placement chooses; on another one when that cannot be reached or has just become full."""
        self._tenancy.ledger.check()
        refused: dict[str, Level4Error] = {}
        while (node := self.placing.choose(refused)) is not None:
            try:
                if node == self._settings.hostname:
                    return await self.start_here(request, wait_live)
                return await self._start_there(node, request, wait_live)
            except (NodeUnavailableError, ResourceExhaustedError, DrainingError) as error:
                entry = self._tenancy.ledger.known.market(request.id)
                if entry is not None and entry.record.desired is Desired.RUNNING and entry.record.host == node:
                    raise  # it has the market, and tries
                refused[node] = error
        if refused:
            raise next(reversed(refused.values()))
        if self.draining:
            raise FailedPreconditionError(f"node {self._settings.hostname} is shutting down, and there is no other")
        raise ResourceExhaustedError(f"{request} was not started: no node has room; add a node or raise MAX_DATA_FEEDS")

    async def _start_there(self, node: str, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        seconds = LIVE_SECONDS if wait_live else START_SECONDS
        reply = await self._peers.host(
            self.address(node), market_message(ActiveMarket(request, FeedState.STARTING)), wait_live, seconds
        )
        return await self._read_back(request, node, reply.market)

    async def _read_back(self, request: MarketRequest, node: str, told: Market) -> ActiveMarket:
        """What another node has claimed and told of, once it can be read here, too."""
        with trio.move_on_after(READ_SECONDS):
            while (entry := self._tenancy.ledger.known.market(request.id)) is None or entry.record.host != node:
                await self._changes.next().wait()
        instrument = None if entry is None else entry.record.instrument
        now = ActiveMarket(request, FeedState(told.state), node, instrument, told.reason or None)
        self.elsewhere.note(now)
        return now

    async def start_here(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        if self.draining:
            raise DrainingError(f"node {self._settings.hostname} is shutting down; ask another node")
        try:
            await self._tenancy.start(request)
        except LostError as error:
            raise AlreadyExistsError(str(error)) from None
        except FullError as error:
            raise ResourceExhaustedError(str(error)) from None
        self._changes.notify()
        while wait_live and not self.is_live(request.id):
            changed = self._changes.next()
            if self._feeds.market(request.id) is None:
                raise NotFoundError(f"market {request.id} was stopped before it was LIVE")
            await changed.wait()
        return self._find(request.id)

    def _find(self, market_id: int) -> ActiveMarket:
        active = self.active()
        for market in active:
            if market.request.id == market_id:
                return market
        ids = sorted(market.request.id for market in active)
        raise NotFoundError(f"market {market_id} is not active; active are {ids or 'none'}")

    async def stop(self, market_id: int, reason: str = "asked to") -> ActiveMarket:
        market = self._find(market_id)
        await self._tenancy.stop(market_id, reason)
        self._changes.notify()
        return ActiveMarket(market.request, FeedState.STOPPED, market.node, market.instrument, reason)

    # -- moving -------------------------------------------------------------------------------------------------

    async def take(self, market_id: int, source: str) -> ActiveMarket:
        if self.draining:
            raise DrainingError(f"node {self._settings.hostname} is shutting down; ask another node")
        try:
            await self.moving.take(market_id, source)
        except LostError as error:
            raise AlreadyExistsError(str(error)) from None
        except FullError as error:
            raise ResourceExhaustedError(str(error)) from None
        return self._find(market_id)

    async def release(self, market_id: int, target: str) -> Ends:
        released = await self.moving.release(market_id, target)
        spread, timesales = released.spread, released.timesales
        return Ends(
            None if spread is None else (spread.epoch, spread.seq),
            None if timesales is None else (timesales.epoch, timesales.seq),
            released.trade_id,
        )

    async def ask_release(self, source: str, market_id: int) -> Released:
        """Ask a node to release a market to this one."""
        own = self._settings.hostname
        reply = await self._peers.release(self.address(source), market_id, own, ANSWER_SECONDS)
        return Released(
            Position(reply.spread_epoch, reply.spread_seq) if reply.spread_seq else None,
            Position(reply.timesales_epoch, reply.timesales_seq) if reply.timesales_seq else None,
            reply.trade_id or None,
        )

    async def move(self, market_id: int, node: str | None) -> ActiveMarket:
        market = self._find(market_id)
        source = market.node
        if source is None:
            raise FailedPreconditionError(f"{market.request} has no host yet; it gets one as soon as there is room")
        if node == source:
            raise FailedPreconditionError(f"{market.request} is on node {node} already")
        target = node or self.placing.choose({source})
        if target is None:
            raise ResourceExhaustedError(f"{market.request} stays on node {source}: no other node has room")
        if target == self._settings.hostname:
            return await self.take(market_id, source)
        reply = await self._peers.take(self.address(target), market_id, source, MOVE_SECONDS)
        return await self._read_back(market.request, target, reply.market)

    async def drain(self, node: str) -> Sequence[MoveInfo]:
        ids = [market.request.id for market in self.active() if market.node == node]
        return await self._move_all([(market_id, node, None) for market_id in ids])

    async def rebalance(self, dry_run: bool) -> Sequence[MoveInfo]:
        left: dict[str, list[int]] = {}
        for market in self.active():
            left.setdefault(market.node or "", []).append(market.request.id)
        plan = [(left[giver].pop(), giver, taker) for giver, taker in balance(self.placing.rooms())]
        if dry_run:
            await trio.lowlevel.checkpoint()
            return [MoveInfo(*one) for one in plan]
        return await self._move_all(plan)

    async def hand_over(self, seconds: float) -> None:
        """Give this node's markets to others, as many as possible within so many seconds."""
        own = self._settings.hostname
        if self._tenancy.ledger.ready and self.placing.choose({own}) is not None:
            with trio.move_on_after(seconds):
                await self.drain(own)

    async def _move_all(self, plan: Sequence[tuple[int, str, str | None]]) -> list[MoveInfo]:
        done: list[MoveInfo] = []
        limit = trio.CapacityLimiter(MOVES_AT_ONCE)

        async def one(market_id: int, source: str, target: str | None) -> None:
            async with limit:
                try:
                    moved = await self.move(market_id, target)
                except Level4Error as error:
                    log.warning("market not moved", market_id=market_id, source=source, reason=str(error))
                    done.append(MoveInfo(market_id, source, target or "", str(error)))
                else:
                    done.append(MoveInfo(market_id, source, moved.node or ""))

        async with trio.open_nursery() as nursery:
            for planned in plan:
                nursery.start_soon(one, *planned)
        return sorted(done, key=lambda move: move.market_id)

    def watch(self) -> AsyncIterator[Sequence[ActiveMarket]]:
        return self._changes.follow(self.active)

    async def book(self, market_id: int, depth: int) -> BookView:
        host = self._find(market_id).node
        if host is None or host == self._settings.hostname:
            return await self.book_here(market_id, depth)
        reply = await self._peers.book(self.address(host), market_id, depth)
        return BookView(
            FeedState(reply.state),
            [(level.price, level.size) for level in reply.bids],
            [(level.price, level.size) for level in reply.asks],
            reply.exchange_us or None,
            reply.received_us or None,
        )

    async def book_here(self, market_id: int, depth: int) -> BookView:
        await trio.lowlevel.checkpoint()
        market = self._feeds.market(market_id)
        if market is None:
            raise NotFoundError(f"market {market_id} does not run on node {self._settings.hostname}")
        book = market.book
        return BookView(market.state, book.bids.top(depth), book.asks.top(depth))
