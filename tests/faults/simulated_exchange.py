"""A synthetic exchange of the simulator without a network: its sessions end in memory, its steps are made by hand."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import count
from typing import Any

import trio
from client import Wire
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from level4.exchanges import Scheme
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType
from level4.simulator import Simulator
from level4.simulator.address import Address
from level4.simulator.faults import Fault, Frame
from level4.simulator.rest import Request
from level4.simulator.session import Session
from level4.simulator.synthetic import Synthetic

TURN_SECONDS = 0.02
LEVELS = 30
Level = tuple[Decimal, Decimal]


class MemorySession(Session):
    """A session whose frames go into a list."""

    def __init__(self, number: int, exchange: SimulatedExchange, address: Address) -> None:
        self.number = number
        self.exchange = exchange.synthetic.exchange
        self.address = address
        self.sent = 0
        self.lost_markets = set()
        self.scope = trio.CancelScope()
        self.posted: list[tuple[int, Frame]] = []
        self._source = exchange
        self.inbox, self._incoming = trio.open_memory_channel[str](math.inf)

    def post(self, frame: Frame) -> None:
        self.posted.append((self._source.turn, frame))

    async def receive(self) -> str:
        return await self._incoming.receive()

    async def ping(self) -> None: ...

    async def sent_all(self) -> None: ...

    async def room(self) -> None: ...

    def end(self, fault: Fault) -> None:
        raise AssertionError(f"the exchange ends the connection: {fault}")


class MemoryWire(Wire):
    def __init__(self, session: MemorySession) -> None:
        self._session = session

    async def send(self, text: str) -> None:
        self._session.inbox.send_nowait(text)
        await wait_all_tasks_blocked()

    def take(self) -> list[tuple[int, Frame]]:
        posted, self._session.posted = self._session.posted, []
        return posted

    async def close(self) -> None:
        self._session.scope.cancel()
        await wait_all_tasks_blocked()


class SimulatedExchange:
    """The synthetic exchange that speaks a scheme's protocol. `nursery`: where its sessions live; its clock stands
    still but for `advance`."""

    def __init__(self, scheme_type: type[Scheme], seed: int, nursery: trio.Nursery, clock: MockClock) -> None:
        simulator: Any = Simulator(rate=50.0, trade_rate=5.0, levels=LEVELS, seed=seed, gather=0.0)
        self.address = Address.of_url(scheme_type.websocket[Channel.BOOK])
        self._venues: list[Synthetic] = simulator._synthetic
        self.synthetic = next(each for each in self._venues if each.speaks(self.address))
        self.synthetic.paused = True  # steps are made here
        self.synthetic.clients = 1
        self.turn = 0
        self._nursery = nursery
        self._clock = clock
        self._numbers = count(1)
        nursery.start_soon(self.synthetic.run)

    async def instruments(self, scheme_type: type[Scheme], type_: MarketType, how_many: int) -> list[Instrument]:
        """The first markets of a type that have a walk of their own here."""
        bodies, paths = [], list(scheme_type.instruments_paths)
        while paths:
            path = paths.pop(0)
            bodies.append(await self.get(scheme_type(), path))
            paths += scheme_type.further_instruments(path, bodies[-1])
        found = [each for each in scheme_type.parse_instruments(bodies) if each.type is type_ and each.active]
        return [each for each in found if self.name(each.native_symbol) is not None][:how_many]

    def name(self, symbol: str) -> str | None:
        """What the simulator calls a market: Gemini has two spellings."""
        return next((name for name in (symbol, symbol.lower()) if name in self.synthetic.markets), None)

    async def connect(self, scheme: Scheme) -> Wire:
        session = MemorySession(next(self._numbers), self, self.address)
        self._nursery.start_soon(self._serve, session)
        await wait_all_tasks_blocked()
        return MemoryWire(session)

    async def _serve(self, session: MemorySession) -> None:
        with session.scope:
            try:
                await self.synthetic.serve(session)
            except* ConnectionClosed:
                pass

    async def get(self, scheme: Scheme, path: str) -> bytes:
        path, _, question = path.partition(" ")
        address = Address.of_url(scheme.rest + path)
        venue = next(each for each in self._venues if each.answers(address))
        target = f"/{address.host}{address.path}" + (f"?{address.query}" if address.query else "")
        response = await venue.answer(Request("POST" if question else "GET", target, question.encode()))
        assert response.status == 200, response
        return response.body

    async def advance(self, symbol: str | None) -> None:
        """One turn: a step of a market (none: nothing happens), and whatever the exchange does by the clock."""
        self.turn += 1
        if symbol is not None:
            name = self.name(symbol)
            assert name is not None
            self.synthetic.advance(self.synthetic.markets[name])
        self._clock.jump(TURN_SECONDS)
        await wait_all_tasks_blocked()

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]:
        """The true book, best first."""
        name = self.name(symbol)
        assert name is not None
        book = self.synthetic.markets[name].walk.book
        return list(book.bids)[:depth], list(book.asks)[:depth]
