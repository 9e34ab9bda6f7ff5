"""One market's task: its timers, what it asks for, and its recovery from our own mistakes.

The market is pure and only notes what it wants; this task fetches, resubscribes, reconnects, and calls `tick` when the
market said it would have something to do. A wish to repair a subscription is void once the connection has been made
anew.

A bug in the market, wherever it shows, ends up here: the market is halted in its stream, a new `Market` takes its place
(later runs of the same term, so that no epoch is used twice), and it is subscribed again after a growing delay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import structlog
import trio

from level4.exchanges.scheme import Channel
from level4.feeds.addresses import AddressBook
from level4.feeds.connection import Connection
from level4.feeds.depth import Depth, Taken
from level4.feeds.outage import Outage
from level4.feeds.pacing import Backoff
from level4.feeds.rest import Rest, RestRefusedError, RestUnavailableError
from level4.feeds.stats import FeedStats, worth_logging
from level4.feeds.subscription import Subscription
from level4.market import Market, MarketStats
from level4.model import Commands, FeedState, Instrument, MarketRequest

log = structlog.get_logger(__name__)

_LONGEST_SLEEP = 1.0
"""A frame may bring a market's next deadline forward without waking its task; it is seen so late at most."""
_SHORTEST_SLEEP = 0.01
_QUEUED = "the exchange allows no more REST requests now"
_ACK_SECONDS = 2.0
"""How long a REST snapshot waits for the exchange to acknowledge the subscription: one taken before the stream begins
could only be thrown away, and costs weight."""


@dataclass(eq=False, slots=True)
class Route:
    """A subscription and the connection that carries it now."""

    connection: Connection
    subscription: Subscription


class Wishes:
    """The port `Commands`: what a market asked for since its task looked last."""

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.clear()

    def clear(self) -> None:
        self.wants_snapshot = False
        self.wants_resubscription = False
        self.wants_reconnection: str | None = None
        self.wants_probe = False
        self.failure: Exception | None = None
        """A bug in the market that showed in another task."""

    def fetch_snapshot(self) -> None:
        self.wants_snapshot = True
        self.woken.set()

    def resubscribe(self) -> None:
        self.wants_resubscription = True
        self.woken.set()

    def reconnect(self, reason: str) -> None:
        self.wants_reconnection = reason
        self.woken.set()

    def probe(self) -> None:
        self.wants_probe = True
        self.woken.set()

    def fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
        self.woken.set()

    def repaired(self) -> None:
        """The connection has been made anew, which is more than a repair could do."""
        self.wants_resubscription = self.wants_probe = False
        self.wants_reconnection = None


class Feed:
    """The task of one market.

    `make_market` builds it, given its commands, its first runs and where to count; `reconnect` finds it a new
    connection, given the route that is to be left and why.
    """

    def __init__(
        self,
        *,
        request: MarketRequest,
        instrument: Instrument,
        term: int,
        make_market: Callable[[Commands, tuple[int, int], MarketStats], Market],
        reconnect: Callable[[Route, str], None],
        rest: Rest,
        addresses: AddressBook,
        random: Random,
        wall: Callable[[], int],
    ) -> None:
        self.request = request
        self.instrument = instrument
        self.term = term
        self.stats = FeedStats()
        self.routes: list[Route] = []
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self._make_market = make_market
        self._reconnect = reconnect
        self._rest = rest
        self._addresses = addresses
        self._wall = wall
        self._wishes = Wishes()
        self._restarts = Backoff(random)
        self._fetches = Backoff(random, base=0.5)
        self._fetching = self._probing = self._queued = self._probe_queued = False
        self._depth = Depth(rest, addresses)
        self._fetch_failure = ""
        """Why the last try to get the snapshot failed; empty: it did not."""
        self._outage: Outage | None = None
        """While the address of snapshots refuses us or is away."""
        self._log = log.bind(market=str(request))
        self.market = make_market(self._wishes, (1, 1), self.stats.market)

    def subscription(self, symbol: str, channels: tuple[Channel, ...]) -> Subscription:
        """What this market wants of a connection."""
        return Subscription(
            market=self.market,
            symbol=symbol,
            channels=channels,
            stats=self.stats,
            failed=self._wishes.fail,
            lapsed=self._wishes.repaired if Channel.BOOK in channels else None,
        )

    def fail(self, error: Exception) -> None:
        """A bug in the market showed elsewhere: its task starts the feed anew."""
        self._wishes.fail(error)

    def start(self) -> None:
        self.market.start(self._wall(), trio.current_time())

    def stop(self, reason: str) -> None:
        """The last word of the market."""
        try:
            self.market.stop(reason, self._wall(), trio.current_time())
        except Exception:
            self._log.exception("bug in a market as it stopped")

    async def run(self) -> None:
        """Supervise the market until `scope` is cancelled."""
        try:
            with self.scope:
                broken = False
                while True:
                    since = trio.current_time()
                    try:
                        if broken:
                            self._renew()
                        await self._supervise()
                    except Exception as error:
                        broken = True
                        self._mourn(error)
                    await trio.sleep(self._restarts.next(trio.current_time() - since))
        finally:
            self.done.set()

    async def _supervise(self) -> None:
        """Timers and wishes, for ever; raises what is a bug."""
        wishes = self._wishes
        self._fetching = self._probing = self._queued = self._probe_queued = False
        async with trio.open_nursery() as nursery:
            while True:
                wishes.woken = trio.Event()
                if wishes.failure is not None:
                    raise wishes.failure
                now = trio.current_time()
                if self._queued or (self._fetching and self._fetch_failure):
                    self.market.snapshot_waits(self._fetch_failure or _QUEUED, now)
                if self._probe_queued:
                    self.market.probe_waits(now)
                if now >= self.market.next_tick():
                    self.market.tick(self._wall(), now)
                self._act(nursery)
                pause = min(_LONGEST_SLEEP, max(_SHORTEST_SLEEP, self.market.next_tick() - now))
                with trio.move_on_after(pause):
                    await wishes.woken.wait()

    def _act(self, nursery: trio.Nursery) -> None:
        wishes = self._wishes
        book = self._book_route()
        if wishes.wants_reconnection is not None:
            reason, wishes.wants_reconnection = wishes.wants_reconnection, None
            wishes.wants_resubscription = False
            self.stats.reconnects += 1
            self._reconnect(book, reason)
        elif wishes.wants_resubscription:
            wishes.wants_resubscription = False
            self.stats.resubscribes += 1
            book.connection.roster.resubscribe(book.subscription, (Channel.BOOK,))
        if wishes.wants_snapshot and not self._fetching:
            self._fetching = True
            nursery.start_soon(self._fetch)
        if self._depth.due(book.connection.scheme_type, self.market):
            nursery.start_soon(self._depth.deepen, self.market, book.connection, book.subscription)
        if wishes.wants_probe:
            wishes.wants_probe = False
            if not book.connection.scheme_type.sync.rest:
                book.connection.roster.resubscribe(book.subscription, (Channel.BOOK,), quietly=True)
            elif not self._probing:
                self._probing = True
                nursery.start_soon(self._probe)

    def _book_route(self) -> Route:
        return next(route for route in self.routes if Channel.BOOK in route.subscription.channels)

    async def _fetch(self) -> None:
        """Get one snapshot to the market, however often it takes; one that comes too late for its subscription is
        thrown away."""
        while True:
            book = self._book_route()
            subscription = book.subscription
            await subscription.ready.wait()
            self._wishes.wants_snapshot = False
            try:
                taken = await self.snapshot(book.connection, subscription)
            except (RestUnavailableError, RestRefusedError) as error:
                self._fetch_failure = str(error)
                self._no_snapshots(self._addresses.rest(book.connection.scheme_type), error)
                await trio.sleep(self._failed_fetch(error))
                continue
            if taken is not None and subscription is self._book_route().subscription:
                break
        self.stats.snapshots += 1
        self._fetches.failures = 0
        self._fetching = False
        self._fetch_failure = ""
        self._outage = None
        if self.market.state is FeedState.HALTED:
            book.connection.roster.resubscribe(subscription, (Channel.BOOK,))
        else:
            book.connection.apply_snapshot(subscription, taken.body, taken.levels)

    def _no_snapshots(self, url: str, error: RestUnavailableError | RestRefusedError) -> None:
        """Without snapshots there is no book: halted when it goes on, and taken up again with the next that comes."""
        if error.status is None and isinstance(error, RestRefusedError):
            return  # an answer that is none of ours to take is no outage
        if self._outage is None:
            self._outage = Outage(url)
        reason = self._outage.failed(error.status, str(error), trio.current_time())
        if reason is not None:
            self.market.halt(reason, self._wall(), trio.current_time())

    async def snapshot(self, connection: Connection, subscription: Subscription) -> Taken | None:
        """One snapshot by REST, taken after the subscription began; None when that has ended meanwhile. Raises
        RestUnavailableError and RestRefusedError."""
        await subscription.ready.wait()
        with trio.move_on_after(_ACK_SECONDS):
            await subscription.confirmed.wait()
        generation = -1

        def granted() -> None:
            nonlocal generation
            generation = subscription.generation if subscription.ready.is_set() else -1
            self._queued = False

        self._queued = True
        try:
            taken = await self._depth.snapshot(self.market, connection, subscription, granted)
        finally:
            self._queued = False
        return taken if generation == subscription.generation else None

    async def _probe(self) -> None:
        """Look at the book by REST, once."""
        book = self._book_route()
        connection, subscription, scheme = book.connection, book.subscription, book.connection.scheme_type
        limits = scheme.limits
        self._probe_queued = True

        def granted() -> None:
            self._probe_queued = False

        try:
            body = await self._rest.get(
                self._addresses.rest(scheme) + connection.probe_path(subscription),
                weight=limits.snapshot_weight if limits.probe_weight is None else limits.probe_weight,
                weight_per_minute=limits.rest_weight_per_minute,
                budget=limits.rest_budget,
                urgent=True,
                granted=granted,
            )
        except (RestUnavailableError, RestRefusedError) as error:
            self._probing = self._probe_queued = False
            subscription.call(self.market.probe_failed, str(error), self._wall(), trio.current_time())
            return
        self._probing = False
        connection.apply_probe(subscription, body)

    def _failed_fetch(self, error: RestUnavailableError | RestRefusedError) -> float:
        """Seconds to wait before the next try."""
        self.stats.snapshot_errors += 1
        wait = self._fetches.next()
        if isinstance(error, RestUnavailableError) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if worth_logging(self.stats.snapshot_errors):
            self._log.warning("no snapshot, trying again", error=str(error), seconds=round(wait, 3))
        return wait

    def _mourn(self, error: Exception) -> None:
        self.stats.restarts += 1
        self._log.error("bug in a market, its feed is started anew", restarts=self.stats.restarts, exc_info=error)
        reason = f"internal error: {type(error).__name__}; the feed is started anew"
        try:
            self.market.halt(reason, self._wall(), trio.current_time())
        except Exception:
            self._log.exception("the broken market could not even be halted")

    def _renew(self) -> None:
        """A new market in the place of the broken one, subscribed anew."""
        spread_run, trades_run = self.market.runs()
        self._wishes.clear()
        self.market = self._make_market(self._wishes, (spread_run + 1, trades_run + 1), self.stats.market)
        self.start()
        for route in self.routes:
            route.connection.roster.replace_market(route.subscription, self.market)
            route.connection.roster.resubscribe(route.subscription, route.subscription.channels)
