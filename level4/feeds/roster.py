"""Which markets a connection carries, and what must still be said to the exchange so that it knows.

Subscriptions are wishes: changed at any time, spoken in batches when the socket is open and its pace allows. A goodbye
is owed only for what was really sent, and goes before a new subscription of the same symbol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import trio

from level4.exchanges.scheme import Channel
from level4.feeds.subscription import Sinks, Subscription
from level4.market import Market, Shadow

_Wanted = dict[str, tuple[Channel, ...]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message may say."""

    channels: tuple[Channel, ...]
    symbols: list[str]
    joining: list[Subscription] | None
    """The subscriptions to be made; None for a goodbye."""


class Roster:
    """The subscriptions of one connection, by native symbol: frames name nothing finer, so each is carried once."""

    def __init__(self, sinks: Sinks) -> None:
        self._sinks = sinks
        self._subscriptions: dict[str, Subscription] = {}
        self._joining: _Wanted = {}
        self._leaving: _Wanted = {}
        self._changed = trio.Event()

    def __iter__(self) -> Iterator[Subscription]:
        """A copy: what is done with one may change the roster."""
        return iter(list(self._subscriptions.values()))

    def __len__(self) -> int:
        return len(self._subscriptions)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._subscriptions

    def get(self, symbol: str) -> Subscription | None:
        return self._subscriptions.get(symbol)

    def carries(self, subscription: Subscription) -> bool:
        return self._subscriptions.get(subscription.symbol) is subscription

    def attach(self, subscription: Subscription) -> None:
        symbol = subscription.symbol
        self._subscriptions[symbol] = subscription
        self._sinks[symbol] = subscription.market
        self._joining[symbol] = subscription.channels
        self._changed.set()

    def detach(self, subscription: Subscription) -> None:
        """Frames that still come for it are dropped and counted."""
        if not self.carries(subscription):
            return
        symbol = subscription.symbol
        del self._subscriptions[symbol]
        del self._sinks[symbol]
        self._joining.pop(symbol, None)
        if subscription.sent:
            self._leaving[symbol] = subscription.channels
            self._changed.set()
        subscription.lapse()

    def replace_market(self, subscription: Subscription, market: Market | Shadow) -> None:
        subscription.market = market
        if self.carries(subscription):
            self._sinks[subscription.symbol] = market

    def resubscribe(self, subscription: Subscription, channels: Sequence[Channel], *, quietly: bool = False) -> None:
        """Nothing to do while it waits to be subscribed anyway. `quietly`: the market keeps its book meanwhile."""
        symbol = subscription.symbol
        if not self.carries(subscription) or not subscription.sent or symbol in self._joining:
            return
        wanted = tuple(channel for channel in subscription.channels if channel in channels)
        if wanted:
            self._leaving[symbol] = self._joining[symbol] = wanted
            subscription.quietly = quietly
            if Channel.BOOK in wanted:
                subscription.lapse_book()
            self._changed.set()

    def begin(self) -> None:
        """A new socket: everybody is to be subscribed, nobody knows us."""
        self._leaving.clear()
        self._joining = {symbol: each.channels for symbol, each in self._subscriptions.items()}

    async def next(self, at_most: int) -> Batch:
        """What to say next, naming `at_most` symbols; waits until there is something."""
        while not self._leaving and not self._joining:
            self._changed = trio.Event()
            await self._changed.wait()
        if self._leaving:
            channels, symbols = _take(self._leaving, at_most)
            return Batch(channels, symbols, None)
        channels, symbols = _take(self._joining, at_most)
        return Batch(channels, symbols, [self._subscriptions[symbol] for symbol in symbols])


def _take(wanted: _Wanted, at_most: int) -> tuple[tuple[Channel, ...], list[str]]:
    """Take the next symbols that want the same channels out of `wanted`."""
    channels = next(iter(wanted.values()))
    symbols = [symbol for symbol, others in wanted.items() if others == channels][:at_most]
    for symbol in symbols:
        del wanted[symbol]
    return channels, symbols
