"""The public face of the room: markets are started and stopped here, connections shared, budgets kept.

Markets of one protocol and address share connections up to the exchange's limit; where numbers run over a whole
connection, a break costs all its books, so only a few share one. A market whose repairs fail on a shared connection
moves to another one instead of taking its neighbours down.

One task per connection and one per market run in one nursery. A bug in any of them is contained by that task; what
leaves `run` is a cancellation or a bug in this module.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, Literal, Protocol

import structlog
import trio

from level4.exchanges.scheme import Channel, Scheme
from level4.feeds.addresses import AddressBook
from level4.feeds.connection import Connection
from level4.feeds.feed import Feed, Route
from level4.feeds.handover import Handover
from level4.feeds.instruments import Instruments
from level4.feeds.pacing import Allowance
from level4.feeds.rest import Rest
from level4.feeds.scouting import Scouting
from level4.feeds.stats import ConnectionStats, FeedView
from level4.feeds.transport import Transport
from level4.market import Market, MarketStats, Shadow
from level4.model import Commands, ConfigError, Instrument, MarketRequest, MarketType, Publisher, UnavailableError

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS: Final = 60.0
"""Time in which the connections of one start may be made before the later ones are shared by more markets."""


class Venue(Protocol):
    """Which protocols serve one exchange and type."""

    @property
    def book(self) -> type[Scheme]: ...

    @property
    def trades(self) -> type[Scheme]: ...


@dataclass(frozen=True, slots=True)
class FeedSettings:
    node: str
    """Name of this node, in every event."""
    spread_trigger: Literal["price", "size"] = "price"
    """What makes a spread event: a changed best price, or also a changed size at the best."""
    markets_per_connection: int = 4
    """Markets that share a connection where its sequence runs over all of them."""
    addresses: AddressBook = field(default_factory=AddressBook)


class Feeds:
    """All feeds of a node. `run` must be running before `start` is called.

    `venue` names the protocols of an exchange and type (raises ConfigError for an unknown one); `random` spreads
    reconnections; `wall` gives nanoseconds since 1970 for stamps.
    """

    def __init__(
        self,
        settings: FeedSettings,
        *,
        publisher: Publisher,
        venue: Callable[[str, MarketType], Venue],
        transport: Transport,
        rest: Rest,
        instruments: Instruments,
        random: Random,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._venue = venue
        self._transport = transport
        self._rest = rest
        self._instruments = instruments
        self._random = random
        self._wall = wall
        self._frame: list[Market | Shadow] = []
        self._feeds: dict[int, Feed] = {}
        self._starting: set[int] = set()
        self._connections: dict[tuple[str, str], list[Connection]] = {}
        self._connects: dict[tuple[str, int, float], Allowance] = {}
        self._scouting: dict[tuple[str, str], Scouting] = {}
        self._share = 1
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Markets are not told: whoever shuts down a node stops them first."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._feeds.clear()
            self._connections.clear()

    # -- markets ------------------------------------------------------------------------------------------------

    async def start(self, request: MarketRequest, term: int) -> Instrument:
        """Find the instrument and start its feed; returns before anything is connected.

        Raises ConfigError (unknown exchange, type or symbol; id in use), UnavailableError or ExchangeError (the
        instrument list cannot be had).
        """
        if request.id in self._feeds or request.id in self._starting:
            raise ConfigError(f"{request}: market id {request.id} runs on this node already")
        self._starting.add(request.id)
        try:
            venue = self._venue(request.exchange, request.type)
            instrument = await self._instruments.resolve(request, venue.book)
            trades_symbol = instrument.native_symbol
            if _other_list(venue.book, venue.trades):
                trades_symbol = (await self._instruments.resolve(request, venue.trades)).native_symbol
            if self._nursery is None:
                raise UnavailableError(f"{request}: the feeds of this node do not run; not started")
            plan = _plan(venue, instrument.native_symbol, trades_symbol, self._address)
            feed = self._make_feed(request, instrument, term, venue)
            feed.start()
            for scheme, channels, symbol in plan:
                self._attach(feed, scheme, channels, symbol)
            self._feeds[request.id] = feed
            self._nursery.start_soon(_contained, feed.run)
        finally:
            self._starting.discard(request.id)
        log.info("market started", market=str(request), symbol=instrument.native_symbol, term=term)
        return instrument

    async def stop(self, market_id: int, reason: str) -> None:
        """Stop a market: unsubscribed, its last event published when this returns. Unknown ids raise ConfigError."""
        feed = self._feeds.pop(market_id, None)
        if feed is None:
            raise ConfigError(f"market {market_id} does not run on this node; it runs {sorted(self._feeds) or 'none'}")
        # From here on the end must be whole: no frame may come between, and no cancellation.
        feed.scope.cancel()
        for route in feed.routes:
            self._detach(route)
        feed.stop(reason)
        log.info("market stopped", market=str(feed.request), reason=reason)
        with trio.CancelScope(shield=True):
            await feed.done.wait()

    def markets(self) -> list[FeedView]:
        """All markets with their states, by id."""
        return [
            FeedView(
                feed.request,
                feed.instrument,
                feed.term,
                feed.market.state,
                {channel: route.connection.address for route in feed.routes for channel in route.subscription.channels},
                feed.stats,
            )
            for _, feed in sorted(self._feeds.items())
        ]

    def market(self, market_id: int) -> Market | None:
        """The market with this id, to look at (its book, its runs)."""
        feed = self._feeds.get(market_id)
        return None if feed is None else feed.market

    def connections(self) -> list[ConnectionStats]:
        return [connection.stats for each in self._connections.values() for connection in each]

    def clock_offsets(self) -> dict[str, int]:
        """By exchange: the least difference between receive time and its time in the last minute, in microseconds."""
        offsets: dict[str, int] = {}
        for feed in self._feeds.values():
            offset, exchange = feed.stats.market.clock_us, feed.request.exchange
            if offset is not None:
                offsets[exchange] = min(offset, offsets.get(exchange, offset))
        return offsets

    def share(self, nodes: int) -> None:
        """Divide what the exchanges allow among so many nodes behind one address."""
        self._share = nodes
        self._rest.share(nodes)
        for allowance in self._connects.values():
            allowance.share(nodes)

    # -- connections --------------------------------------------------------------------------------------------

    def _make_feed(self, request: MarketRequest, instrument: Instrument, term: int, venue: Venue) -> Feed:
        def make_market(commands: Commands, runs: tuple[int, int], stats: MarketStats) -> Market:
            return Market(
                market_id=request.id,
                instrument=instrument,
                sync=venue.book.sync,
                exchange_us=venue.book.exchange_us,
                trade_us=venue.trades.exchange_us,
                term=term,
                node=self._settings.node,
                publisher=self._publisher,
                commands=commands,
                frame=self._frame,
                spread_trigger=self._settings.spread_trigger,
                contiguous_trade_ids=venue.trades.contiguous_trade_ids,
                crossed_seconds=venue.book.crossed_seconds,
                runs=runs,
                stats=stats,
            )

        feed = Feed(
            request=request,
            instrument=instrument,
            term=term,
            make_market=make_market,
            reconnect=lambda route, reason: self._reconnect(feed, route, reason),
            rest=self._rest,
            addresses=self._settings.addresses,
            random=self._random,
            wall=self._wall,
        )
        return feed

    def _address(self, scheme: type[Scheme], channel: Channel) -> str:
        return self._settings.addresses.websocket(scheme, channel)

    def _attach(self, feed: Feed, scheme: type[Scheme], channels: tuple[Channel, ...], symbol: str) -> None:
        connection = self._connection(scheme, self._address(scheme, channels[0]), symbol)
        subscription = feed.subscription(symbol, channels)
        feed.routes.append(Route(connection, subscription))
        connection.attach(subscription)

    def _connection(
        self, scheme: type[Scheme], address: str, symbol: str, but_not: Connection | None = None
    ) -> Connection:
        """One with room for this symbol, made if there is none."""
        key = (scheme.protocol, address)
        there = self._connections.setdefault(key, [])
        for connection in there:
            if connection is not but_not and connection.has_room(symbol):
                return connection
        return self._new_connection(scheme, address)

    def _new_connection(self, scheme: type[Scheme], address: str) -> Connection:
        if self._nursery is None:
            raise RuntimeError("a connection is wanted while the feeds do not run")
        limits = scheme.limits
        there = self._connections.setdefault((scheme.protocol, address), [])
        capacity = limits.markets_per_connection
        soon = _PATIENCE_SECONDS * limits.connects / limits.connects_seconds
        if scheme.sync.connection_sequence and len(there) < soon:
            capacity = min(capacity, self._settings.markets_per_connection)
        connection = Connection(
            scheme,
            address,
            transport=self._transport,
            frame=self._frame,
            scouting=self._scouts(scheme, address),
            random=self._random,
            wall=self._wall,
            capacity=capacity,
            retire=self._retire,
        )
        there.append(connection)
        self._nursery.start_soon(_contained, connection.run)
        return connection

    def _attempts(self, scheme: type[Scheme]) -> Allowance:
        """The allowance of connection attempts, which an exchange counts for all its addresses together."""
        limits = scheme.limits
        key = (scheme.exchange, limits.connects, limits.connects_seconds)
        if key not in self._connects:
            self._connects[key] = Allowance(limits.connects, limits.connects_seconds, self._share)
        return self._connects[key]

    def _scouts(self, scheme: type[Scheme], address: str) -> Scouting:
        """Those who wait for one address."""
        key = (scheme.protocol, address)
        if key not in self._scouting:
            self._scouting[key] = Scouting(self._attempts(scheme), self._random)
        return self._scouting[key]

    def _detach(self, route: Route) -> None:
        connection = route.connection
        connection.detach(route.subscription)
        self._close_if_empty(connection)

    def _close_if_empty(self, connection: Connection) -> None:
        there = self._connections[connection.scheme_type.protocol, connection.address]
        if connection.empty and connection in there:
            connection.close()
            there.remove(connection)

    def _retire(self, old: Connection, reason: str) -> None:
        """Make a connection that is about to end a successor, which takes its markets over."""
        if self._nursery is not None:
            self._nursery.start_soon(_contained, partial(self._succeed, old))

    async def _succeed(self, old: Connection) -> None:
        successor = self._new_connection(old.scheme_type, old.address)
        async with trio.open_nursery() as nursery:
            for feed in list(self._feeds.values()):
                for route in feed.routes:
                    if route.connection is old:
                        handover = Handover(feed, route, successor, left=self._close_if_empty, wall=self._wall)
                        handover.begin()
                        nursery.start_soon(_contained, handover.run)
        self._close_if_empty(successor)
        if not old.empty:
            old.kept()

    def _reconnect(self, feed: Feed, route: Route, reason: str) -> None:
        """A new connection for one market: by itself where that helps, else with all who share the old one."""
        old = route.connection
        if old.leaving or not old.shared:
            old.leave(reason)
            return
        subscription = route.subscription
        old.detach(subscription)
        if route.subscription is not subscription:
            return  # a successor was ready for it
        now_ns, now = self._wall(), trio.current_time()
        for channel in subscription.channels:
            subscription.call(feed.market.disconnected, channel, reason, now_ns, now)
        route.connection = self._connection(old.scheme_type, old.address, subscription.symbol, but_not=old)
        route.connection.attach(subscription)


async def _contained(task: Callable[[], Awaitable[object]]) -> None:
    """Each task handles its own bugs; one that shows only while it ends must not end the others."""
    try:
        await task()
    except Exception:
        log.exception("bug in a task of the feeds while it ended")


def _other_list(book: type[Scheme], trades: type[Scheme]) -> bool:
    """Whether the trades' protocol has an instrument list of its own, perhaps with other native symbols."""
    return trades is not book and (trades.rest, trades.instruments_paths) != (book.rest, book.instruments_paths)


def _plan(
    venue: Venue, book_symbol: str, trades_symbol: str, address: Callable[[type[Scheme], Channel], str]
) -> list[tuple[type[Scheme], tuple[Channel, ...], str]]:
    """Which protocol carries which channels: one connection for both where the address is one."""
    book, trades = venue.book, venue.trades
    if trades is book and address(book, Channel.BOOK) == address(book, Channel.TRADES):
        return [(book, (Channel.BOOK, Channel.TRADES), book_symbol)]
    return [(book, (Channel.BOOK,), book_symbol), (trades, (Channel.TRADES,), trades_symbol)]
