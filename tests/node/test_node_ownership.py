"""A node and the ownership log: what it starts it holds, what it held it takes back, what it lost it leaves alone."""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from running import Rig, rig

from level4.client import Integrity
from level4.cluster.ledger import Ledger
from level4.model import Event, FeedState, MarketRequest, MarketType, Spread
from level4.model.events import RUNS_PER_TERM
from level4.placement import Desired, NodeRecord, Writer
from level4.proto.level4_pb2 import Market
from level4.publish import KafkaSettings, LogSettings, OwnershipLog
from level4.rpc.client import ControlClient, connect
from level4.rpc.errors import AlreadyExistsError, InvalidArgumentError, NodeUnavailableError
from level4.simulator import Simulator

pytestmark = pytest.mark.broker


def market(market_id: int, base: str = "BTC") -> Market:
    return Market(id=market_id, exchange_name="KRAKEN", type="SPOT", base_symbol=base, quote_symbol="USD")


def live(events: list[Event], market_id: int, after: int = 0) -> list[Spread]:
    """LIVE spread events of a market in terms after that one."""
    return [
        event
        for event in events
        if isinstance(event, Spread)
        and event.market_id == market_id
        and event.state is FeedState.LIVE
        and event.epoch // RUNS_PER_TERM > after
    ]


@asynccontextmanager
async def control(it: Rig) -> AsyncIterator[ControlClient]:
    """The control service of the node that runs now."""
    lines = [json.loads(line) for line in (it.folder / "node.log").read_text().splitlines()]
    (address,) = [str(line["control"]) for line in lines if line["event"] == "node started"]
    async with connect("127.0.0.1", int(address.rpartition(":")[2])) as client:
        yield client


@asynccontextmanager
async def another(it: Rig) -> AsyncIterator[Ledger]:
    """Another node's view of the log, which may claim."""
    settings = LogSettings(KafkaSettings((it.broker.endpoint,)))
    ledger = Ledger(
        Writer("node2", 1),
        lambda deliver: OwnershipLog(settings, deliver),
        about=lambda mark: NodeRecord(by=mark),
        changed=lambda ids: None,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await ledger.wait_caught_up()
        yield ledger
        nursery.cancel_scope.cancel()


async def started(client: ControlClient, *markets: Market) -> list[float]:
    """Milliseconds that each start took; a node that has just come up may still be reading the log."""
    taken = []
    for one in markets:
        with trio.fail_after(15):
            while True:
                began = time.perf_counter()
                try:
                    await client.start_market(one)
                    break
                except NodeUnavailableError:
                    await trio.sleep(0.05)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def test_what_was_started_is_there_again_after_kill_9_without_any_settings(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading():
        async with it.node([]) as node, control(it) as client:
            taken = await started(client, *(market(n) for n in range(1, 11)), market(20, "ETH"))
            report(f"StartMarket: median {statistics.median(taken[1:]):.0f} ms")
            with pytest.raises(AlreadyExistsError, match=r"17|BTC/USD"):
                await client.start_market(market(1))
            await client.stop_market(Market(id=10))
            await it.until(lambda events: all(live(events, n) for n in (1, 2, 20)))
            node.process.kill()
            await node.process.wait()
        before = {n: live(it.events, n)[-1].epoch // RUNS_PER_TERM for n in (1, 2, 20)}
        async with it.node([]):
            await it.until(lambda events: all(live(events, n, after=before[n]) for n in before))
            async with control(it) as client:
                assert {one.id for one in await client.list_markets()} == {*range(1, 10), 20}
        async with another(it) as ledger:
            stopped, running = ledger.known.market(10), ledger.known.market(20)
            assert stopped is not None
            assert running is not None
            assert stopped.record.desired is Desired.STOPPED
            facts = running.record.instrument
            assert facts is not None
            assert (facts.symbol, facts.native_symbol, facts.tick is not None) == ("ETH/USD", "ETH/USD", True)
    integrity = Integrity()
    for event in it.events:
        integrity.check_event(event)
    assert sum(account.old_host for account in integrity.accounts.values()) == 0


async def test_settings_and_log_are_one(tmp_path: Path) -> None:
    """The same market again is no news; another one under its id is refused, and the log's goes on."""
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading():
        async with it.node(["1=KRAKEN:SPOT:BTC/USD"]) as node:
            await it.until(lambda events: bool(live(events, 1)))
            assert await node.stop() == 0
        began = time.monotonic()
        term = live(it.events, 1)[-1].epoch // RUNS_PER_TERM
        async with it.node(["1=KRAKEN:SPOT:BTC/USD", "2=KRAKEN:SPOT:ETH/USD"]) as node:
            await it.until(lambda events: bool(live(events, 1, after=term) and live(events, 2)))
            assert time.monotonic() - began < 10
            assert await node.stop() == 0
        async with it.node(["1=KRAKEN:SPOT:ETH/USD"]) as node, control(it) as client:
            with trio.fail_after(10):
                while "market cannot be started" not in node.log.read_text():  # noqa: ASYNC110 - a file has no event
                    await trio.sleep(0.05)
            assert {one.id: one.base_symbol for one in await client.list_markets()} == {1: "BTC", 2: "ETH"}
            with pytest.raises(InvalidArgumentError):
                await client.start_market(market(3, "NOSUCH"))
    assert {event.symbol for event in live(it.events, 1)} == {"BTC/USD"}


async def test_without_kafka_nothing_can_be_claimed(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it:
        it.broker.kill()
        async with it.node([]) as node, control(it) as client:
            with pytest.raises(NodeUnavailableError, match="ownership log"):
                await client.start_market(market(1))
            it.broker.start()
            await started(client, market(1))
            assert node.process.returncode is None


async def test_a_market_that_was_taken_while_the_process_slept_is_left_alone(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading(), it.node(["1=KRAKEN:SPOT:BTC/USD"]) as node:
        await it.until(lambda events: len(live(events, 1)) > 5)
        node.process.send_signal(signal.SIGSTOP)
        async with another(it) as ledger:
            entry = await ledger.claim(MarketRequest(1, "KRAKEN", MarketType.SPOT, "BTC", "USD"))
            await trio.sleep(3)  # longer than the lease
            asleep = len(it.events)
            node.process.send_signal(signal.SIGCONT)
            with trio.fail_after(10):
                while "moved to node node2" not in node.log.read_text():  # noqa: ASYNC110 - a file has no event
                    await trio.sleep(0.05)
            await trio.sleep(0.5)
            assert ledger.known.market(1) == entry
        late = [event for event in it.events[asleep:] if event.market_id == 1]
        assert not [event for event in late if isinstance(event, Spread) and event.state is FeedState.STOPPED]
        assert len(late) <= 5, "at most what was handed to Kafka before it slept"
        async with control(it) as client:
            (listed,) = await client.list_markets()
            assert listed.node == "node2"


async def test_of_two_processes_with_one_name_the_younger_gives_way(tmp_path: Path) -> None:
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading(), it.node(["1=KRAKEN:SPOT:BTC/USD"]) as older:
        await it.until(lambda events: bool(live(events, 1)))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        younger = Rig(it.simulator, it.broker, it.address, elsewhere)
        async with younger.node(["1=KRAKEN:SPOT:BTC/USD"]) as node:
            with trio.fail_after(15):
                assert await node.process.wait() == 2
            assert "another node named node1 runs at 127.0.0.1" in node.tail()
        seen = len(it.events)
        await it.until(lambda events: bool(live(events[seen:], 1)))
        assert len({event.epoch // RUNS_PER_TERM for event in live(it.events, 1)}) == 1
        assert older.process.returncode is None


async def test_markets_without_room_are_listed_and_placed_when_room_appears(tmp_path: Path) -> None:
    three = [f"{n}=KRAKEN:SPOT:BTC/USD" for n in (1, 2, 3)]
    async with rig(Simulator(rate=50), tmp_path) as it, it.reading():
        async with it.node(three) as node:
            await it.until(lambda events: all(live(events, n) for n in (1, 2, 3)))
            assert await node.stop() == 0
        term = max(live(it.events, n)[-1].epoch // RUNS_PER_TERM for n in (1, 2, 3))
        async with it.node([], MAX_DATA_FEEDS="2"), control(it) as client:
            await it.until(lambda events: sum(bool(live(events, n, after=term)) for n in (1, 2, 3)) == 2)
            listed = {one.id: one for one in await client.list_markets()}
            (unplaced,) = [one for one in listed.values() if not one.node]
            assert "room for 2" in unplaced.reason
            await client.stop_market(Market(id=next(n for n in listed if n != unplaced.id)))
            await it.until(lambda events: bool(live(events, unplaced.id, after=term)))
