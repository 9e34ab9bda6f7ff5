"""Everything that the registry offers, in one node process at once: a market of every exchange and type, all LIVE, none
disturbed, and in Kafka exactly what the exchanges told, change by change and trade by trade."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import trio
from running import Rig, rig

from level4.client import Integrity
from level4.exchanges.registry import VENUES
from level4.model import Event, FeedState, MarketType, Spread, Status, Trade
from level4.proto.level4_pb2 import Market
from level4.rpc.client import ControlClient, connect
from level4.rpc.errors import NodeUnavailableError
from level4.simulator import Simulator
from level4.simulator.listing import next_quarter

pytestmark = pytest.mark.broker

SPOT, PERP, FUTURE, INVERSE, OPTION = (
    MarketType.SPOT,
    MarketType.PERP,
    MarketType.FUTURE,
    MarketType.INVERSE,
    MarketType.OPTION,
)
QUOTES = {
    ("BINANCE", SPOT): "USDT",
    ("BINANCE", PERP): "USDT",
    ("BINANCE", FUTURE): "USDT",
    ("BINANCE", OPTION): "USDT",
    ("BITFINEX", PERP): "USDT",
    ("BITFLYER", SPOT): "JPY",
    ("BITFLYER", PERP): "JPY",
    ("BITMEX", SPOT): "USDT",
    ("BITMEX", PERP): "USDT",
    ("BITMEX", FUTURE): "USDT",
    ("BYBIT", SPOT): "USDT",
    ("BYBIT", PERP): "USDT",
    ("BYBIT", FUTURE): "USDT",
    ("BYBIT", OPTION): "USDT",
    ("DERIBIT", SPOT): "USDC",
    ("DERIBIT", PERP): "USDC",
    ("DERIBIT", FUTURE): "USDC",
    ("HITBTC", SPOT): "USDT",
    ("HITBTC", PERP): "USDT",
    ("HYPERLIQUID", SPOT): "USDC",
    ("HYPERLIQUID", PERP): "USDC",
    ("OKX", SPOT): "USDT",
    ("OKX", PERP): "USDT",
    ("OKX", FUTURE): "USDT",
    ("POLONIEX", SPOT): "USDT",
}
"""Of the simulator's bitcoin market; the others are in USD."""
BASES = {("BITMEX", PERP): "ETH"}
PARTS = {
    ("BINANCE", PERP): "BINANCE_FUTURES",
    ("BINANCE", FUTURE): "BINANCE_FUTURES",
    ("BINANCE", OPTION): "BINANCE_FUTURES",
    ("BINANCE", INVERSE): "BINANCE_DELIVERY",
    ("BYBIT", SPOT): "BYBIT_SPOT",
    ("BYBIT", PERP): "BYBIT_LINEAR",
    ("BYBIT", FUTURE): "BYBIT_LINEAR",
    ("BYBIT", INVERSE): "BYBIT_INVERSE",
    ("BYBIT", OPTION): "BYBIT_OPTION",
    ("KRAKEN", PERP): "KRAKEN_FUTURES",
    ("KRAKEN", FUTURE): "KRAKEN_FUTURES",
    ("KRAKEN", INVERSE): "KRAKEN_FUTURES",
}
"""What the simulator calls parts of an exchange."""
AGGREGATED = {"BINANCE_FUTURES", "BINANCE_DELIVERY"}
"""Parts that tell fills at one price together."""
DISTURBED = {"gap", "resync", "stale", "reconnecting", "refused", "halted"}
LIVE_SECONDS, SETTLE_SECONDS = 60.0, 30.0

Trades = list[tuple[str, Decimal, Decimal]]


@dataclass(frozen=True)
class Running:
    """A market of the node, and where the simulator keeps it."""

    id: int
    name: str
    part: str
    native: str


@dataclass(frozen=True)
class Account:
    """What is known of one market from one side."""

    price_changes: int
    trades: Trades


def markets() -> list[tuple[tuple[str, MarketType], Market]]:
    expiry = next_quarter(datetime.now(UTC).date()).isoformat()
    found = []
    for number, key in enumerate(VENUES, 1):
        exchange, type_ = key
        market = Market(id=number, exchange_name=exchange, type=str(type_))
        market.base_symbol, market.quote_symbol = BASES.get(key, "BTC"), QUOTES.get(key, "USD")
        if type_ in (FUTURE, OPTION):
            market.expiry = expiry
        if type_ is OPTION:
            market.strike, market.right = "61000", "C"
        found.append((key, market))
    return found


@asynccontextmanager
async def control(it: Rig) -> AsyncIterator[ControlClient]:
    lines = [json.loads(line) for line in (it.folder / "node.log").read_text().splitlines()]
    (address,) = [str(line["control"]) for line in lines if line["event"] == "node started"]
    async with connect("127.0.0.1", int(address.rpartition(":")[2])) as client:
        yield client


async def start_all(it: Rig, client: ControlClient) -> list[Running]:
    running = []
    for (exchange, type_), market in markets():
        with trio.fail_after(30):
            while True:
                try:
                    native = (await client.start_market(market)).market.native_symbol
                    break
                except NodeUnavailableError:  # it still reads the log of owners
                    await trio.sleep(0.05)
        part = PARTS.get((exchange, type_), exchange)
        known = it.simulator.book(part, native) is not None
        name = f"{exchange}.{type_}"
        running.append(Running(market.id, name, part, native if known else native.lower()))  # Gemini has two spellings
    return running


def told(events: Sequence[Event], running: Sequence[Running]) -> dict[str, Account]:
    """What a consumer of Kafka has counted."""
    changes: Counter[int] = Counter()
    trades: dict[int, Trades] = defaultdict(list)
    for event in events:
        if isinstance(event, Spread) and event.changed in ("bid", "ask", "both"):
            changes[event.market_id] += 1 + (event.coalesced or 0)
        elif isinstance(event, Trade):
            trades[event.market_id].append((str(event.side), Decimal(event.price), Decimal(event.size)))
    return {one.name: Account(changes[one.id], trades[one.id]) for one in running}


def merged(trades: Trades) -> Trades:
    """Neighbours of one side and price as one: where the exchange tells fills of one taker together."""
    groups = groupby(trades, key=lambda trade: trade[:2])
    return [(side, price, sum((size for _, _, size in group), Decimal())) for (side, price), group in groups]


def wrong(simulator: Simulator, running: Sequence[Running], seen: dict[str, Account]) -> list[str]:
    """Where Kafka and the exchanges differ: in the number of price changes or trades, or in the trades. Those are
    compared as far back as the simulator remembers them."""
    exchanges: Any = simulator.stats()["exchanges"]
    found = []
    for one in running:
        account, tally = seen[one.name], exchanges[one.part][one.native]
        sent = tally["best_price_changes"], tally["trades"]
        read = account.price_changes, len(account.trades)
        if read != sent:
            found.append(f"{one.name}: {read} price changes and trades of {sent}")
        last: Any = simulator.trades(one.part, one.native)
        made = [(each["taker"], Decimal(each["price"]), Decimal(each["size"])) for each in last]
        got = account.trades
        if one.part in AGGREGATED:
            # the first of each may have lost what was told with it
            made, got = merged(made)[1:], merged(got)[1:]
        common = min(len(made), len(got))
        if made[len(made) - common :] != got[len(got) - common :]:
            found.append(f"{one.name}: other trades")
    return found


async def all_rows_for(seconds: float, rate: float, folder: Path, report: Callable[[str], None]) -> None:
    simulator = Simulator(rate=rate, trade_rate=rate / 10, levels=50, seed=4)
    simulator.pause()  # until all are LIVE: what comes before a snapshot is not counted alike on both sides
    async with (
        rig(simulator, folder) as it,
        it.reading(),
        it.node([], MAX_DATA_FEEDS="64") as node,
        control(it) as client,
    ):
        began = trio.current_time()
        running = await start_all(it, client)
        wanted = {one.id for one in running}

        def live(events: list[Event]) -> set[int]:
            return {e.market_id for e in events if isinstance(e, Spread) and e.state is FeedState.LIVE}

        await it.until(lambda events: live(events) >= wanted, LIVE_SECONDS)
        report(f"{len(running)} markets LIVE in {trio.current_time() - began:.1f} s")
        simulator.resume()
        await trio.sleep(seconds)
        simulator.pause()
        seen = told(it.events, running)
        with trio.move_on_after(SETTLE_SECONDS):
            while wrong(simulator, running, seen):
                await trio.sleep(0.5)
                seen = told(it.events, running)
        assert wrong(simulator, running, seen) == []
        assert node.process.returncode is None
        assert {one.id for one in await client.list_markets()} == wanted
        for market in (each for _, each in markets()):
            assert await client.is_market_online(market), market
    assert not [e for e in it.events if isinstance(e, Status) and e.event in DISTURBED]
    assert not [e for e in it.events if isinstance(e, Spread) and e.state in (FeedState.GAP, FeedState.STALE)]
    integrity = Integrity()
    for event in it.events:
        integrity.check_event(event)
    assert sum(each.lost + each.duplicates + each.old_host for each in integrity.accounts.values()) == 0
    changes, trades = (
        sum(found) for found in zip(*((a.price_changes, len(a.trades)) for a in seen.values()), strict=True)
    )
    assert min(account.price_changes for account in seen.values()) > 0
    assert min(len(account.trades) for account in seen.values()) > 0
    report(f"{len(running)} markets for {seconds:g} s: {changes} price changes and {trades} trades, each accounted for")


async def test_all_rows_at_once(tmp_path: Path, report: Callable[[str], None]) -> None:
    await all_rows_for(20.0, 10.0, tmp_path, report)


@pytest.mark.slow
async def test_all_rows_for_five_minutes(tmp_path: Path, report: Callable[[str], None]) -> None:
    await all_rows_for(300.0, 5.0, tmp_path, report)
