"""Hundreds of markets of one exchange on one `Feeds`, against the simulator, in real time; and what the exchange was
asked meanwhile, held against what it allows."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import trio

from level4.exchanges import venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, TrioWebSockets
from level4.feeds.transport import Socket
from level4.model import MarketRequest, MarketType, Status
from level4.publish import MemoryPublisher
from level4.simulator import Fault, FaultKind, Simulator

PROGRESS_SECONDS = 10.0
HOLD_SECONDS = 3.0

Allowance = tuple[int, float]
"""So many in any window of so many seconds."""

UNWANTED = {"refused", "halted", "stale"}
"""Of a status, while nothing is wrong but the connections that were cut."""

CONNECTIONS: dict[str, Allowance] = {
    "BINANCE": (300, 300.0),
    "BITFINEX": (20, 60.0),
    "BYBIT": (500, 300.0),
    "COINBASE": (28, 1.0),
    "GEMINI": (300, 300.0),
    "KRAKEN": (150, 600.0),
    "OKX": (3, 1.0),
}
"""Attempts by address, where the exchange says (2026-09); Coinbase: a burst of 20 and 8 a second."""
MESSAGES: dict[str, Allowance] = {"BINANCE": (5, 1.0), "HITBTC": (10, 1.0)}
"""From the client on one connection."""


class Watched:
    """Real sockets; remembers when each was opened and when it was written to."""

    def __init__(self) -> None:
        self._real = TrioWebSockets(connect_seconds=5.0, close_seconds=0.2)
        self.opened: list[float] = []
        self.sent: dict[int, list[float]] = defaultdict(list)

    @asynccontextmanager
    async def connect(self, url: str, message_bytes: int, patience: float = float("inf")) -> AsyncIterator[Socket]:
        number = len(self.opened)
        self.opened.append(time.monotonic())
        async with self._real.connect(url, message_bytes, patience) as socket:
            yield _WatchedSocket(socket, self.sent[number])


class _WatchedSocket:
    def __init__(self, real: Socket, sent: list[float]) -> None:
        self._real = real
        self._sent = sent
        self.receive = real.receive
        self.receive_nowait = real.receive_nowait
        self.aclose = real.aclose

    async def send(self, text: str) -> None:
        self._sent.append(time.monotonic())
        await self._real.send(text)

    async def ping(self) -> None:
        self._sent.append(time.monotonic())
        await self._real.ping()


def most_within(moments: Sequence[float], seconds: float) -> int:
    """The most of these sorted moments in any window of so many seconds."""
    return max((n + 1 - bisect_left(moments, moment - seconds) for n, moment in enumerate(moments)), default=0)


@dataclass
class Crowd:
    exchange: str
    count: int
    simulator: Simulator
    feeds: Feeds
    published: MemoryPublisher
    sockets: Watched
    rest: Rest
    say: Callable[[str], None]

    def live(self) -> int:
        return sum(view.state == "LIVE" for view in self.feeds.markets())

    async def all_live(self, what: str, seconds: float) -> float:
        """Wait for it, saying how far it is. Returns the seconds that it took."""
        began = told = trio.current_time()
        with trio.move_on_after(seconds):
            while self.live() < self.count:
                await trio.sleep(0.05)
                if trio.current_time() - told >= PROGRESS_SECONDS:
                    told = trio.current_time()
                    self.say(f"{self.exchange}: {what}: {self.live()} of {self.count} after {told - began:.0f} s")
        taken = trio.current_time() - began
        states = Counter(str(view.state) for view in self.feeds.markets())
        self.say(f"{self.exchange}: {what}: {dict(states)} after {taken:.1f} s")
        assert self.live() == self.count, states
        return taken

    async def cut_all(self) -> int:
        """Every connection is reset at once. Returns how many there were; at least one market has noticed then."""
        struck = self.simulator.inject(Fault(FaultKind.RESET, exchange=None))
        with trio.fail_after(20):
            while sum(stats.disconnects for stats in self.feeds.connections()) < struck:  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.01)
        return struck

    def check(self, disconnects: int) -> None:
        """Nothing was asked beyond what the exchange allows, and it refused nothing."""
        assert set(self.rest.stats.answers) <= {200}, self.rest.stats.answers
        for stats in self.feeds.connections():
            assert (stats.refused, stats.refusals, stats.bugs, dict(stats.errors)) == (0, 0, 0, {}), stats
        assert sum(stats.disconnects for stats in self.feeds.connections()) == disconnects
        statuses = [event for event in self.published.events if isinstance(event, Status)]
        bad = [f"{each.market_id} {each.event}: {each.reason}" for each in statuses if each.event in UNWANTED]
        assert bad == []
        count, seconds = CONNECTIONS.get(self.exchange, (10**6, 1.0))
        assert most_within(self.sockets.opened, seconds) <= count
        count, seconds = MESSAGES.get(self.exchange, (10**6, 1.0))
        assert max(most_within(sent, seconds) for sent in self.sockets.sent.values()) <= count


@asynccontextmanager
async def crowd(
    exchange: str, type_: MarketType, count: int, say: Callable[[str], None] = print
) -> AsyncIterator[Crowd]:
    """`count` markets (or as many as there are), all asked for at once. `say` is told how far they are."""
    simulator = Simulator(markets=count, rate=1.0, trade_rate=0.2, levels=20, seed=4)
    published, sockets = MemoryPublisher(), Watched()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        addresses = AddressBook(simulator=f"127.0.0.1:{port}")
        async with Rest() as rest:
            instruments = Instruments(rest, addresses)
            feeds = Feeds(
                FeedSettings(node="node1", addresses=addresses),
                publisher=published,
                venue=venue,
                transport=sockets,
                rest=rest,
                instruments=instruments,
                random=Random(4),
            )
            await nursery.start(feeds.run)
            listed = await instruments.listed(venue(exchange, type_).book)
            wanted = [one for one in listed if one.type is type_ and one.active][:count]
            for number, one in enumerate(wanted, 1):
                terms = one.base, one.quote, one.expiry, one.strike, one.right
                await feeds.start(MarketRequest(number, exchange, type_, *terms), term=7)
            yield Crowd(exchange, len(wanted), simulator, feeds, published, sockets, rest, say)
        nursery.cancel_scope.cancel()
