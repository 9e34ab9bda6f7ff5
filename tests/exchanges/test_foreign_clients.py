"""The simulator, seen with the eyes of others: libraries that trade on the real exchanges subscribe to it in their own
way, decode it with their own code, and come to the simulator's own book.

It proves the side of the wire that our schemes cannot: had the simulator and a scheme the same wrong idea of an
exchange, they would agree, and these would not. Gemini is spoken in its older protocol, which is all they know.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from foreign_libraries import CCXT, TARDIS, Library, command, missing

from level4.exchanges.registry import VENUES
from level4.simulator import Simulator, hyperliquid

pytestmark = [pytest.mark.slow, pytest.mark.foreign]

TOP = 10
CHANGES = 50
SECONDS = 40.0

Sides = list[list[tuple[float, float]]]


@dataclass(frozen=True)
class Case:
    library: Library
    exchange: str
    """What the library calls it."""
    symbol: str
    part: str
    """What the simulator calls it."""
    native: str

    def __str__(self) -> str:
        return f"{self.library.name}-{self.exchange}"

    @property
    def arguments(self) -> list[str]:
        own = [self.native] if self.library is CCXT else []
        return [self.exchange, self.symbol, *own]


CASES = [
    Case(TARDIS, "binance", "BTCUSDT", "BINANCE", "BTCUSDT"),
    Case(TARDIS, "bitfinex", "BTCUSD", "BITFINEX", "tBTCUSD"),
    Case(TARDIS, "bitflyer", "BTC_JPY", "BITFLYER", "BTC_JPY"),
    Case(TARDIS, "bitmex", "XBTUSD", "BITMEX", "XBTUSD"),
    Case(TARDIS, "bitstamp", "btcusd", "BITSTAMP", "btcusd"),
    Case(TARDIS, "bybit", "BTCUSDT", "BYBIT_LINEAR", "BTCUSDT"),
    Case(TARDIS, "bybit-spot", "BTCUSDT", "BYBIT_SPOT", "BTCUSDT"),
    Case(TARDIS, "coinbase", "BTC-USD", "COINBASE", "BTC-USD"),
    Case(TARDIS, "deribit", "BTC-PERPETUAL", "DERIBIT", "BTC-PERPETUAL"),
    Case(TARDIS, "gemini", "BTCUSD", "GEMINI", "btcusd"),
    Case(TARDIS, "cryptofacilities", "PI_XBTUSD", "KRAKEN_FUTURES", "PI_XBTUSD"),
    Case(TARDIS, "hyperliquid", "BTC", "HYPERLIQUID", "BTC"),
    Case(TARDIS, "okex", "BTC-USDT", "OKX", "BTC-USDT"),
    Case(TARDIS, "okex-swap", "BTC-USDT-SWAP", "OKX", "BTC-USDT-SWAP"),
    Case(TARDIS, "poloniex", "BTC_USDT", "POLONIEX", "BTC_USDT"),
    Case(CCXT, "binanceusdm", "BTC/USDT:USDT", "BINANCE_FUTURES", "BTCUSDT"),
    Case(CCXT, "coinbase", "BTC/USD", "COINBASE", "BTC-USD"),
    Case(CCXT, "hitbtc", "BTC/USDT", "HITBTC", "BTCUSDT"),
    Case(CCXT, "kraken", "BTC/USD", "KRAKEN", "BTC/USD"),
]


@dataclass
class Client:
    """What the foreign program has said."""

    books: list[Sides] = field(default_factory=list)
    errors: bytes = b""

    async def listen(self, stdout: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for chunk in stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.books.append([[(price, size) for price, size in side] for side in json.loads(line)])

    async def gather_errors(self, stderr: trio.abc.ReceiveStream) -> None:
        async for chunk in stderr:
            self.errors = (self.errors + chunk)[-4000:]


@asynccontextmanager
async def client(case: Case, port: int) -> AsyncIterator[Client]:
    client = Client()
    process = await trio.lowlevel.open_process(
        command(case.library, port, case.arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout, process.stderr, trio.open_nursery() as nursery:
        nursery.start_soon(client.listen, process.stdout)
        nursery.start_soon(client.gather_errors, process.stderr)
        try:
            yield client
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


def truth(simulator: Simulator, case: Case) -> Sides:
    book: Any = simulator.book(case.part, case.native)
    return [[(float(price), float(size)) for price, size in book[side][:TOP]] for side in ("bids", "asks")]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_foreign_client_comes_to_the_same_book(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperliquid, "SLOW_SECONDS", 0.2)  # all it knows are the books that come every 5 s
    reason = await trio.to_thread.run_sync(missing, case.library)
    if reason is not None:
        pytest.skip(reason)
    simulator = Simulator(rate=30.0, trade_rate=3.0, levels=30, seed=4)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        async with client(case, port) as foreign:
            for _ in range(2):
                seen = len(foreign.books)
                with trio.move_on_after(SECONDS):
                    while len(foreign.books) < seen + CHANGES:  # noqa: ASYNC110 - there is no event
                        await trio.sleep(0.05)
                assert len(foreign.books) >= seen + CHANGES, foreign.errors.decode()
                simulator.pause()
                with trio.move_on_after(SECONDS):
                    while foreign.books[-1] != truth(simulator, case):  # noqa: ASYNC110 - there is no event
                        await trio.sleep(0.05)
                assert foreign.books[-1] == truth(simulator, case), foreign.errors.decode()
                assert foreign.errors == b""
                simulator.resume()
        nursery.cancel_scope.cancel()


def test_a_foreign_client_for_every_exchange() -> None:
    assert {case.part.partition("_")[0] for case in CASES} == {exchange for exchange, _ in VENUES}
