"""One client of one exchange: scheme and markets as live code joins them, in virtual time and without a network.

What a market wishes (a snapshot, a new subscription, a new connection, a probe) is carried out by talking to a
`Source`, which answers as the exchange would. Frames arrive `lag` turns after they were sent, answers by REST some
turns after they were asked for, so that old frames are still under way when something is asked anew.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Protocol

from level4.exchanges import Scheme
from level4.exchanges.scheme import Channel
from level4.feeds.subscription import Answer, Sinks
from level4.market import Market, Succession, named
from level4.model import Event, FeedState, Instrument, Notice, Numbering, Spread, Status
from level4.simulator.faults import Frame

Pair = tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]
"""Best bid and its size, best ask and its size."""
_RECONNECT_TURNS = 5


class Wire(ABC):
    """One connection to the exchange, seen from the client."""

    @abstractmethod
    async def send(self, text: str) -> None: ...

    @abstractmethod
    def take(self) -> list[tuple[int, Frame]]:
        """What the exchange has sent since: (turn, frame)."""

    @abstractmethod
    async def close(self) -> None: ...


class Source(Protocol):
    """An exchange."""

    turn: int

    async def connect(self, scheme: Scheme) -> Wire: ...

    async def get(self, scheme: Scheme, path: str) -> bytes:
        """The body of a REST answer."""


class Injector(Protocol):
    """What happens to frames and REST bodies on their way."""

    def frames(self, wire: Wire, arrived: list[tuple[int, Frame]]) -> list[tuple[int, str | bytes]]: ...

    def body(self, body: bytes) -> bytes: ...


class Untouched:
    def frames(self, wire: Wire, arrived: list[tuple[int, Frame]]) -> list[tuple[int, str | bytes]]:
        return [(turn, frame.data) for turn, frame in arrived]

    def body(self, body: bytes) -> bytes:
        return body


@dataclass
class Heard:
    """What came out of one market."""

    records: list[tuple[int, int, Spread]] = field(default_factory=list)
    """(turn now, newest turn that the client knows of, record)"""
    statuses: list[tuple[int, Status]] = field(default_factory=list)


class Wishes:
    """The port `Commands` of one market."""

    def __init__(self) -> None:
        self.snapshot = self.subscription = self.look = False
        self.connection: str | None = None

    def fetch_snapshot(self) -> None:
        self.snapshot = True

    def resubscribe(self) -> None:
        self.subscription = True

    def reconnect(self, reason: str) -> None:
        self.connection = reason

    def probe(self) -> None:
        self.look = True


@dataclass
class Pending:
    """A REST request under way: asked at `ask`, answered at `due`."""

    symbol: str
    generation: int
    ask: int
    due: int
    probe: bool
    known: int = 0
    body: bytes | None = None


class Client:
    def __init__(
        self,
        source: Source,
        scheme_type: type[Scheme],
        instruments: Sequence[Instrument],
        random: Random,
        clock: Callable[[], float],
        *,
        lag: int = 0,
        injector: Injector | None = None,
    ) -> None:
        self.source = source
        self.lag = lag
        self.heard = {each.native_symbol: Heard() for each in instruments}
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.reconnects = 0
        self.known = 0
        """The newest turn of which a frame has been heard."""
        self.fetched = {each.native_symbol: 0 for each in instruments}
        """The turn of the newest snapshot by REST."""
        self._type = scheme_type
        self._random = random
        self._clock = clock
        self._injector = injector or Untouched()
        self._scheme = scheme_type()
        self._wire: Wire | None = None
        self._connect_at = 0
        self._flight: deque[tuple[int, Frame]] = deque()
        self._requests: list[Pending] = []
        self._frame: list[Market] = []
        self._numbering = Numbering()
        self._succession = Succession()
        self._leaving: str | None = None
        self._wishes = {each.native_symbol: Wishes() for each in instruments}
        self._generation = dict.fromkeys(self._wishes, 0)
        same = scheme_type.websocket.get(Channel.TRADES) == scheme_type.websocket.get(Channel.BOOK)
        self._channels = (Channel.BOOK, Channel.TRADES) if same else (Channel.BOOK,)
        self._sinks = Sinks(self)
        self.markets = {each.native_symbol: self._market(number, each) for number, each in enumerate(instruments, 1)}
        self._sinks.update(self.markets)
        for market in self.markets.values():
            market.start(time.time_ns(), clock())

    def _market(self, number: int, instrument: Instrument) -> Market:
        symbol = instrument.native_symbol
        return Market(
            market_id=number,
            instrument=instrument,
            sync=self._type.sync,
            exchange_us=self._type.exchange_us,
            term=1,
            node="test",
            publisher=_Put(self, symbol),
            commands=self._wishes[symbol],
            frame=self._frame,
            spread_trigger="size",
            contiguous_trade_ids=self._type.contiguous_trade_ids,
            crossed_seconds=self._type.crossed_seconds,
        )

    def put(self, symbol: str, event: Event) -> None:
        self._numbering.number(event, time.time_ns() // 1000)
        if isinstance(event, Spread):
            self.heard[symbol].records.append((self.source.turn, self.newest(symbol), event))
        elif isinstance(event, Status):
            self.heard[symbol].statuses.append((self.source.turn, event))

    # -- one turn -------------------------------------------------------------------------------------------------

    async def step(self) -> None:
        """Hear what has arrived, do what is due."""
        if self._wire is None:
            if self.source.turn >= self._connect_at:
                await self._connect()
            return
        arrived = []
        self._flight.extend(self._wire.take())
        while self._flight and self._flight[0][0] <= self.source.turn - self.lag:
            arrived.append(self._flight.popleft())
        for turn, data in self._injector.frames(self._wire, arrived):
            self.known = max(self.known, turn)
            self._handle(data)
            if self._leaving is not None:
                break
        now = self._clock()
        for market in self.markets.values():
            if now >= market.next_tick():
                market.tick(time.time_ns(), now)
            if self.source.turn % 16 == 0:
                market.check()
        await self._answers()
        await self._act()

    def _handle(self, data: str | bytes) -> None:
        try:
            self._scheme.decode(data, time.time_ns(), self._sinks)
        except Exception as error:  # as a connection does: whatever it is, it costs those whom the frame names
            self.errors.append(f"{type(error).__name__}: {error}")
            touched = {market.instrument.native_symbol for market in self._frame}
            for symbol in named(data, self.markets, touched):
                self.markets[symbol].gap(f"frame could not be handled: {error}", time.time_ns(), self._clock())
        self._settle()

    def _settle(self) -> None:
        for market in self._frame:
            market.settle(time.time_ns(), self._clock())
        self._frame.clear()

    # -- wishes ---------------------------------------------------------------------------------------------------

    async def _act(self) -> None:
        reasons = [wish.connection for wish in self._wishes.values() if wish.connection is not None]
        if self._leaving is not None or reasons:
            await self.reconnect(self._leaving or reasons[0])
            return
        for symbol, wish in self._wishes.items():
            if wish.subscription or (wish.look and not self._type.sync.rest):
                await self._subscribe([symbol], (Channel.BOOK,), again=True, quietly=not wish.subscription)
                wish.subscription = wish.look = False
            if wish.look:
                wish.look = False
                self._ask(symbol, probe=True)
            if wish.snapshot and not any(each.symbol == symbol and not each.probe for each in self._requests):
                wish.snapshot = False
                self._ask(symbol, probe=False)

    def _ask(self, symbol: str, *, probe: bool) -> None:
        ask = self.source.turn + self._random.randint(1, 4)
        self._requests.append(
            Pending(symbol, self._generation[symbol], ask, ask + self._random.randint(0, 4) + self.lag, probe)
        )

    async def _answers(self) -> None:
        for each in list(self._requests):
            market = self.markets[each.symbol]
            if each.body is None and self.source.turn >= each.ask:
                path = self._scheme.probe_path if each.probe else self._scheme.snapshot_path
                each.body = self._injector.body(await self.source.get(self._scheme, path(each.symbol)))
                each.known = self.source.turn
            if each.body is None or self.source.turn < each.due:
                continue
            self._requests.remove(each)
            if each.probe:
                answer = Answer()
                self._scheme.decode_probe(each.symbol, each.body, answer)
                assert answer.book is not None
                market.probed(*answer.book, time.time_ns(), self._clock())
            elif each.generation != self._generation[each.symbol]:
                self._ask(each.symbol, probe=False)
            else:
                self.fetched[each.symbol] = each.known
                self._scheme.decode_snapshot(each.symbol, each.body, self._sinks)
            self._settle()

    async def _connect(self) -> None:
        self._scheme = self._type()
        self._succession = Succession()
        self._wire = await self.source.connect(self._scheme)
        for text in self._scheme.greeting():
            await self._wire.send(text)
        symbols = list(self.markets)
        size = self._type.limits.symbols_per_message
        for start in range(0, len(symbols), size):
            await self._subscribe(symbols[start : start + size], self._channels, again=False)

    async def _subscribe(
        self, symbols: list[str], channels: tuple[Channel, ...], *, again: bool, quietly: bool = False
    ) -> None:
        wire = self._wire
        assert wire is not None
        for text in self._scheme.unsubscribe(channels, symbols) if again else ():
            await wire.send(text)
            self._scheme.sent(text, time.time_ns())
        for symbol in symbols:
            self._generation[symbol] += 1
            if not quietly:
                self.markets[symbol].connected("book", time.time_ns(), self._clock())
        for text in self._scheme.subscribe(channels, symbols):
            await wire.send(text)
            self._scheme.sent(text, time.time_ns())

    async def reconnect(self, reason: str) -> None:
        """Leave the connection; the next one comes in some turns."""
        assert self._wire is not None
        self.reconnects += 1
        await self._wire.close()
        self._wire, self._leaving = None, None
        self._connect_at = self.source.turn + _RECONNECT_TURNS
        self._flight.clear()
        self._requests.clear()
        for symbol, market in self.markets.items():
            wish = self._wishes[symbol]
            wish.snapshot = wish.subscription = wish.look = False
            wish.connection = None
            market.disconnected("book", reason, time.time_ns(), self._clock())

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    # -- for those who look ---------------------------------------------------------------------------------------

    def live(self) -> bool:
        return all(market.state is FeedState.LIVE for market in self.markets.values())

    def newest(self, symbol: str) -> int:
        """The newest turn of which this market knows anything."""
        return max(self.known, self.fetched[symbol])

    def pair(self, symbol: str) -> Pair | None:
        """What a consumer believes the best to be; None while the book is marked."""
        records = self.heard[symbol].records
        return pair(records[-1][2]) if records and records[-1][2].state == "LIVE" else None

    # -- what frames say of the connection ------------------------------------------------------------------------

    def on_dropped(self, symbol: str) -> None: ...

    def on_subscribed(self, symbol: str, channel: str) -> None: ...

    def on_refused(self, symbol: str | None, reason: str) -> None:
        raise AssertionError(f"the exchange refused {symbol}: {reason}")

    def on_notice(self, notice: Notice, text: str) -> None:
        if notice is Notice.RECONNECT:
            self._leaving = text

    def on_unknown(self, kind: str) -> None:
        self.unknown.append(kind)

    def on_sequence(self, number: int) -> None:
        wrong = self._succession.next(number)
        if wrong is not None:
            for market in self.markets.values():
                market.gap(wrong, time.time_ns(), self._clock())
            self._leaving = wrong


class _Put:
    """The port `Publisher` of one market."""

    def __init__(self, client: Client, symbol: str) -> None:
        self._client = client
        self._symbol = symbol

    def put(self, event: Event) -> None:
        self._client.put(self._symbol, event)


def pair(record: Spread) -> Pair:
    texts = record.bid_price, record.bid_size, record.ask_price, record.ask_size
    bid, bid_size, ask, ask_size = (None if text is None else Decimal(text) for text in texts)
    return bid, bid_size, ask, ask_size
