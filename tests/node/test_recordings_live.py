"""Recordings served over a real socket to a real node: the same events in the same order in Kafka."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from running import rig

from level4.client import Integrity
from level4.model import Event, FeedState, Spread, Trade
from level4.recording import Replay
from level4.simulator import Simulator

pytestmark = pytest.mark.broker

CASES = {
    "kraken": (
        "KRAKEN.SPOT",
        ["ws-48.jsonl.gz", "ws-50.jsonl.gz"],
        ["ADA/BTC", "OCEAN/BTC", "OMG/USD", "BTC/CHF", "XMR/USD"],
        "KRAKEN.SPOT=kraken.v1",
    ),
    "coinbase": (
        "COINBASE.SPOT",
        ["ws-28.jsonl.gz"],
        ["BAND/BTC", "BAND/GBP", "NMR/EUR", "SKL/GBP", "SKL/USD"],
        "COINBASE.SPOT=coinbase.exchange",
    ),
    # One market, because the moment of the REST answer decides which of its pairs are seen.
    "binance": ("BINANCE.SPOT", ["hft-ethusdt.jsonl.gz"], ["ETH/USDT"], ""),
    "bitmex": (
        "BITMEX.MIXED",
        ["ws-1.jsonl.gz"],
        ["PERP:ADA/USDT:BTC", "PERP:EOS/USDT:BTC", "PERP:TRX/USDT:BTC", "INVERSE:BTC/USD:BTC"],
        "",
    ),
    "poloniex": ("POLONIEX.SPOT", ["ws-1.jsonl.gz"], ["BTC/USDT", "BCH/BTC", "USDJ/USDT"], ""),
    "bitflyer": (
        "BITFLYER.MIXED",
        ["ws-1.jsonl.gz"],
        ["XRP/JPY", "BCH/BTC", "BTC/EUR", "PERP:BTC/JPY:JPY"],
        "",
    ),
    "gemini": (
        "GEMINI.SPOT",
        ["ws-1.jsonl.gz"],
        ["FIL/USD", "GRT/USD", "ETH/EUR", "ZEC/LTC", "LINK/ETH"],
        "GEMINI.SPOT=gemini.v2",
    ),
    "hitbtc": ("HITBTC.SPOT", ["ws-1.jsonl.gz"], ["VET/BTC", "POLY/BTC", "INSUR/BTC"], "HITBTC.SPOT=hitbtc.v2"),
}
"""Folder, files, symbols (of spot, or with their type before them), protocols."""

SKIPPED = {
    ("binance", "spread"): 1,
    # The moment of the REST answer differs live, and with it the first pair.
    ("kraken", "trades"): 1,
    # A first trade older than the acknowledgement is history, and this one is years older than today's.
}
"""How many of the first facts cannot be the same live."""

Facts = dict[tuple[str, str], list[tuple[object, ...]]]


def facts(events: list[Event]) -> Facts:
    """What consumers of a symbol's streams learn: pairs in order, trades in order."""
    told: Facts = defaultdict(list)
    for event in events:
        if isinstance(event, Spread) and event.state is FeedState.LIVE and event.changed != "none":
            pair = event.bid_price, event.bid_size, event.ask_price, event.ask_size, event.mid_price, event.exchange_us
            if not told[event.symbol, "spread"] or told[event.symbol, "spread"][-1][:4] != pair[:4]:
                told[event.symbol, "spread"].append(pair)
        elif isinstance(event, Trade):
            fact = event.side, event.price, event.size, event.trade_id, event.exchange_us
            told[event.symbol, "trades"].append(fact)
    return told


@pytest.mark.parametrize("case", CASES)
async def test_a_recording_reaches_kafka_as_it_is_replayed(case: str, recordings: Path, tmp_path: Path) -> None:
    folder, files, symbols, protocols = CASES[case]
    paths = [recordings / folder / name for name in files]
    expected = facts([replayed.event for replayed in Replay(spread_trigger="size").run(paths)])
    exchange = folder.partition(".")[0]
    markets, names = [], set()
    for number, symbol in enumerate(symbols, 1):
        kind, name = symbol.split(":", 1) if symbol.startswith(("PERP:", "INVERSE:")) else ("SPOT", symbol)
        markets.append(f"{number}={exchange}:{kind}:{name.partition(':')[0]}")
        names.add(name)
    expected = {key: told for key, told in expected.items() if key[0] in names}
    expected = {key: told[SKIPPED.get((case, key[1]), 0) :] for key, told in expected.items()}
    expected = {key: told for key, told in expected.items() if told}

    def complete(events: list[Event]) -> bool:
        told = facts(events)
        return all(told[key][-len(wanted) :] == wanted for key, wanted in expected.items())

    async with rig(Simulator(recordings=paths, speed=None), tmp_path) as it:
        node = it.node(markets, "--spread-trigger", "size", LEVEL4_PROTOCOLS=protocols)
        async with node, it.reading():
            await it.until(complete, 30)
    assert sum(map(len, expected.values())) > 30
    integrity = Integrity()
    for event in it.events:
        integrity.check_event(event)
    assert sum(account.lost + account.duplicates for account in integrity.accounts.values()) == 0
