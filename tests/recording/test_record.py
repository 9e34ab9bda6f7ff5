"""Recording live connections: what is written replays to what was published, and survives being cut short."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import trio

from level4.exchanges import PROTOCOLS, venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, TrioWebSockets
from level4.model import Event, FeedState, MarketRequest, MarketType, Spread, Trade
from level4.publish import MemoryPublisher
from level4.recording import Recorder, Recording, Replay
from level4.recording.format import INSTRUMENTS
from level4.simulator import Channel, Fault, FaultKind, Simulator

MARKETS = {
    "KRAKEN": [MarketRequest(1, "KRAKEN", MarketType.SPOT, "BTC", "USD"),
               MarketRequest(2, "KRAKEN", MarketType.SPOT, "ETH", "USD")],
    "BINANCE": [MarketRequest(1, "BINANCE", MarketType.SPOT, "BTC", "USDT"),
                MarketRequest(2, "BINANCE", MarketType.SPOT, "ETH", "USDT")],
    "COINBASE": [MarketRequest(1, "COINBASE", MarketType.SPOT, "BTC", "USD"),
                 MarketRequest(2, "COINBASE", MarketType.SPOT, "ETH", "USD")],
    "HYPERLIQUID": [MarketRequest(1, "HYPERLIQUID", MarketType.SPOT, "BTC", "USDC"),
                    MarketRequest(2, "HYPERLIQUID", MarketType.SPOT, "ETH", "USDC")],
}  # fmt: skip

Fact = tuple[object, ...]


class Quick(Random):
    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


async def until(done: Callable[[], bool], seconds: float = 20) -> None:
    with trio.fail_after(seconds):
        while not done():  # noqa: ASYNC110 - the simulator acts on its own time
            await trio.sleep(0.02)


@dataclass
class Running:
    simulator: Simulator
    feeds: Feeds
    published: MemoryPublisher
    recorder: Recorder

    async def until(self, spreads: int, trades: int = 5, since: int = 0) -> None:
        """Until both markets have published so much while LIVE."""

        def done() -> bool:
            events = self.published.events[since:]
            live = [e.market_id for e in events if isinstance(e, Spread) and e.state is FeedState.LIVE]
            traded = [e.market_id for e in events if isinstance(e, Trade)]
            return all(live.count(m) >= spreads and traded.count(m) >= trades for m in (1, 2))

        await until(done)

    def gaps(self) -> int:
        return sum(isinstance(e, Spread) and e.state is FeedState.GAP for e in self.published.events)


@asynccontextmanager
async def recording(exchange: str, folder: Path) -> AsyncIterator[Running]:
    """Two markets of a simulated exchange, recorded until the block ends; the files are whole afterwards."""
    simulator = Simulator(rate=80.0, trade_rate=20.0, levels=50, seed=4)
    published = MemoryPublisher()
    recorder = Recorder(folder)
    async with trio.open_nursery() as outer:
        port = await outer.start(simulator.serve, "127.0.0.1", 0)
        addresses = AddressBook(simulator=f"127.0.0.1:{port}")
        async with Rest() as rest, trio.open_nursery() as nursery:
            feeds = Feeds(
                FeedSettings(node="node1", spread_trigger="size", addresses=addresses),
                publisher=published,
                venue=recorder.venue(venue),
                transport=recorder.transport(TrioWebSockets(connect_seconds=2.0, close_seconds=0.2)),
                rest=rest,
                instruments=Instruments(rest, addresses),
                random=Quick(),
                wall=recorder.wall,
            )
            await nursery.start(feeds.run)
            for request in MARKETS[exchange]:
                await feeds.start(request, term=7)
            yield Running(simulator, feeds, published, recorder)
            nursery.cancel_scope.cancel()
        recorder.close()
        outer.cancel_scope.cancel()


def facts(events: list[Event]) -> dict[tuple[str, str], list[Fact]]:
    """What the events tell of each symbol's book and trades; timers (repeats) left out."""
    told: dict[tuple[str, str], list[Fact]] = {}
    for event in events:
        if isinstance(event, Spread) and event.state is FeedState.LIVE and event.changed != "none":
            pair = event.changed, event.bid_price, event.bid_size, event.ask_price, event.ask_size
            told.setdefault((event.symbol, "spread"), []).append((*pair, event.exchange_us, event.received_us))
        elif isinstance(event, Trade):
            fact = event.side, event.price, event.size, event.trade_id, event.exchange_us, event.received_us
            told.setdefault((event.symbol, "trades"), []).append(fact)
    return told


def replayed(recorder: Recorder) -> dict[tuple[str, str], list[Fact]]:
    run = Replay(spread_trigger="size")
    events = [each.event for each in run.run(sorted(file.path for file in recorder.files))]
    assert run.errors == {}
    return facts(events)


@pytest.mark.parametrize("exchange", MARKETS)
async def test_a_recording_replays_to_what_was_published(exchange: str, tmp_path: Path) -> None:
    async with recording(exchange, tmp_path) as it:
        await it.until(30)
    published = facts(it.published.events)
    assert set(published) == {(s, t) for s, _ in published for t in ("spread", "trades")}
    assert len(published) == 4
    assert replayed(it.recorder) == published
    kind = "MIXED" if exchange == "HYPERLIQUID" else "SPOT"  # one protocol for several types
    assert {file.path.parent for file in it.recorder.files} == {tmp_path / f"{exchange}.{kind}"}
    assert sum(file.frames for file in it.recorder.files) > 60
    assert {file.lost for file in it.recorder.files} == {0}


@pytest.mark.parametrize("exchange", MARKETS)
async def test_each_connection_has_a_file_of_its_own(exchange: str, tmp_path: Path) -> None:
    async with recording(exchange, tmp_path) as it:
        await it.until(10)
        before, since = len(it.recorder.files), len(it.published.events)
        it.simulator.inject(Fault(FaultKind.CLOSE, exchange=exchange))
        await it.until(10, since=since + 20)
        await until(lambda: len(it.recorder.files) > before)
    assert replayed(it.recorder) == facts(it.published.events)
    assert len({file.path for file in it.recorder.files}) == len(it.recorder.files) >= before + 1
    ends = []
    for file in it.recorder.files:
        events = list(Recording(file.path).events())
        assert [events[0].k, events[-1].k] == ["open", "close"]
        assert [event.t for event in events] == sorted(event.t for event in events)
        ends.append(events[-1].code)
    assert any(code is not None for code in ends), "the exchange's close code is kept"


async def test_a_gap_is_repaired_by_a_snapshot_that_is_recorded(tmp_path: Path) -> None:
    async with recording("BINANCE", tmp_path) as it:
        await it.until(10)
        it.simulator.inject(Fault(FaultKind.DROP, exchange="BINANCE", market="BTCUSDT", channel=Channel.BOOK))
        await until(lambda: it.gaps() > 0)
        await it.until(10, since=len(it.published.events))
    (file,) = it.recorder.files
    assert [event.k for event in Recording(file.path).events()].count("http") == 3
    assert replayed(it.recorder) == facts(it.published.events)


async def test_the_instrument_list_is_beside_and_is_understood(tmp_path: Path) -> None:
    async with recording("KRAKEN", tmp_path) as it:
        await it.until(2, 0)
    (file,) = it.recorder.files
    recorded = Recording(file.path)
    assert (recorded.header.exchange, recorded.header.type, recorded.header.protocol) == ("KRAKEN", "SPOT", "kraken.v2")
    listed = recorded.instruments(PROTOCOLS["kraken.v2"])
    assert {"BTC/USD", "ETH/USD"} <= {instrument.symbol for instrument in listed}
    listing = json.loads(gzip.decompress((file.path.parent / INSTRUMENTS).read_bytes()))
    assert (listing["format"], listing["version"], listing["exchange"]) == ("level4.instruments", 1, "KRAKEN")
    assert listing["responses"][0]["url"].startswith("https://api.kraken.com/")


async def test_lists_that_are_asked_for_by_post_are_found_again_and_served(tmp_path: Path) -> None:
    scheme = PROTOCOLS["hyperliquid.v1"]
    async with recording("HYPERLIQUID", tmp_path) as it:
        await it.until(2, 0)
    (file,) = it.recorder.files
    listed = Recording(file.path).instruments(scheme)
    assert {"BTC/USDC", "BTC/USDC:USDC"} <= {instrument.symbol for instrument in listed}
    async with trio.open_nursery() as nursery:
        port = await nursery.start(Simulator(recordings=[file.path]).serve, "127.0.0.1", 0)
        async with Rest() as rest:
            served = await Instruments(rest, AddressBook(simulator=f"127.0.0.1:{port}")).listed(scheme)
        nursery.cancel_scope.cancel()
    assert list(served) == listed


async def test_another_recording_keeps_the_lists_that_are_there(tmp_path: Path) -> None:
    listing = tmp_path / "COINBASE.SPOT" / INSTRUMENTS
    listing.parent.mkdir()
    old = {"url": "https://elsewhere/list", "t": 5, "body": {"kept": "1.50"}}
    listing.write_bytes(gzip.compress(json.dumps({"responses": [old]}).encode()))
    async with recording("COINBASE", tmp_path) as it:
        await it.until(1, 0)
    responses = json.loads(gzip.decompress(listing.read_bytes()))["responses"]
    assert responses[0] == old
    assert len(responses) > 1


async def test_a_file_cut_anywhere_is_readable_to_its_last_line(tmp_path: Path) -> None:
    async with recording("KRAKEN", tmp_path) as it:
        await it.until(10)
    (file,) = it.recorder.files
    whole = [event.t for event in Recording(file.path).events()]
    data = file.path.read_bytes()
    assert data[3] == 0, "no name in the gzip header"
    assert data[4:8] == bytes(4), "and no time"
    counts = []
    for length in range(len(data) // 4, len(data), len(data) // 40):
        cut = tmp_path / "cut.jsonl.gz"
        cut.write_bytes(data[:length])
        events = [event.t for event in Recording(cut).events()]
        assert events == whole[: len(events)]
        counts.append(len(events))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


async def test_what_has_passed_is_on_disk_a_second_later(tmp_path: Path) -> None:
    """Without an orderly end: whoever reads the file beside a running recorder finds whole lines."""
    async with recording("KRAKEN", tmp_path) as it, trio.open_nursery() as nursery:
        await nursery.start(it.recorder.run)
        await it.until(10)
        (file,) = it.recorder.files
        wanted = file.events
        await until(lambda: sum(1 for _ in Recording(file.path).events()) >= wanted)
        nursery.cancel_scope.cancel()


async def test_a_disk_that_fails_ends_the_recording_and_not_the_feeds(tmp_path: Path) -> None:
    (tmp_path / "KRAKEN.SPOT").write_text("a file where a folder is needed")
    async with recording("KRAKEN", tmp_path) as it:
        with trio.fail_after(10):
            await it.recorder.failed.wait()
        await it.until(10)
    assert it.recorder.error is not None
    assert "KRAKEN.SPOT" in str(it.recorder.error) or str(tmp_path) in str(it.recorder.error)
    assert it.gaps() == 0
