"""Recorded traffic as an exchange that answers: its frames in order, and a snapshot whenever one is asked for, made
anew from the book as a replay without faults has it at that moment.

For protocols that the simulator does not speak. What comes before the markets have their books is not played.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from client import Wire
from simulated_exchange import TURN_SECONDS, Level
from trio.testing import MockClock

from level4.book import OrderBook
from level4.exchanges import PROTOCOLS, Scheme
from level4.exchanges.bybit_v2 import BybitV2
from level4.market import Market
from level4.model import FeedState, Instrument, MarketType
from level4.model import Level as Texts
from level4.recording import RecordedConnection, RecordedEvent, Recording, Replay
from level4.simulator.faults import Channel as Carries
from level4.simulator.faults import Frame

_ALL = 100_000


class BybitV2Asked(BybitV2):
    """As the protocol was when it could still be subscribed to."""

    def subscribe(self, channels: object, symbols: object) -> list[str]:
        return self._asked("subscribe", symbols)

    def unsubscribe(self, channels: object, symbols: object) -> list[str]:
        return self._asked("unsubscribe", symbols)

    @staticmethod
    def _asked(what: str, symbols: object) -> list[str]:
        assert isinstance(symbols, list)
        return [json.dumps({"op": what, "args": [f"orderBookL2_25.{symbol}"]}) for symbol in symbols]


@dataclass(frozen=True)
class Recorded:
    file: str
    book: str
    """Which frames are a book's, and of which market."""
    asked: str
    """Which of the client's messages ask for a book, and of which market."""
    snapshot: Callable[[str, OrderBook, str], str]
    """The snapshot of a market, from its book and the last frame sent of it."""


def _kraken_v1(symbol: str, book: OrderBook, last: str) -> str:
    named = _sides(book, "bs", "as")
    sides = {name: [[*level, "1618678133.000000"] for level in side.top(_ALL)] for name, side in named}
    return json.dumps([992, sides, "book-1000", symbol], separators=(",", ":"))


def _hitbtc_v2(symbol: str, book: OrderBook, last: str) -> str:
    content: dict[str, Any] = {
        name: [{"price": price, "size": size} for price, size in side.top(_ALL)]
        for name, side in _sides(book, "bid", "ask")
    }
    content |= {"symbol": symbol, "timestamp": "2021-07-03T00:56:17.830Z"}
    content["sequence"] = json.loads(last)["params"]["sequence"]
    return json.dumps({"jsonrpc": "2.0", "method": "snapshotOrderbook", "params": content}, separators=(",", ":"))


def _bybit_v2(symbol: str, book: OrderBook, last: str) -> str:
    rows = [
        f'{{"price":"{price}","symbol":"{symbol}","id":"1","side":"{name}","size":{size}}}'
        for name, side in _sides(book, "Buy", "Sell")
        for price, size in side.top(_ALL)
    ]
    topic = f'"topic":"orderBookL2_25.{symbol}","type":"snapshot"'
    return f'{{{topic},"data":{{"order_book":[{",".join(rows)}]}},"timestamp_e6":"1618677781000000"}}'


def _sides(book: OrderBook, bids: str, asks: str) -> list[tuple[str, Any]]:
    return [(bids, book.bids), (asks, book.asks)]


RECORDED = {
    "kraken.v1": Recorded("KRAKEN.SPOT/ws-50", r'"book-\d+","([^"]+)"\]$', r'"subscribe".*"book"', _kraken_v1),
    "hitbtc.v2": Recorded(
        "BEQUANT.SPOT/ws-1", r'"(?:update|snapshot)Orderbook".*"symbol":"([^"]+)"', r'"subscribeOrderbook"', _hitbtc_v2
    ),
    "bybit.v2": Recorded("BYBIT.PERP/ws-25", r"orderBookL2_25\.([A-Z]+)", r'"subscribe".*orderBookL2_25', _bybit_v2),
}
MARKETS = {
    "kraken.v1": ["XMR/USD", "OMG/USD"],
    "hitbtc.v2": ["BTCTUSD", "MKRBTC"],
    "bybit.v2": ["LTCUSDT", "DOTUSDT"],
}
"""The two busiest."""


def recorded_scheme(protocol: str) -> type[Scheme]:
    return BybitV2Asked if protocol == "bybit.v2" else PROTOCOLS[protocol]


class RecordedWire(Wire):
    def __init__(self, exchange: RecordedExchange) -> None:
        self.posted: list[tuple[int, Frame]] = []
        self._exchange = exchange

    async def send(self, text: str) -> None:
        self.posted += self._exchange.answers(text)

    def take(self) -> list[tuple[int, Frame]]:
        posted, self.posted = self.posted, []
        return posted

    async def close(self) -> None:
        self._exchange.wires.remove(self)


class RecordedExchange:
    def __init__(self, folder: Path, protocol: str, clock: MockClock) -> None:
        self.turn = 0
        self.wires: list[RecordedWire] = []
        self._how = RECORDED[protocol]
        self._symbols = MARKETS[protocol]
        self._clock = clock
        recording = Recording(folder / f"{self._how.file}.jsonl.gz")
        self._replay = RecordedConnection(Replay(symbols=self._symbols, spread_trigger="size"), recording, _nobody)
        self._last: dict[str, str] = {}
        self._events = iter([event for event in recording.events() if event.k == "recv"])
        while not self._ready():
            self._apply(next(self._events))

    def _ready(self) -> bool:
        return [market.state for market in self._markets().values()] == [FeedState.LIVE] * len(self._symbols)

    def _markets(self) -> dict[str, Market]:
        return {market.instrument.native_symbol: market for market in self._replay.markets()}

    def _apply(self, event: RecordedEvent) -> Frame:
        before = {symbol: market.book.best() for symbol, market in self._markets().items()}
        self._replay.apply(event)
        found = re.search(self._how.book, event.d)
        if found is None:
            return Frame(event.d, Carries.CONTROL)
        symbol = found.group(1)
        if symbol not in self._symbols:
            return Frame(event.d, Carries.CONTROL, symbol)
        self._last[symbol] = event.d
        moved = before.get(symbol) != self._markets()[symbol].book.best()
        return Frame(event.d, Carries.BOOK, symbol, moved and '"0.00000000"' not in event.d)

    async def instruments(self, scheme_type: type[Scheme], type_: MarketType, how_many: int) -> list[Instrument]:
        return [Instrument(scheme_type.exchange, type_, symbol, symbol) for symbol in self._symbols[:how_many]]

    def name(self, symbol: str) -> str | None:
        return symbol

    async def connect(self, scheme: Scheme) -> Wire:
        wire = RecordedWire(self)
        self.wires.append(wire)
        return wire

    def answers(self, text: str) -> list[tuple[int, Frame]]:
        if re.search(self._how.asked, text) is None:
            return []
        asked = [symbol for symbol in self._symbols if symbol in text.replace("\\/", "/")]
        return [(self.turn, Frame(self._snapshot(symbol), Carries.BOOK, symbol, False)) for symbol in asked]

    def _snapshot(self, symbol: str) -> str:
        return self._how.snapshot(symbol, self._markets()[symbol].book, self._last[symbol])

    async def get(self, scheme: Scheme, path: str) -> bytes:
        raise AssertionError("these protocols need no REST")

    async def advance(self, symbol: str | None) -> None:
        """One turn: the next frame (none: nothing happens)."""
        self.turn += 1
        event = next(self._events, None) if symbol is not None else None
        if event is not None:
            frame = self._apply(event)
            for wire in self.wires:
                wire.posted.append((self.turn, frame))
        self._clock.jump(TURN_SECONDS)

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        book = self._markets()[symbol].book
        return _numbers(book.bids.top(depth)), _numbers(book.asks.top(depth))


def _numbers(levels: list[Texts]) -> list[Level]:
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def _nobody(event: object, symbol: str) -> None:
    """The replay's events are of no interest."""
