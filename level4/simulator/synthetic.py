"""What synthetic exchanges share: their markets, the pace of events, and who listens to what.

A market nobody listens to stands still: it costs nothing, and its sequence of steps is the same in every run with the
same seed. Pausing stops new steps; what was generated before is still sent.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Final

import trio

from level4.simulator.address import Address
from level4.simulator.faults import FaultPlan
from level4.simulator.listing import Listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.tally import Tally
from level4.simulator.walk import Walk

_TICK_SECONDS: Final = 0.01
_MAX_LAG_SECONDS: Final = 1.0
_TALLIES_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Pace:
    """How busy each market is."""

    rate: float = 20.0
    """Steps a second: book updates."""
    trade_rate: float = 2.0
    """Takers a second; each is one of the steps and makes one to three trades."""
    levels: int = 200
    """Price levels on each side."""
    seed: int = 0
    gather: float = 1.0
    """How long exchanges that tell changes together gather them, as a part of what the real ones take; 0: every step
    is told at once."""

    def walk(self, exchange: str, listed: Listed) -> Walk:
        share = min(1.0, self.trade_rate / self.rate) if self.rate > 0 else 0.0
        return Walk(listed, self.levels, share, f"{self.seed}:{exchange}:{listed.base}/{listed.quote}")


@dataclass(slots=True, eq=False)
class Market:
    native: str
    walk: Walk
    listeners: int = 0
    due: float = 0.0
    tallies: dict[int, Tally] = field(default_factory=dict)
    """By session."""

    def tally(self, session: Session) -> Tally:
        """What this session was sent about this market."""
        if session.number not in self.tallies:
            while len(self.tallies) >= _TALLIES_KEPT:
                del self.tallies[next(iter(self.tallies))]
            self.tallies[session.number] = Tally(session.number, self.native)
        return self.tallies[session.number]

    def stats(self) -> dict[str, object]:
        totals = Tally(0, self.native).counts()
        for tally in self.tallies.values():
            for name, count in tally.counts().items():
                totals[name] += count
        bid, ask = self.walk.book.best()
        return {
            **totals,
            "best_bid": _texts(bid),
            "best_ask": _texts(ask),
            "subscriptions": [{"session": t.session, "open": t.open, **t.counts()} for t in self.tallies.values()],
        }

    def whole_book(self) -> dict[str, object]:
        book = self.walk.book
        return {
            "market": self.native,
            "bids": [_texts(level) for level in book.bids],
            "asks": [_texts(level) for level in book.asks],
            "trade_id": self.walk.trade_id,
        }

    def last_trades(self) -> list[dict[str, str]]:
        return [
            {"id": str(fill.trade_id), "taker": fill.taker, "price": text(fill.price), "size": text(fill.size)}
            for fill in self.walk.recent
        ]


class Synthetic(ABC):
    """A made-up exchange."""

    exchange: str

    def __init__(self, markets: Iterable[Market], pace: Pace, plan: FaultPlan) -> None:
        self.markets: dict[str, Market] = {market.native: market for market in markets}
        self.plan = plan
        self.paused = False
        self.clients = 0
        """Open connections. Without any, no market is looked at."""
        self._pace = pace
        self._timing = Random(pace.seed)

    @abstractmethod
    def advance(self, market: Market) -> None:
        """Make one step of a market and post what it leads to."""

    @abstractmethod
    def speaks(self, address: Address) -> bool: ...

    @abstractmethod
    def answers(self, address: Address) -> bool: ...

    @abstractmethod
    async def serve(self, session: Session) -> None: ...

    @abstractmethod
    async def answer(self, request: Request) -> Response: ...

    @abstractmethod
    def refusal(self, status: int, reason: str) -> Response: ...

    async def run(self) -> None:
        if self._pace.rate <= 0:
            return
        idle = True
        while True:
            await trio.sleep(_TICK_SECONDS)
            if not self.clients:
                idle = True
                continue
            now = trio.current_time()
            for market in self.markets.values():
                if self.paused or not market.listeners or idle:
                    market.due = now
                    continue
                market.due = max(market.due, now - _MAX_LAG_SECONDS)
                while market.due <= now:
                    self.advance(market)
                    market.due += self._timing.uniform(0.5, 1.5) / self._pace.rate
            idle = False

    def close_tallies(self, session: Session) -> None:
        for market in self.markets.values():
            if session.number in market.tallies:
                market.tallies[session.number].open = False


def text(number: Decimal) -> str:
    """Plain notation, trailing zeros kept."""
    return format(number, "f")


def number(value: Decimal) -> str:
    """As some exchanges write numbers: no superfluous zeros, but `.0` at whole ones."""
    plain = text(value.normalize() if value else value)
    return plain if "." in plain else f"{plain}.0"


def timestamp(decimals: int = 6) -> str:
    """Now, RFC 3339 with `Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[: 20 + decimals] + "Z"


def milliseconds() -> int:
    """Since 1970."""
    return time.time_ns() // 1_000_000


def levels_text(levels: Sequence[tuple[Decimal, Decimal]]) -> list[tuple[str, str]]:
    return [(text(price), text(size)) for price, size in levels]


def _texts(level: tuple[Decimal, Decimal] | None) -> tuple[str, str] | None:
    return None if level is None else (text(level[0]), text(level[1]))
