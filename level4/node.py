"""The composition root: builds the rooms, wires them, owns the root nursery, and ends everything in order.

    settings ─▶ publisher (Kafka) ◀─ feeds ◀─ tenancy (which markets run here) ◀─ host ◀─ control (gRPC)
                                                 │
                                              ledger ◀─▶ ownership log (Kafka)

Order of the end (SIGTERM, SIGINT, or a cancellation): no new markets, every feed stopped and marked, Kafka flushed
within its bound, what could not be delivered reported, then the control service has its last word. All of it takes
less than `STOP_SECONDS`.

Kafka or an exchange away at the start is no error: the node runs, says so, and keeps trying. Once it has read the
ownership log to its end it takes back what an earlier process of its name held, then starts what its settings name.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from random import Random
from typing import Final

import structlog
import trio

from level4.cluster.curtain import Curtain
from level4.cluster.failovers import Failovers
from level4.cluster.gossip import MULTICAST_PORT, GossipSettings
from level4.cluster.ledger import Ledger
from level4.cluster.members import Members
from level4.cluster.moving import Moving
from level4.cluster.placing import Placing
from level4.cluster.tenancy import Tenancy
from level4.control.changes import Changes
from level4.control.peer import PeerService
from level4.control.service import ControlService
from level4.exchanges import Venue, venue
from level4.feeds import TRANSPORTS, AddressBook, FeedSettings, Instruments, Rest
from level4.feeds.names import Names
from level4.host import Host
from level4.model import (
    ConfigError,
    Event,
    Level4Error,
    MarketRequest,
    MarketType,
    Publisher,
    Status,
    UnavailableError,
)
from level4.model.events import RUNS_PER_TERM
from level4.model.naming import NamedMarket
from level4.ops.access import access_of, credentials_of, is_loopback
from level4.ops.advertised import unreachable
from level4.ops.allowed import split_keys
from level4.ops.cluster_metrics import FailoverMetrics, cluster_metrics
from level4.ops.kafka import kafka_settings
from level4.ops.keys import follow_keys
from level4.ops.layers import DEFAULT
from level4.ops.settings import Settings
from level4.ops.tally import Tally
from level4.ops.telemetry import Telemetry
from level4.placement import Writer
from level4.publish import KafkaPublisher, LogSettings, OwnershipLog, PublisherSettings
from level4.rpc.errors import AlreadyExistsError
from level4.rpc.gate import RpcStats
from level4.rpc.health import Health
from level4.rpc.peers import Peers
from level4.rpc.serve import serve
from level4.stage import Gate, HeldFeeds, StreamEnds
from level4.swim import PROFILES

log = structlog.get_logger(__name__)

STOP_SECONDS: Final = 8.0
DRAIN_SECONDS: Final = 5.0
"""For what Kafka has not acknowledged yet."""
RPC_GRACE_SECONDS: Final = 1.0
HAND_OVER_SECONDS: Final = 4.5
LEAVE_SECONDS: Final = 1.0
"""For the last word in the ownership log."""


class _Announcing:
    """A publisher that also tells watchers when something happened to a feed, and when a failover is over."""

    def __init__(self, publisher: Publisher, changes: Changes, failovers: Failovers) -> None:
        self._publisher = publisher
        self._changes = changes
        self._failovers = failovers

    def put(self, event: Event) -> None:
        self._publisher.put(event)
        if type(event) is Status:
            self._changes.notify()
            if event.market_id is not None and event.event == "live":
                self._failovers.live(event.market_id)
            elif event.market_id is not None and event.event == "feed_stopped":
                self._failovers.given_up(event.market_id)


class Node:
    """One node. `run` ends when it is told to stop, or raises why it is of no use: not one of its markets can ever be
    started, or another node has its name."""

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
        instruments = Instruments(self._rest, addresses, cache)
        self._names = Names(instruments, self._venue)
        failovers = Failovers()
        tally = Tally(_Announcing(self.publisher, self._changes, failovers))
        curtain = Curtain(tally)
        self.feeds = HeldFeeds(
            FeedSettings(
                node=settings.hostname,
                spread_trigger=settings.spread_trigger,
                markets_per_connection=settings.markets_per_connection,
                addresses=addresses,
            ),
            publisher=curtain,
            venue=self._venue,
            transport=TRANSPORTS[settings.websocket_client](),
            rest=self._rest,
            instruments=instruments,
            random=random or Random(),
        )
        self.feeds.curtain = curtain
        self.tenancy = Tenancy(
            self.feeds, Gate(self.publisher), settings.hostname, settings.max_data_feeds, failovers
        )
        self.peers = Peers(credentials_of(settings))
        self.host = Host(settings, self.feeds, self.publisher, self._changes, self.tenancy, self.peers)
        log_settings = LogSettings(publishing.kafka)
        self._generation = time.time_ns() // 1_000_000
        self.members = self.host.members = Members(
            _gossip_settings(settings),
            generation=self._generation,
            random=random or Random(),
            about=self.host.meta,
            announce=self._announce,
            changed=self._members_changed,
            readdressed=self.peers.renew,
        )
        self.ledger = Ledger(
            Writer(settings.hostname, self._generation),
            lambda deliver: OwnershipLog(log_settings, deliver, random),
            about=self.host.record,
            changed=self._changed,
            membership=self.members,
        )
        self.tenancy.ledger = self.ledger
        self.placing = self.host.placing = Placing(self.tenancy, self.ledger, settings.placement, random or Random())
        self.host.moving = Moving(
            self.ledger, self.tenancy, self.feeds, StreamEnds(self.publisher), self.host.ask_release
        )
        self.publisher.may_publish = self.ledger.may_publish
        self.health = Health()
        self._access = access_of(settings)
        self._rpc_stats = RpcStats()
        self.telemetry = Telemetry(
            host=self.host,
            feeds=self.feeds,
            tally=tally,
            rest=self._rest,
            rpc=self._rpc_stats,
            publisher=lambda: self.publisher.stats,
            publishing=lambda: self.publisher.ready,
            http_host=settings.http_host,
            http_port=settings.http_port,
        )
        self.telemetry.metrics.add(cluster_metrics(self.members.gossip, self.members.changes))
        self.telemetry.metrics.add(FailoverMetrics(failovers))
        self._stop = trio.Event()
        self._hopeless: Level4Error | None = None

    def _changed(self, market_ids: Collection[int]) -> None:
        self.tenancy.changed(market_ids)
        self._changes.notify()

    def _announce(self, event: str, member: str, reason: str) -> None:
        """Publish what happened to another node."""
        epoch = self._generation // 1000 * RUNS_PER_TERM + 1
        self.publisher.put(Status(None, event, None, reason, member, epoch, 0, self.settings.hostname, 0))

    def _members_changed(self) -> None:
        self.feeds.share(self.members.sharing())
        self._changes.notify()

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
        async with self._rest, trio.open_nursery() as nursery:
            await nursery.start(self.telemetry.run)
            await nursery.start(self.publisher.run)
            await nursery.start(self.feeds.run)
            await nursery.start(self.tenancy.run)
            await nursery.start(self.peers.run)
            self.host.port = await nursery.start(self._serve)
            gossip = await nursery.start(self.members.run)
            nursery.start_soon(self._watch_name)
            await nursery.start(self.ledger.run)
            log.info(
                "node started",
                node=self.settings.hostname,
                control=f"{self.settings.rpc_host}:{self.host.port}",
                gossip=f"{gossip[0]}:{gossip[1]}",
                kafka=",".join(str(address) for address in self.settings.kafka_endpoints),
                simulator=None if self.settings.simulator is None else str(self.settings.simulator),
                markets=len(self.settings.markets),
            )
            for problem in unreachable(self.settings, gossip[0], self.host.port):
                log.warning(problem)
            task_status.started(self.host.port)
            with trio.CancelScope() as starting:
                nursery.start_soon(self._follow_keys)
                nursery.start_soon(self._watch_health)
                nursery.start_soon(self._cancel_when_stopped, starting)
                nursery.start_soon(self._watch_namesake)
                nursery.start_soon(self.placing.run)
                nursery.start_soon(self.host.keep_fresh)
                failed = await self._start_markets()
                if failed and len(failed) == len(self.settings.markets) and not self.ledger.mine():
                    self._give_up(failed[0])
            await self._stop.wait()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_SECONDS):
                await self._end()
            nursery.cancel_scope.cancel()
        if self._hopeless is not None:
            raise self._hopeless

    def _give_up(self, why: Level4Error) -> None:
        self._hopeless = why
        self._stop.set()

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    async def _serve(self, task_status: trio.TaskStatus[int]) -> None:
        await serve(
            [ControlService(self.host), PeerService(self.host)],
            health=self.health,
            host=self.settings.rpc_host,
            port=self.settings.rpc_port,
            name=self.settings.hostname,
            grace=RPC_GRACE_SECONDS,
            stats=self._rpc_stats,
            tls=self._access.tls,
            tokens=self._access.tokens,
            task_status=task_status,
        )

    async def _watch_health(self) -> None:
        """Health follows Kafka: a node that cannot publish is not to be sent markets."""
        while True:
            self.health.set_ready(self.host.ready)
            await trio.sleep(0.5)

    async def _watch_name(self) -> None:
        """Another node answers in gossip to this node's name, and was there first."""
        await self.members.conflicting.wait()
        self._give_up(AlreadyExistsError(str(self.members.conflict)))

    async def _follow_keys(self) -> None:
        keys = self.settings.cluster_keys
        if keys is not None and keys.path is not None:
            await follow_keys(keys.path, split_keys(keys.reveal()), self.members.gossip.set_keys)

    async def _watch_namesake(self) -> None:
        """Of two living processes with one name the younger gives way."""
        namesake = self.ledger.namesake
        await namesake.lives.wait()
        other = namesake.record
        if other is not None and other.by.generation < self.ledger.writer.generation:
            name, address = self.settings.hostname, other.address or "an unknown address"
            self._give_up(
                ConfigError(f"another node named {name} runs at {address}: give each node a HOSTNAME of its own")
            )
        else:
            log.warning("another process with this node's name has come; it is the younger one and has to go")

    async def _start_markets(self) -> list[Level4Error]:
        failed: list[Level4Error] = []

        async def one(wanted: MarketRequest | NamedMarket) -> None:
            try:
                request = wanted if isinstance(wanted, MarketRequest) else await self._names.patiently(wanted)
            except Level4Error as error:
                log.error("market cannot be started", market=str(wanted), reason=str(error))  # noqa: TRY400 - expected
                failed.append(error)
                return
            if (why := await self.tenancy.start_wanted(request)) is not None:
                failed.append(why)

        for wanted in self.settings.markets:
            if isinstance(wanted, MarketRequest):
                self.tenancy.announce(wanted, "waiting for Kafka")
        await self.ledger.wait_caught_up()
        await trio.sleep(self.ledger.namesake.may_live(time.time()))
        await self.tenancy.take_back()
        async with trio.open_nursery() as nursery:
            for wanted in self.settings.markets:
                nursery.start_soon(one, wanted)
        return failed

    async def _end(self) -> None:
        log.info("stopping", node=self.settings.hostname)
        self.host.draining = self.placing.closing = True
        await self.host.hand_over(HAND_OVER_SECONDS)
        await self.tenancy.close("the node is stopped")
        remainder = await self.publisher.drain(DRAIN_SECONDS)
        if remainder:
            log.warning("events not delivered: Kafka did not acknowledge them in time", events=remainder)
        try:
            with trio.move_on_after(LEAVE_SECONDS):
                double = self.ledger.namesake.lives.is_set() or self.members.conflicting.is_set()
                if not double:  # or the other's markets would be taken for free
                    await self.ledger.leave()
        except UnavailableError as error:
            log.info("no last word in the ownership log", reason=str(error))
        with trio.move_on_after(LEAVE_SECONDS):
            await self.members.leave()
        log.info("stopped", node=self.settings.hostname)


def _gossip_settings(settings: Settings) -> GossipSettings:
    keys = settings.cluster_keys
    return GossipSettings(
        settings.hostname,
        cluster=settings.cluster,
        host=settings.gossip_host,
        port=settings.gossip_port,
        any_port=is_loopback(settings.gossip_host) and settings.origins.get("gossip_port", DEFAULT) == DEFAULT,
        advertise=settings.gossip_advertise,
        seeds=tuple(str(seed) for seed in settings.seeds),
        multicast_port=MULTICAST_PORT if settings.multicast else None,
        keys=() if keys is None else split_keys(keys.reveal()),
        config=PROFILES[settings.swim_profile],
    )


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
