"""What one market wants of one connection, and the markets of a connection as its scheme sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from level4.exchanges.scheme import Channel
from level4.feeds.stats import FeedStats
from level4.market import Dropping, Market, Shadow
from level4.model import Level, MarketSink, Notice, RawTime


@dataclass(eq=False, slots=True)
class Subscription:
    """One market's channels on one connection. The connection keeps `sent`, `ready` and `generation`."""

    market: Market | Shadow
    symbol: str
    channels: tuple[Channel, ...]
    stats: FeedStats
    failed: Callable[[Exception], None]
    """Told about a bug in the market, which its own task answers by restarting the feed."""
    lapsed: Callable[[], None] | None = None
    """Told when the socket is gone: older wishes to repair the subscription are void."""
    quietly: bool = False
    """The next subscription is a probe: the market keeps its book and is told nothing."""
    sent: bool = False
    """Something has been sent that an unsubscription must undo."""
    acknowledged: set[str] = field(default_factory=set)
    confirmed: trio.Event = field(default_factory=trio.Event)
    """Set when the exchange has acknowledged the book's subscription."""
    ready: trio.Event = field(default_factory=trio.Event)
    """Set while the book is subscribed on the present socket: from here on a REST snapshot is not too early."""
    generation: int = 0
    """Rises with every subscription, so that a late snapshot is known to be of an earlier one."""

    def lapse(self) -> None:
        """Nothing that was sent counts any more."""
        self.sent = self.quietly = False
        self.acknowledged.clear()
        self.lapse_book()
        if self.lapsed is not None:
            self.lapsed()

    def lapse_book(self) -> None:
        """The book's subscription counts no more; a new one will follow."""
        self.acknowledged.discard(Channel.BOOK)
        if self.ready.is_set():
            self.ready = trio.Event()
        if self.confirmed.is_set():
            self.confirmed = trio.Event()
        self.generation += 1

    def call(self, method: Callable[..., None], *args: Any, **keywords: Any) -> None:
        """Call a method of the market: a bug there is the market's, not the connection's."""
        try:
            method(*args, **keywords)
        except Exception as error:
            self.failed(error)


_DROPPING = Dropping()


class Answer(Dropping):
    """The port `Markets` for the answer to one probe: keeps the levels, and nothing else is of interest."""

    def __init__(self) -> None:
        self.book: tuple[list[Level], list[Level], int | None] | None = None

    def __getitem__(self, symbol: str) -> Answer:
        return self

    def snapshot(
        self,
        bids: list[Level],
        asks: list[Level],
        last: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
        depth: int | None = None,
    ) -> None:
        self.book = bids, asks, last

    def subscribed(self, native_symbol: str, channel: str) -> None: ...

    def refused(self, native_symbol: str | None, reason: str) -> None: ...

    def notice(self, notice: Notice, text: str) -> None: ...

    def unknown(self, kind: str) -> None: ...

    def sequence(self, number: int) -> None: ...


class ConnectionSink(Protocol):
    """What a frame can say about the connection itself."""

    def on_dropped(self, symbol: str) -> None: ...

    def on_subscribed(self, symbol: str, channel: str) -> None: ...

    def on_refused(self, symbol: str | None, reason: str) -> None: ...

    def on_notice(self, notice: Notice, text: str) -> None: ...

    def on_unknown(self, kind: str) -> None: ...

    def on_sequence(self, number: int) -> None: ...


class Sinks(dict[str, MarketSink]):
    """The port `Markets`. A plain dict by native symbol, because a lookup happens for every frame; a symbol that is
    not in it (a market just stopped) costs a counter."""

    def __init__(self, connection: ConnectionSink) -> None:
        super().__init__()
        self._connection = connection
        self.subscribed = connection.on_subscribed
        self.refused = connection.on_refused
        self.notice = connection.on_notice
        self.unknown = connection.on_unknown
        self.sequence = connection.on_sequence

    def __missing__(self, symbol: str) -> MarketSink:
        self._connection.on_dropped(symbol)
        return _DROPPING
