"""A node's life with a simulator and a broker: signals, a sudden death, bad frames, Kafka away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from running import Rig, rig

from level4.client import Integrity, Kind
from level4.model import SPREAD, Event, FeedState, Spread, Status, Trade
from level4.simulator import Fault, FaultKind, Simulator
from level4.simulator.listing import next_quarter

pytestmark = pytest.mark.broker

THREE = ["1=KRAKEN:SPOT:BTC/USD", "2=BINANCE:SPOT:BTC/USDT", "3=COINBASE:SPOT:BTC/USD"]


def spreads(events: list[Event], market_id: int, state: FeedState) -> list[Spread]:
    return [e for e in events if isinstance(e, Spread) and e.market_id == market_id and e.state is state]


def all_live(count: int, markets: tuple[int, ...] = (1, 2, 3)) -> Callable[[list[Event]], bool]:
    return lambda events: all(len(spreads(events, market, FeedState.LIVE)) >= count for market in markets)


def log_lines(it: Rig, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (it.folder / "node.log").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


async def test_sigterm_stops_the_feeds_flushes_and_exits_0(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading():
        async with it.node(THREE) as node:
            await it.until(all_live(5))
            start = time.monotonic()
            assert await node.stop() == 0
            assert time.monotonic() - start < 8
        await it.until(lambda events: all(spreads(events, market, FeedState.STOPPED) for market in (1, 2, 3)))
        # What the simulator sent is what came out, to the last event.
        sent = it.simulator.stats()["exchanges"]
        assert isinstance(sent, dict)
        for market, (exchange, symbol) in enumerate([("KRAKEN", "BTC/USD"), ("COINBASE", "BTC-USD")], 1):
            market = 3 if exchange == "COINBASE" else market
            trades = [e for e in it.events if isinstance(e, Trade) and e.market_id == market]
            assert 0 <= sent[exchange][symbol]["trades"] - len(trades) <= 20, "only what was sent while it stopped"


async def test_markets_are_named_as_people_call_them_and_a_wrong_name_keeps_no_other_from_starting(
    tmp_path: Path,
) -> None:
    config = tmp_path / "level4.toml"
    config.write_text(
        '[[market]]\nid = 5\nexchange = "deribit"\nsymbol = "BTC-PERPETUAL"\n'
        '[[market]]\nid = 6\nexchange = "KRAKEN"\ntype = "SPOT"\nsymbol = "XBT/USD"\n'
    )
    simulator = Simulator(rate=20)
    async with rig(simulator, tmp_path) as it, it.reading():
        expiry = next_quarter(datetime.now(UTC).date())
        option = f"BTC/USD:BTC-{expiry:%y%m%d}-61000-C"
        markets = [f"1=deribit:{option}", "2=binance:BTC/USDT:USDT", "3=kraken:BTC/USDD", "4=okx:BTC-USD-SWAP"]
        async with it.node(markets, "--config", str(config)):
            await it.until(all_live(1, (1, 2, 4, 5, 6)))
        told = {(e.market_id, e.exchange, e.type, e.symbol) for e in it.events if isinstance(e, Spread)}
        assert told == {
            (1, "DERIBIT", "OPTION", option),
            (2, "BINANCE", "PERP", "BTC/USDT:USDT"),
            (4, "OKX", "INVERSE", "BTC/USD:BTC"),
            (5, "DERIBIT", "INVERSE", "BTC/USD:BTC"),
            (6, "KRAKEN", "SPOT", "BTC/USD"),
        }
        (wrong,) = log_lines(it, "market cannot be started")
        assert wrong["market"] == "3=kraken:BTC/USDD"
        assert "nearest: kraken:BTC/USD" in str(wrong["reason"])


async def test_after_kill_9_a_consumer_takes_the_new_events_and_knows_of_the_break(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading():
        async with it.node(THREE) as node:
            await it.until(all_live(5))
            node.process.kill()
            await node.process.wait()
        dead = len(it.events)
        async with it.node(THREE):
            await it.until(lambda events: all_live(5)(events[dead:]))
    integrity = Integrity()
    verdicts = [(event, integrity.check_event(event)) for event in it.events]
    for market in (1, 2, 3):
        mine = [v for e, v in verdicts if isinstance(e, Spread) and e.market_id == market]
        breaks = [verdict for verdict in mine if verdict.kind is Kind.NEW_STREAM]
        assert [verdict.fresh for verdict in breaks] == [True], "higher epoch: accepted"
        assert not breaks[0].whole, "and it says that something may be missing"
        account = integrity.accounts[market, SPREAD, None]
        assert (account.lost, account.duplicates, account.old_host) == (0, 0, 0)


@pytest.mark.parametrize("kind", [FaultKind.GARBAGE, FaultKind.TRUNCATE], ids=str)
async def test_frames_that_are_none_are_counted_and_the_markets_come_back(tmp_path: Path, kind: FaultKind) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.node(THREE) as node, it.reading():
        await it.until(all_live(5))
        for exchange in ("KRAKEN", "BINANCE", "COINBASE"):
            it.simulator.inject(Fault(kind, count=2, exchange=exchange))
        await it.until(lambda events: all(spreads(events, market, FeedState.GAP) for market in (1, 2, 3)))
        marked = len(it.events)
        await it.until(lambda events: all_live(3)(events[marked:]))
        assert node.process.returncode is None
        assert len(log_lines(it, "frame could not be handled; its markets are resynchronised")) <= 6
    integrity = Integrity()
    for event in it.events:
        integrity.check_event(event)
    assert sum(account.lost for account in integrity.accounts.values()) == 0


@pytest.mark.parametrize("kind", [FaultKind.BINARY, FaultKind.OVERSIZE], ids=str)
async def test_unusual_frames_that_say_the_same_are_taken(tmp_path: Path, kind: FaultKind) -> None:
    """The same JSON in a binary message, or in 8 MB with white space, is no reason to lose a book."""
    async with rig(Simulator(rate=50), tmp_path) as it, it.node(THREE), it.reading():
        await it.until(all_live(5))
        for exchange in ("KRAKEN", "BINANCE", "COINBASE"):
            it.simulator.inject(Fault(kind, count=1, exchange=exchange, size=8 * 2**20))
        before = len(it.events)
        await it.until(lambda events: all_live(10)(events[before:]))
        assert not it.simulator.pending_faults(), "each has struck"
    assert not [event for event in it.events if isinstance(event, Spread) and event.state is FeedState.GAP]


async def test_a_node_without_kafka_lives_and_delivers_when_it_comes(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it:
        it.broker.kill()
        async with it.node(THREE) as node:
            await trio.sleep(1)
            assert node.process.returncode is None
            it.broker.start()
            async with it.reading():
                await it.until(all_live(5))
                it.broker.freeze()
                await trio.sleep(4)
                it.broker.thaw()
                frozen = len(it.events)
                await it.until(lambda events: all_live(5)(events[frozen:]))
                await it.until(
                    lambda events: any(isinstance(e, Status) and e.event == "kafka_recovered" for e in events)
                )
    integrity = Integrity()
    for event in it.events:
        integrity.check_event(event)
    assert sum(account.lost for account in integrity.accounts.values()) == 0


async def test_a_market_that_does_not_exist_is_named_with_its_nearest_and_the_others_run(tmp_path: Path) -> None:
    wanted = ["1=KRAKEN:SPOT:BTC/USD", "2=KRAKEN:SPOT:BTC/USX"]
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading(), it.node(wanted):
        await it.until(all_live(2, (1,)))
        (line,) = log_lines(it, "market cannot be started")
        assert "BTC/USD" in str(line["reason"])


async def test_a_node_none_of_whose_markets_exists_exits_2(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it:
        async with it.node(["2=KRAKEN:SPOT:BTC/USX"]) as node:
            with trio.fail_after(15):
                assert await node.process.wait() == 2
        assert "BTC/USX" in node.tail()
