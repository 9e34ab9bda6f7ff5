"""The composition root: builds the rooms, wires them, owns the root nursery, and ends everything in order.

    settings ─▶ publisher (Kafka) ◀─ feeds ◀─ host (which markets run here) ◀─ control (gRPC)

Order of the end (SIGTERM, SIGINT, or a cancellation): no new markets, every feed stopped and marked, Kafka flushed
within its bound, what could not be delivered reported, then the control service has its last word. All of it takes
less than `STOP_SECONDS`.

Kafka or an exchange away at the start is no error: the node runs, says so, and keeps trying.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

import structlog
import trio

from level4 import __version__
from level4.control.changes import Changes
from level4.control.ports import ActiveMarket, BookView, NodeInfo, NodeState
from level4.control.service import ControlService
from level4.exchanges import VENUES, Venue, venue
from level4.feeds import TRANSPORTS, AddressBook, Feeds, FeedSettings, Instruments, Rest
from level4.model import (
    ConfigError,
    Event,
    ExchangeError,
    FeedState,
    Level4Error,
    MarketRequest,
    MarketType,
    Publisher,
    Status,
    UnavailableError,
)
from level4.ops.kafka import kafka_settings
from level4.ops.settings import Settings
from level4.publish import KafkaPublisher, PublisherSettings
from level4.rpc.errors import FailedPreconditionError, NotFoundError, ResourceExhaustedError
from level4.rpc.health import Health
from level4.rpc.serve import serve

log = structlog.get_logger(__name__)

STOP_SECONDS: Final = 8.0
DRAIN_SECONDS: Final = 5.0
"""For what Kafka has not acknowledged yet."""
RPC_GRACE_SECONDS: Final = 1.0
KAFKA_SECONDS: Final = 3.0
"""For Kafka's first answer, before markets that wait for it are worth a warning."""
MAX_RETRY_SECONDS: Final = 60.0


class _Announcing:
    """A publisher that also tells watchers when something happened to a feed."""

    def __init__(self, publisher: Publisher, changes: Changes) -> None:
        self._publisher = publisher
        self._changes = changes

    def put(self, event: Event) -> None:
        self._publisher.put(event)
        if type(event) is Status:
            self._changes.notify()


class Host:
    """The markets of this node. Implements `level4.control.ports.MarketHost` for a cluster of one."""

    def __init__(self, settings: Settings, feeds: Feeds, publisher: KafkaPublisher, changes: Changes) -> None:
        self._settings = settings
        self._feeds = feeds
        self._publisher = publisher
        self._changes = changes
        self._terms: dict[int, int] = {}
        """Highest term of each market id in this process: a term is never used twice."""
        self._waiting: dict[int, tuple[MarketRequest, str]] = {}
        """Markets that are wanted but could not be started yet, and why."""
        self.draining = False
        self.port = 0

    @property
    def max_market_id(self) -> int:
        return self._settings.max_market_id

    def node(self) -> NodeInfo:
        ready = NodeState.READY if self._publisher.ready else NodeState.NOT_READY
        return NodeInfo(
            name=self._settings.hostname,
            active=len(self._feeds.markets()),
            capacity=self._settings.max_data_feeds,
            state=NodeState.DRAINING if self.draining else ready,
            version=__version__,
            address=f"{self._settings.rpc_host}:{self.port}",
        )

    def nodes(self) -> Sequence[NodeInfo]:
        return [self.node()]

    def known_exchanges(self) -> Mapping[str, Collection[MarketType]]:
        known: dict[str, list[MarketType]] = {}
        for exchange, kind in VENUES:
            known.setdefault(exchange, []).append(kind)
        return known

    def active(self) -> Sequence[ActiveMarket]:
        running = [
            ActiveMarket(
                feed.request, feed.state, self._settings.hostname, feed.instrument, self._reason(feed.request.id)
            )
            for feed in self._feeds.markets()
        ]
        waiting = [
            ActiveMarket(request, FeedState.STARTING, None, None, reason) for request, reason in self._waiting.values()
        ]
        return [*running, *waiting]

    def _reason(self, market_id: int) -> str | None:
        market = self._feeds.market(market_id)
        return None if market is None else market.reason

    def is_live(self, market_id: int) -> bool:
        market = self._feeds.market(market_id)
        return market is not None and market.state is FeedState.LIVE

    async def start(self, request: MarketRequest, wait_live: bool) -> ActiveMarket:
        if self.draining:
            raise FailedPreconditionError(f"node {self._settings.hostname} is shutting down; ask another node")
        if len(self._feeds.markets()) >= self._settings.max_data_feeds:
            raise ResourceExhaustedError(
                f"node {self._settings.hostname} hosts {self._settings.max_data_feeds} markets, which is all it may"
                f" (MAX_DATA_FEEDS); stop one or add a node"
            )
        try:
            await self._publisher.ensure_market(request.id)
        except ConfigError as error:
            raise FailedPreconditionError(str(error)) from None
        term = max(self._terms.get(request.id, 0) + 1, time.time_ns() // 1_000_000_000)
        await self._feeds.start(request, term)
        self._terms[request.id] = term
        self._changes.notify()
        while wait_live and not self.is_live(request.id):
            changed = self._changes.next()
            if self._feeds.market(request.id) is None:
                raise NotFoundError(f"market {request.id} was stopped before it was LIVE")
            await changed.wait()
        return self._find(request.id)

    def _find(self, market_id: int) -> ActiveMarket:
        for market in self.active():
            if market.request.id == market_id:
                return market
        ids = sorted(market.request.id for market in self.active())
        raise NotFoundError(f"market {market_id} is not active; active are {ids or 'none'}")

    async def stop(self, market_id: int, reason: str = "asked to") -> ActiveMarket:
        market = self._find(market_id)
        self._waiting.pop(market_id, None)
        if self._feeds.market(market_id) is not None:
            await self._feeds.stop(market_id, reason)
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

    async def start_wanted(self, request: MarketRequest) -> Level4Error | None:
        """Start a market of the settings; try again until its exchange answers. Returns why it never can."""
        delay = 1.0
        self._waiting[request.id] = request, "starting"
        while request.id in self._waiting:
            try:
                await self.start(request, wait_live=False)
                break
            except (UnavailableError, ExchangeError) as error:
                self._waiting[request.id] = request, str(error)
                log.warning("market not started yet", market=str(request), reason=str(error), again_in=delay)
            except Level4Error as error:
                self._waiting.pop(request.id, None)
                log.error("market cannot be started", market=str(request), reason=str(error))  # noqa: TRY400 - expected
                return error
            await trio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_SECONDS)
        self._waiting.pop(request.id, None)
        return None

    async def stop_all(self, reason: str) -> None:
        self.draining = True
        self._waiting.clear()
        for view in self._feeds.markets():
            await self._feeds.stop(view.request.id, reason)


class Node:
    """One node. `run` ends when it is told to stop, or raises why not one of its markets can ever be started."""

    def __init__(self, settings: Settings, *, random: Random | None = None) -> None:
        self.settings = settings
        publishing = PublisherSettings(
            kafka_settings(settings), settings.queue_events, settings.queue_bytes, encoding=settings.encoding
        )
        self.publisher = KafkaPublisher(publishing, settings.hostname)
        self._changes = Changes()
        addresses = AddressBook(
            websocket_overrides=_overrides(settings.endpoints, "websocket"),
            rest_overrides=_overrides(settings.endpoints, "rest"),
            simulator=None if settings.simulator is None else str(settings.simulator),
        )
        self._rest = Rest()
        # A simulator's made-up listings must not be taken for an exchange's on the next start, nor the other way round.
        cache = settings.cache_dir if settings.simulator is None else None
        self.feeds = Feeds(
            FeedSettings(
                node=settings.hostname,
                spread_trigger=settings.spread_trigger,
                markets_per_connection=settings.markets_per_connection,
                addresses=addresses,
            ),
            publisher=_Announcing(self.publisher, self._changes),
            venue=self._venue,
            transport=TRANSPORTS[settings.websocket_client](),
            rest=self._rest,
            instruments=Instruments(self._rest, addresses, cache),
            random=random or Random(),
        )
        self.host = Host(settings, self.feeds, self.publisher, self._changes)
        self.health = Health()
        self._stop = trio.Event()

    def _venue(self, exchange: str, kind: MarketType) -> Venue:
        return venue(exchange, kind, self.settings.protocols)

    def stop(self) -> None:
        """Begin the orderly end."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def run(self, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stop` is called; the control service's port is reported when everything is up."""
        hopeless: Level4Error | None = None
        async with self._rest, trio.open_nursery() as nursery:
            await nursery.start(self.publisher.run)
            await nursery.start(self.feeds.run)
            self.host.port = await nursery.start(self._serve)
            log.info(
                "node started",
                node=self.settings.hostname,
                control=f"{self.settings.rpc_host}:{self.host.port}",
                kafka=",".join(str(address) for address in self.settings.kafka_endpoints),
                simulator=None if self.settings.simulator is None else str(self.settings.simulator),
                markets=len(self.settings.markets),
            )
            task_status.started(self.host.port)
            with trio.CancelScope() as starting:
                nursery.start_soon(self._watch_health)
                nursery.start_soon(self._cancel_when_stopped, starting)
                failed = await self._start_markets()
                if failed and len(failed) == len(self.settings.markets):
                    hopeless = failed[0]
                    self._stop.set()
            await self._stop.wait()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_SECONDS):
                await self._end()
            nursery.cancel_scope.cancel()
        if hopeless is not None:
            raise hopeless

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    async def _serve(self, task_status: trio.TaskStatus[int]) -> None:
        await serve(
            [ControlService(self.host)],
            health=self.health,
            host=self.settings.rpc_host,
            port=self.settings.rpc_port,
            name=self.settings.hostname,
            grace=RPC_GRACE_SECONDS,
            task_status=task_status,
        )

    async def _watch_health(self) -> None:
        """Health follows Kafka: a node that cannot publish is not to be sent markets."""
        while True:
            self.health.set_ready(self.publisher.ready and not self.host.draining)
            await trio.sleep(0.5)

    async def _start_markets(self) -> list[Level4Error]:
        failed: list[Level4Error] = []

        async def one(request: MarketRequest) -> None:
            error = await self.host.start_wanted(request)
            if error is not None:
                failed.append(error)

        with trio.move_on_after(KAFKA_SECONDS):
            await self.publisher.first_connected()
        async with trio.open_nursery() as nursery:
            for request in self.settings.markets:
                nursery.start_soon(one, request)
        return failed

    async def _end(self) -> None:
        log.info("stopping", node=self.settings.hostname)
        await self.host.stop_all("the node is stopped")
        remainder = await self.publisher.drain(DRAIN_SECONDS)
        if remainder:
            log.warning("events not delivered: Kafka did not acknowledge them in time", events=remainder)
        log.info("stopped", node=self.settings.hostname)


def _overrides(endpoints: Mapping[str, str], kind: str) -> dict[str, str]:
    suffix = f".{kind}"
    return {name.removesuffix(suffix): address for name, address in endpoints.items() if name.endswith(suffix)}


async def run_until_signalled(node: Node, announce: Callable[[str], object] | None = None) -> None:
    """Run a node in the main thread: SIGTERM and SIGINT begin its orderly end, a second one ends it at once."""
    async with trio.open_nursery() as nursery:

        async def listen(task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for number in signals:
                    if node.stopping:
                        os._exit(128 + number)
                    node.stop()

        async def run(task_status: trio.TaskStatus[int]) -> None:
            await node.run(task_status)
            nursery.cancel_scope.cancel()

        await nursery.start(listen)
        port = await nursery.start(run)
        if announce is not None:
            announce(f"control service on {node.settings.rpc_host}:{port}")


def main(settings: Settings, announce: Callable[[str], object] | None = None) -> None:
    """Run a node until a signal ends it. `announce` is told the address of the control service when it is up."""
    trio.run(partial(run_until_signalled, Node(settings), announce))
