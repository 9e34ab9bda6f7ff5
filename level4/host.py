"""What the control service sees of the cluster, put together from the ownership log and from this node's feeds.

What runs where is the log's to say; the state of a market is known where it runs. `Tenancy` acts, this class answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import trio

from level4 import __version__
from level4.cluster.ledger import LostError
from level4.cluster.members import Members
from level4.cluster.meta import Meta
from level4.cluster.tenancy import FullError, Tenancy
from level4.control.changes import Changes
from level4.control.ports import ActiveMarket, BookView, NodeInfo, NodeState
from level4.exchanges import VENUES
from level4.feeds import Feeds
from level4.model import ConfigError, FeedState, Instrument, MarketRequest, MarketType
from level4.ops.settings import Settings
from level4.placement import Desired, Entry, Mark, NodeRecord
from level4.publish import KafkaPublisher
from level4.rpc.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError, ResourceExhaustedError


class HeldFeeds(Feeds):
    """The feeds, with what the cluster asks of them beside."""

    async def resolve(self, request: MarketRequest) -> Instrument:
        return await self._instruments.resolve(request, self._venue(request.exchange, request.type).book)

    def term(self, market_id: int) -> int | None:
        market = self.market(market_id)
        return None if market is None else market.term


class Gate:
    """The publisher's door; a missing partition is not the request's fault."""

    def __init__(self, publisher: KafkaPublisher) -> None:
        self.fence = publisher.fence
        self._publisher = publisher

    async def ensure_market(self, market_id: int) -> None:
        try:
            await self._publisher.ensure_market(market_id)
        except ConfigError as error:
            raise FailedPreconditionError(str(error)) from None


class Host:
    """The markets of the cluster as this node knows them. Implements `level4.control.ports.MarketHost`."""

    def __init__(
        self, settings: Settings, feeds: Feeds, publisher: KafkaPublisher, changes: Changes, tenancy: Tenancy
    ) -> None:
        self._settings = settings
        self._feeds = feeds
        self._publisher = publisher
        self._changes = changes
        self._tenancy = tenancy
        self.members: Members
        """Set by whoever builds both: each asks the other."""
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
            address=f"{self._reachable()}:{self.port}",
        )

    def _reachable(self) -> str:
        """The host part of this node's control address, as others call it: bound to all addresses, it is reached at
        the one that gossip found out."""
        host = self._settings.rpc_host
        found = self.members.host if host in ("0.0.0.0", "::") else ""
        return f"[{found or host}]" if ":" in (found or host) else found or host

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
                found[peer.name] = _of_meta(peer.name, peer.meta)
        for record in self._tenancy.ledger.nodes():
            if record.by.node not in found:
                found[record.by.node] = _of_record(record)
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
        if (market := self._feeds.market(market_id)) is not None:
            state, reason = market.state, market.reason
        elif (waiting := self._tenancy.waiting.get(market_id)) is not None:
            reason = waiting.reason
        return ActiveMarket(record.market, state, record.host, record.instrument, reason)

    def is_live(self, market_id: int) -> bool:
        market = self._feeds.market(market_id)
        return market is not None and market.state is FeedState.LIVE

    async def start(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        if self.draining:
            raise FailedPreconditionError(f"node {self._settings.hostname} is shutting down; ask another node")
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

    def watch(self) -> AsyncIterator[Sequence[ActiveMarket]]:
        return self._changes.follow(self.active)

    async def book(self, market_id: int, depth: int) -> BookView:
        await trio.lowlevel.checkpoint()
        market = self._feeds.market(market_id)
        if market is None:
            raise NotFoundError(f"market {market_id} does not run on this node")
        book = market.book
        return BookView(market.state, book.bids.top(depth), book.asks.top(depth))


def _of_record(record: NodeRecord) -> NodeInfo:
    return NodeInfo(
        name=record.by.node,
        active=record.active,
        capacity=record.capacity,
        state=NodeState.DRAINING if record.draining else NodeState.READY,
        version=record.version,
        address=record.address,
    )


def _of_meta(name: str, meta: Meta) -> NodeInfo:
    working = NodeState.READY if meta.ready else NodeState.NOT_READY
    state = NodeState.DRAINING if meta.draining else working
    return NodeInfo(name, meta.active, meta.capacity, state, meta.version, meta.control)
