"""One run of the matrix: a protocol, a fault, a seed.

Two clients listen to the same exchange; the frames of one are struck. What the other published at the turn of which
the struck one knows is the truth, and what the exchange's own book is: every LIVE record of the struck one must be one
of those pairs. A fault that its protocol shows must be marked before anything wrong is published. In the end both
books must be the exchange's own, which no code of ours has touched; where a protocol cannot show a fault, one planned
reconnect is allowed for that.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Protocol

import trio
from client import Client, Pair, Source, pair
from recorded_exchange import RECORDED, RecordedExchange, recorded_scheme
from simulated_exchange import Level, SimulatedExchange
from strikes import NUMBERED_CONNECTIONS, Kind, Strike
from trio.testing import MockClock

from level4.exchanges import PROTOCOLS, Scheme
from level4.exchanges.scheme import Channel
from level4.market import Market
from level4.market.kept import MAX_OLD
from level4.model import Instrument, MarketType

SIMULATED_TYPES = {
    "binance.coinm": MarketType.INVERSE,
    "binance.options": MarketType.OPTION,
    "binance.usdm": MarketType.PERP,
    "bitmex.v1": MarketType.INVERSE,
    "bybit.v5.inverse": MarketType.INVERSE,
    "bybit.v5.linear": MarketType.PERP,
    "bybit.v5.option": MarketType.OPTION,
    "hyperliquid.v1": MarketType.PERP,
    "kraken_futures.v1": MarketType.PERP,
    "kraken_futures.v2": MarketType.PERP,
    "okx.v5.rest": MarketType.PERP,
}
"""Where it is not SPOT."""
DEPTHS = {"hyperliquid.v1": 5, "poloniex.v2": 20}
"""How many levels a protocol shows, where it is not all of the simulator's."""
WARM_TURNS, PATIENCE_TURNS = 10, 8_000
RESET_TURNS = 4 * MAX_OLD
"""Half of the turns, and some more, are a market's."""


class Exchange(Source, Protocol):
    """An exchange whose steps are made by hand, and that shows its true books."""

    async def instruments(self, scheme_type: type[Scheme], type_: MarketType, how_many: int) -> list[Instrument]: ...

    def name(self, symbol: str) -> str | None: ...

    async def advance(self, symbol: str | None) -> None: ...

    def book(self, symbol: str, depth: int) -> tuple[list[Level], list[Level]]: ...


@dataclass
class Outcome:
    """What came of one run."""

    seed: int
    struck: bool = False
    frames_to_mark: int | None = None
    """Turns from the strike to the record that marks the book; None: never marked."""
    updates_unmarked: int = 0
    """Updates of the market, from the strike on, in the turns before the mark."""
    wrong_records: list[str] = field(default_factory=list)
    """LIVE records that are no truth."""
    wrong_turns: int = 0
    """Turns at whose end a consumer believed in a wrong best."""
    equal: bool = False
    """Whether the book came right by itself."""
    repaired: bool = False
    """Whether it was right in the end."""
    reasons: list[str] = field(default_factory=list)


def run(protocol: str, kind: Kind, seed: int, turns: int = 300, recordings: Path | None = None) -> Outcome:
    """One run, that goes on for `turns` once the fault may strike. `recordings`: their folder, for protocols that only
    they speak."""
    return trio.run(_run, protocol, kind, seed, turns, recordings, clock=MockClock())


async def _run(protocol: str, kind: Kind, seed: int, turns: int, recordings: Path | None) -> Outcome:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    random = Random(f"{protocol} {kind} {seed}")
    outcome = Outcome(seed)
    async with trio.open_nursery() as nursery:
        if protocol in RECORDED:
            assert recordings is not None
            scheme = recorded_scheme(protocol)
            exchange: Exchange = RecordedExchange(recordings, protocol, clock)
        else:
            scheme = PROTOCOLS[protocol]
            exchange = SimulatedExchange(scheme, random.randrange(2**32), nursery, clock)
        await _Run(exchange, scheme, kind, random, outcome).go(turns)
        nursery.cancel_scope.cancel()
    return outcome


class _Run:
    def __init__(self, exchange: Exchange, scheme: type[Scheme], kind: Kind, random: Random, outcome: Outcome) -> None:
        self._exchange = exchange
        self._scheme = scheme
        self._kind = kind
        self._random = random
        self._outcome = outcome
        self._truth: dict[int, set[Pair | None]] = defaultdict(set)

    async def go(self, turns: int) -> None:
        protocol, exchange, random, outcome = self._scheme.protocol, self._exchange, self._random, self._outcome
        type_ = SIMULATED_TYPES.get(protocol, MarketType.SPOT)
        instruments = await exchange.instruments(self._scheme, type_, 2)
        self._symbols = [each.native_symbol for each in instruments]
        self._target = self._symbols[0]
        name = exchange.name(self._target)
        assert name is not None
        self._strike = strike = Strike(protocol, self._kind, name, random)
        now = trio.current_time
        self._clean = Client(exchange, self._scheme, instruments, random, now)
        lag = random.randrange(3)
        self._client = Client(exchange, self._scheme, instruments, random, now, lag=lag, injector=strike)
        await self._until_live()
        await self._turns(WARM_TURNS + lag)
        strike.arm()
        await self._turns(turns)
        outcome.struck = strike.turn is not None
        if strike.turn is None:
            return
        if self._kind is Kind.RESET and protocol not in NUMBERED_CONNECTIONS:
            await self._until_marked(strike.turn)
        self._judge()
        await self._until_live()
        outcome.equal = outcome.repaired = await self._same()
        if not outcome.equal:
            await self._client.reconnect("planned")
            await self._until_live()
            outcome.repaired = await self._same()
        marks = [r for market in self._clean.heard.values() for _, _, r in market.records if r.state != "LIVE"]
        assert not marks, f"the undamaged client was marked, too: {marks}"
        await self._clean.close()
        await self._client.close()

    # -- turns ----------------------------------------------------------------------------------------------------

    async def _turns(self, count: int) -> None:
        for _ in range(count):
            await self._turn(self._random.choice(self._symbols))

    async def _until_live(self) -> None:
        for _ in range(PATIENCE_TURNS):
            if self._client.live() and self._clean.live():
                return
            await self._turn(self._random.choice(self._symbols) if self._random.random() < 0.5 else None)
        raise AssertionError("not LIVE after a long time")

    async def _until_marked(self, since: int) -> None:
        """Until every market of a connection whose numbers began anew has been marked, or long enough."""
        for _ in range(RESET_TURNS):
            heard = self._client.heard.values()
            if all(any(turn >= since and r.state != "LIVE" for turn, _, r in each.records) for each in heard):
                return
            await self._turn(self._random.choice(self._symbols))

    async def _turn(self, symbol: str | None) -> None:
        exchange, client, clean, target = self._exchange, self._client, self._clean, self._target
        before = clean.pair(target)
        await exchange.advance(symbol)
        seen = len(clean.heard[target].records)
        await clean.step()
        turn = exchange.turn
        told: set[Pair | None] = {
            pair(record) for _, _, record in clean.heard[target].records[seen:] if record.state == "LIVE"
        }
        (bid, *_), (ask, *_) = exchange.book(target, 1)
        # a snapshot may show what updates, gathered for a while, have still to tell
        self._truth[turn] = {*told, before if not told else clean.pair(target), (*bid, *ask)}
        await client.step()
        believed = client.pair(target)
        if self._strike.turn is not None and believed is not None:
            self._outcome.wrong_turns += believed not in self._truth[client.newest(target)]

    async def _same(self) -> bool:
        """Whether both books are the exchange's, when everything that is under way has come."""
        for _ in range(20 + 4):
            await self._turn(None)
        depth = DEPTHS.get(self._scheme.protocol, 10_000)
        for symbol in self._symbols:
            true = self._exchange.book(symbol, depth)
            assert _book(self._clean.markets[symbol], depth) == true, "the undamaged client's book is wrong, too"
            if _book(self._client.markets[symbol], depth) != true or not self._client.live():
                return False
        return True

    # -- judgement ------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        outcome, struck = self._outcome, self._strike.turn
        assert struck is not None
        heard = self._client.heard[self._target]
        for turn, known, record in heard.records:
            if known < struck:
                continue
            if record.state != "LIVE":
                if outcome.frames_to_mark is None:
                    outcome.frames_to_mark = known - struck
                    outcome.updates_unmarked = sum(turn < known for turn in self._strike.updates)
            elif pair(record) not in self._truth[known]:
                outcome.wrong_records.append(
                    f"turn {turn}: {pair(record)}, true {sorted(map(str, self._truth[known]))}"
                )
        outcome.reasons = [str(s.reason) for turn, s in heard.statuses if turn >= struck and s.event == "gap"]


def _book(market: Market, depth: int) -> tuple[list[Level], list[Level]]:
    bids, asks = (
        [(Decimal(price), Decimal(size)) for price, size in side.top(depth)]
        for side in (market.book.bids, market.book.asks)
    )
    return bids, asks


PROTOCOLS_RUN = sorted(
    name for name, scheme in PROTOCOLS.items() if name in RECORDED or Channel.BOOK in scheme.websocket
)
LEFT_OUT = {"bybit.v5": "the same class as bybit.v5.spot, and no address to connect to"}
