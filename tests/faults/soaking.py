"""25 markets of five exchanges under load and faults, for as long as asked: what it costs, and whether it holds.

The simulator is a process of its own, so that memory and event loop are the feeds' alone. The publisher only counts.

Memory is measured twice. The resident set is what a machine sees, but in the first minutes it only rises: it keeps
what the busiest moment needed (updates kept for a snapshot, a book received anew while the old one is there), and each
busier moment adds a step. The number of allocated blocks falls again with what is freed; so it shows a leak within
minutes, and the resident set is judged once it has settled.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import httpx
import trio

from level4.exchanges import venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, WebSockets
from level4.model import Event, FeedState, MarketRequest, MarketType, Spread, Status
from level4.simulator import Channel, FaultKind

RATE = 100
"""Steps a second of each market."""
BASES = ("BTC", "ETH", "SOL", "XRP", "ADA")
QUOTES = {"BINANCE": "USDT", "BITFINEX": "USD", "COINBASE": "USD", "KRAKEN": "USD", "OKX": "USDT"}
SHOWN = [FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER, FaultKind.DELAY, FaultKind.TRUNCATE, FaultKind.GARBAGE]
FRAME_FAULTS = dict.fromkeys(QUOTES, SHOWN) | {
    # a checksum of ten levels: what is lost below them would not be seen
    "KRAKEN": [FaultKind.CORRUPT, FaultKind.DUPLICATE, FaultKind.DELAY, FaultKind.TRUNCATE, FaultKind.GARBAGE]
}
ENDS = [FaultKind.CLOSE, FaultKind.RESET]
FAULT_SECONDS, END_SECONDS = 1.0, 20.0
"""Between two faults of frames, and between two ends of connections."""
HEAL_SECONDS = 150.0
"""Attempts at a book that has failed again and again are up to a minute apart."""
WARMING_SECONDS, SETTLING_SECONDS = 120, 300
_PART = 30
_MIB = 2**20


@dataclass
class Report:
    """What a soak came to."""

    seconds: float
    seed: int
    events: Counter[str] = field(default_factory=Counter)
    faults: dict[str, int] = field(default_factory=dict)
    frames_per_second: float = 0.0
    rss_mib: list[float] = field(default_factory=list)
    """Every second."""
    rss_mib_per_minute: float | None = None
    """After five minutes; None when the run is no longer than twice that."""
    blocks: list[int] = field(default_factory=list)
    """Allocated by Python, every second."""
    blocks_per_minute: float | None = None
    """Of the least of each half minute, after the first two; None when that is less than two minutes."""
    lag_ms: dict[str, float] = field(default_factory=dict)
    load: float = 0.0
    """Of the machine, per core, at the end."""
    different: list[str] = field(default_factory=list)
    """Markets whose book was not the exchange's in the end."""
    not_live: list[str] = field(default_factory=list)
    tasks_left: int = 0
    heal_seconds: float = 0.0

    def content(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "seed": self.seed,
            "feeds": len(BASES) * len(QUOTES),
            "frames_per_second": round(self.frames_per_second),
            "events": dict(sorted(self.events.items())),
            "faults": dict(sorted(self.faults.items())),
            "rss_mib": {"first": round(self.rss_mib[0], 1), "last": round(self.rss_mib[-1], 1)},
            "rss_mib_per_minute": None if self.rss_mib_per_minute is None else round(self.rss_mib_per_minute, 3),
            "blocks": {"first": self.blocks[0], "last": self.blocks[-1]},
            "blocks_per_minute": None if self.blocks_per_minute is None else round(self.blocks_per_minute),
            "lag_ms": {name: round(value, 2) for name, value in self.lag_ms.items()},
            "load_per_core": round(self.load, 2),
            "heal_seconds": round(self.heal_seconds, 1),
            "different_books": self.different,
            "not_live": self.not_live,
            "tasks_left": self.tasks_left,
        }


class Counting:
    """The port `Publisher`: counts, and keeps nothing."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def put(self, event: Event) -> None:
        kind = event.event if isinstance(event, Status) else "spread" if isinstance(event, Spread) else "trade"
        self.counts[kind] += 1


async def soak(seconds: float, seed: int) -> Report:
    report = Report(seconds, seed)
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with _simulator(seed) as address, httpx.AsyncClient(base_url=f"http://{address}/_level4") as control:
        await _soaked(report, address, control)
    report.tasks_left = trio.lowlevel.current_statistics().tasks_living - tasks
    return report


async def _soaked(report: Report, address: str, control: httpx.AsyncClient) -> None:
    counting = Counting()
    addresses = AddressBook(simulator=address)
    lags = array("d")  # a list of them would be seen in the memory that is measured
    async with trio.open_nursery() as nursery, Rest() as rest:
        feeds = Feeds(
            FeedSettings(node="node1", addresses=addresses),
            publisher=counting,
            venue=venue,
            transport=WebSockets(),
            rest=rest,
            instruments=Instruments(rest, addresses),
            random=Random(report.seed),
        )
        await nursery.start(feeds.run)
        markets = [(exchange, base) for base in BASES for exchange in QUOTES]
        async with trio.open_nursery() as starting:
            for number, (exchange, base) in enumerate(markets, 1):
                request = MarketRequest(number, exchange, MarketType.SPOT, base, QUOTES[exchange])
                starting.start_soon(partial(feeds.start, request, term=7))
        with trio.move_on_after(HEAL_SECONDS):
            await _all_live(feeds)
        frames, began = _frames(feeds), trio.current_time()
        with trio.move_on_after(report.seconds):
            async with trio.open_nursery() as measuring:
                measuring.start_soon(_measure_lag, lags)
                measuring.start_soon(_measure_memory, report)
                measuring.start_soon(_strike, control, Random(report.seed))
        report.frames_per_second = (_frames(feeds) - frames) / (trio.current_time() - began)
        report.load = os.getloadavg()[0] / (os.cpu_count() or 1)
        report.faults = (await control.get("/stats")).json()["faults"]
        await control.delete("/faults")
        await _strike_once(control, FaultKind.UNSTALL, {})
        await _heal(feeds, control, report)
        report.events = counting.counts
        nursery.cancel_scope.cancel()
    cuts = statistics.quantiles(lags, n=1000, method="inclusive")
    report.lag_ms = {"p50": cuts[499] * 1e3, "p99": cuts[989] * 1e3, "max": max(lags) * 1e3}
    if len(report.rss_mib) > 2 * SETTLING_SECONDS:
        report.rss_mib_per_minute = _slope(report.rss_mib[SETTLING_SECONDS:]) * 60
    warm = report.blocks[WARMING_SECONDS:]
    least = [float(min(warm[at : at + _PART])) for at in range(0, len(warm) - _PART + 1, _PART)]
    if len(least) >= 120 / _PART:
        report.blocks_per_minute = _slope(least) * 60 / _PART


def _slope(values: list[float]) -> float:
    return statistics.linear_regression(range(len(values)), values).slope


async def _heal(feeds: Feeds, control: httpx.AsyncClient, report: Report) -> None:
    """Until every market is LIVE with the exchange's book, or it takes too long."""
    began = trio.current_time()
    with trio.move_on_after(HEAL_SECONDS):
        await _all_live(feeds)
        await trio.sleep(2)  # what was lost with the last faults shows with the next frames
        await _all_live(feeds)
    report.heal_seconds = trio.current_time() - began
    await control.post("/pause")
    await trio.sleep(1)
    report.not_live = _not_live(feeds)
    for view in feeds.markets():
        native = view.instrument.native_symbol
        params = {"exchange": view.request.exchange, "symbol": native}
        true = (await control.get("/book", params=params)).json()
        market = feeds.market(view.request.id)
        assert market is not None
        ours = market.book.bids.top(10_000), market.book.asks.top(10_000)
        if [_numbers(side) for side in ours] != [_numbers(true["bids"]), _numbers(true["asks"])]:
            report.different.append(f"{view.request.exchange} {native}")


def _numbers(levels: Any) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in levels]


def _not_live(feeds: Feeds) -> list[str]:
    views = feeds.markets()
    return [f"{v.request.exchange} {v.request.base} {v.state}" for v in views if v.state != FeedState.LIVE]


async def _all_live(feeds: Feeds) -> None:
    while _not_live(feeds):  # noqa: ASYNC110 - there is no event
        await trio.sleep(0.1)


def _frames(feeds: Feeds) -> int:
    return sum(stats.frames for stats in feeds.connections())


async def _measure_lag(lags: array[float]) -> None:
    while True:
        due = trio.current_time() + 0.05
        await trio.sleep_until(due)
        lags.append(trio.current_time() - due)


async def _measure_memory(report: Report) -> None:
    while True:
        pages = int((await trio.Path("/proc/self/statm").read_text()).split()[1])
        report.rss_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / _MIB)
        report.blocks.append(sys.getallocatedblocks())
        await trio.sleep(1)


async def _strike(control: httpx.AsyncClient, random: Random) -> None:
    due = END_SECONDS / 4
    elapsed = 0.0
    while True:
        await trio.sleep(FAULT_SECONDS)
        elapsed += FAULT_SECONDS
        exchange = random.choice(sorted(QUOTES))
        if elapsed >= due:
            due += END_SECONDS
            await _strike_once(control, random.choice(ENDS), {"exchange": exchange})
        else:
            details = {"exchange": exchange, "channel": Channel.BOOK, "seconds": 0.2}
            await _strike_once(control, random.choice(FRAME_FAULTS[exchange]), details)


async def _strike_once(control: httpx.AsyncClient, kind: FaultKind, details: dict[str, Any]) -> None:
    response = await control.post("/faults", json={"kind": kind, **details})
    response.raise_for_status()


@asynccontextmanager
async def _simulator(seed: int) -> AsyncIterator[str]:
    """A process that plays the exchanges; its address."""
    command = [sys.executable, "-m", "level4", "simulate", "--port", "0", "--seed", str(seed)]
    command += ["--rate", str(RATE), "--trade-rate", "10"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        said = b""
        with trio.fail_after(60):
            while b"\n" not in said:
                said += bytes(await process.stdout.receive_some())
        yield said.decode().split()[2].rstrip(";")
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()
