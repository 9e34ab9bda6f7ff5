"""Every call of the control service through the typed client, and every failure the contract names."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio
from fake_host import FakeHost

from level4.control.ports import ActiveMarket, BookView, MarketHost, NodeInfo, NodeState
from level4.control.service import ControlService
from level4.model import ExchangeError, FeedState, MarketRequest, MarketType, UnavailableError
from level4.proto.level4_pb2 import Market
from level4.rpc.client import ControlClient, connect
from level4.rpc.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NodeUnavailableError,
    NotFoundError,
    ResourceExhaustedError,
)
from level4.rpc.health import Health
from level4.rpc.serve import serve


@asynccontextmanager
async def running(host: MarketHost) -> AsyncIterator[ControlClient]:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve, [ControlService(host)], health=Health(), grace=0.2))
        try:
            async with connect("127.0.0.1", port, timeout=20) as control:
                yield control
        finally:
            nursery.cancel_scope.cancel()


def btc(market_id: int = 17, **changes: str) -> Market:
    fields = {"exchange_name": "KRAKEN", "type": "SPOT", "base_symbol": "BTC", "quote_symbol": "USD", **changes}
    return Market(id=market_id, **fields)


async def test_start_list_online_stop() -> None:
    host = FakeHost()
    async with running(host) as control:
        started = await control.start_market(btc())
        assert started.market == Market(
            id=17,
            base_symbol="BTC",
            quote_symbol="USD",
            exchange_name="KRAKEN",
            type="SPOT",
            native_symbol="XBT/USD",
            symbol="BTC/USD",
            state="SYNCING",
            node="node1",
        )
        assert (started.node.name, started.node.active_market_count, started.node.max_active_markets) == ("node1", 1, 3)
        assert not await control.is_market_online(Market(id=17))
        host.turn(17, FeedState.LIVE)
        assert await control.is_market_online(btc(0))
        await control.start_market(btc(3, base_symbol="ETH"))
        assert [market.id for market in await control.list_markets()] == [3, 17]
        host.others.append(NodeInfo("node0", 1, 9, NodeState.DRAINING))
        nodes = await control.list_nodes()
        assert [(node.name, node.state, node.active_market_count) for node in nodes] == [
            ("node0", "DRAINING", 1),
            ("node1", "READY", 2),
        ]
        stopped = await control.stop_market(Market(id=17))
        assert (stopped.market.id, stopped.market.state, stopped.node.name) == (17, "STOPPED", "node1")
        assert [market.id for market in await control.list_markets()] == [3]


async def test_wait_live_answers_when_live() -> None:
    host = FakeHost()
    async with running(host) as control, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def make_it_live() -> None:
            async for active in host.changes.follow(host.active):
                if active and active[0].state is FeedState.SYNCING:
                    host.turn(17, FeedState.LIVE)
                    return

        reply = await control.start_market(btc(), wait_live=True)
        assert reply.market.state == "LIVE"


async def test_a_deadline_while_waiting_for_live_leaves_it_started() -> None:
    host = FakeHost()
    async with running(host) as control:
        with pytest.raises(DeadlineExceededError):
            await control.start_market(btc(), wait_live=True, timeout=0.3)
        assert [market.id for market in await control.list_markets()] == [17]


@pytest.mark.parametrize(
    ("market", "message"),
    [
        (btc(0), "expected a market id from 1 to 1023, got 0; the next free id is 1"),
        (btc(1024), "expected a market id from 1 to 1023, got 1024; the next free id is 1"),
        (btc(-5), "expected a market id from 1 to 1023, got -5; the next free id is 1"),
        (btc(exchange_name="krakn"), "unknown exchange 'krakn'; did you mean KRAKEN?"),
        (btc(exchange_name="XYZ"), "unknown exchange 'XYZ'; known: BITMEX, DERIBIT, KRAKEN"),
        (btc(exchange_name=""), "expected the exchange, got nothing; known: BITMEX, DERIBIT, KRAKEN"),
        (btc(type="SPOTS"), "unknown type 'SPOTS'; did you mean SPOT?"),
        (btc(type="swap"), "unknown type 'swap'; known: FUTURE, INVERSE, OPTION, PERP, SPOT"),
        (btc(type="perp"), "KRAKEN has no PERP markets here; it has SPOT"),
        (btc(base_symbol="BTCC"), "unknown symbol 'BTCC'; did you mean BTC?"),
        (btc(base_symbol=""), "expected base_symbol as the exchange names it (BTC, USD), got ''"),
        (btc(quote_symbol="U D"), "expected quote_symbol as the exchange names it (BTC, USD), got 'U D'"),
        (btc(strike="5"), "SPOT markets have no strike, got '5'; leave it empty"),
        (btc(exchange_name="bitmex", type="futures"), "FUTURE markets need expiry, got nothing"),
        (
            btc(exchange_name="bitmex", type="inverse", expiry="2026-13-01"),
            "expected expiry as 2026-12-25, got '2026-13-01'",
        ),
        (btc(exchange_name="deribit", type="options", expiry="261225"), "OPTION markets need strike, got nothing"),
        (
            btc(exchange_name="deribit", type="options", expiry="261225", strike="-1", right="c"),
            "expected strike as a positive decimal, got '-1'",
        ),
        (
            btc(exchange_name="deribit", type="options", expiry="261225", strike="60000", right="X"),
            "expected right C or P, got 'X'",
        ),
        (Market(), "expected a market id from 1 to 1023, got 0; the next free id is 1"),
    ],
)
async def test_a_wrong_start_says_what_is_known(market: Market, message: str) -> None:
    async with running(FakeHost()) as control:
        with pytest.raises(InvalidArgumentError) as refused:
            await control.start_market(market)
        assert str(refused.value) == message
        assert await control.list_markets() == []


async def test_options_and_futures_as_people_write_them() -> None:
    async with running(FakeHost()) as control:
        option = btc(5, exchange_name=" deribit ", type="options", expiry="261225", strike="60000.00", right="call")
        market = (await control.start_market(option)).market
        assert (market.exchange_name, market.type, market.expiry, market.strike, market.right) == (
            "DERIBIT",
            "OPTION",
            "2026-12-25",
            "60000",
            "C",
        )
        await control.start_market(btc(6, exchange_name="BITMEX", type="Futures", expiry="20261225"))
        stopped = await control.stop_market(btc(0, exchange_name="bitmex", type="FUTURE", expiry="2026-12-25"))
        assert stopped.market.id == 6
        assert not await control.is_market_online(Market(id=5))


async def test_an_id_in_use_names_its_holder() -> None:
    async with running(FakeHost()) as control:
        await control.start_market(btc(1))
        for again in (btc(1), btc(1, base_symbol="ETH")):
            with pytest.raises(AlreadyExistsError) as refused:
                await control.start_market(again)
            assert str(refused.value) == (
                "market id 1 is held by 1=KRAKEN:SPOT:BTC/USD, SYNCING, on node node1; the next free id is 2"
            )
        await control.start_market(btc(2))  # two ids for one instrument are allowed
        with pytest.raises(InvalidArgumentError, match=r"active under several ids \(1, 2\); give the id"):
            await control.stop_market(btc(0))


async def test_of_two_starts_of_one_id_one_wins_at_once() -> None:
    host = FakeHost()
    host.may_start = trio.Event()
    async with running(host) as control:
        outcomes: list[str] = []

        async def start(market: Market) -> None:
            try:
                outcomes.append((await control.start_market(market)).market.base_symbol)
            except AlreadyExistsError as error:
                outcomes.append(str(error))
                host.may_start.set()  # the loser was told while the winner still waits

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start, btc(1))
            nursery.start_soon(start, btc(1, base_symbol="ETH"))
        loser, winner = outcomes
        assert loser.startswith("market id 1 is just being started as 1=KRAKEN:SPOT:")
        assert [winner] == [market.base_symbol for market in await control.list_markets()]


async def test_starts_under_way_count_as_taken_room() -> None:
    host = FakeHost(capacity=1)
    host.may_start = trio.Event()
    async with running(host) as control, trio.open_nursery() as nursery:
        nursery.start_soon(control.start_market, btc(1))
        with trio.fail_after(10):
            while True:
                try:
                    await control.stop_market(Market(id=1))
                except NotFoundError:
                    continue
                except FailedPreconditionError as error:
                    assert "1=KRAKEN:SPOT:BTC/USD is just being started" in str(error)  # noqa: PT017 - see the loop
                    break
        with pytest.raises(ResourceExhaustedError, match=r"no node has room \(node1 0 of 1, 1 being started\)"):
            await control.start_market(btc(2))
        host.may_start.set()


async def test_a_full_cluster_says_how_full() -> None:
    host = FakeHost(capacity=1)
    host.others.append(NodeInfo("node2", 5, 5))
    async with running(host) as control:
        await control.start_market(btc(1))
        with pytest.raises(ResourceExhaustedError) as refused:
            await control.start_market(btc(2))
        assert str(refused.value) == (
            "2=KRAKEN:SPOT:BTC/USD was not started: no node has room (node2 5 of 5, node1 1 of 1); "
            "stop a market, add a node or raise MAX_DATA_FEEDS"
        )
        host.others[0] = replace(host.others[0], capacity=6)
        await control.start_market(btc(2))


async def test_a_draining_cluster_starts_nothing() -> None:
    host = FakeHost()
    host.self_node = replace(host.self_node, state=NodeState.DRAINING)
    async with running(host) as control:
        with pytest.raises(FailedPreconditionError, match="node node1 is draining and there is no other"):
            await control.start_market(btc())


@pytest.mark.parametrize("failure", [UnavailableError("Kafka is away"), ExchangeError("KRAKEN is in maintenance")])
async def test_what_is_away_is_unavailable_and_the_id_stays_free(failure: Exception) -> None:
    host = FakeHost()

    def fail(request: MarketRequest) -> None:
        raise failure

    host.before_start = fail
    async with running(host) as control:
        with pytest.raises(NodeUnavailableError, match=str(failure)):
            await control.start_market(btc())
        host.before_start = lambda request: None
        await control.start_market(btc())


async def test_a_crashing_start_is_internal_names_the_market_and_the_node_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = FakeHost()

    def crash(request: MarketRequest) -> None:
        raise KeyError("a bug")

    host.before_start = crash
    async with running(host) as control:
        with pytest.raises(InternalError) as refused:
            await control.start_market(btc())
        assert 'StartMarket failed by a mistake of the node (KeyError), for market { id: 17 base_symbol: "BTC"' in str(
            refused.value
        )
        record = next(record for record in caplog.records if record.levelno == logging.ERROR)
        assert "id: 17" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is KeyError
        host.before_start = lambda request: None
        await control.start_market(btc())


async def test_unknown_markets_are_not_found() -> None:
    async with running(FakeHost()) as control:
        with pytest.raises(NotFoundError, match="no active market has id 17; active: none"):
            await control.stop_market(Market(id=17))
        await control.start_market(btc(4))
        with pytest.raises(NotFoundError, match="no active market has id 17; active: 4=KRAKEN:SPOT:BTC/USD"):
            await control.is_market_online(Market(id=17))
        with pytest.raises(NotFoundError, match="no active market is KRAKEN:SPOT:ETH/USD; active: 4="):
            await control.stop_market(btc(0, base_symbol="ETH"))
        with pytest.raises(InvalidArgumentError, match="market id 4 is not KRAKEN:SPOT:ETH/USD, it is 4=KRAKEN"):
            await control.stop_market(btc(4, base_symbol="ETH"))
        with pytest.raises(InvalidArgumentError, match="expected the exchange, got nothing"):
            await control.stop_market(Market())


async def test_a_caller_that_gives_up_cancels_the_start_and_frees_the_id() -> None:
    host = FakeHost()
    host.may_start = trio.Event()
    async with running(host) as control:
        with pytest.raises(DeadlineExceededError):
            await control.start_market(btc(1), timeout=0.2)
        assert await control.list_markets() == []
        assert host.cancelled == [1]
        host.may_start.set()
        await control.start_market(btc(1))


async def test_watch_markets_sends_all_then_changes() -> None:
    host = FakeHost()
    host.put(ActiveMarket(MarketRequest(2, "KRAKEN", MarketType.SPOT, "ETH", "USD"), FeedState.LIVE, "node1"))
    async with running(host) as control, control.watch_markets() as replies:
        assert [market.id for market in (await anext(replies)).markets] == [2]
        await control.start_market(btc(1))
        assert [(market.id, market.state) for market in (await anext(replies)).markets] == [(1, "SYNCING")]
        host.turn(1, FeedState.LIVE)
        host.turn(1, FeedState.GAP)  # merged: the newest always arrives
        assert [(market.id, market.state) for market in (await anext(replies)).markets] == [(1, "GAP")]
        await control.stop_market(Market(id=2))
        assert [(market.id, market.state) for market in (await anext(replies)).markets] == [(2, "STOPPED")]


async def test_watch_markets_of_an_empty_cluster_says_so() -> None:
    async with running(FakeHost()) as control, control.watch_markets() as replies:
        assert list((await anext(replies)).markets) == []


async def test_watch_book_is_exact_cut_and_sent_only_when_changed() -> None:
    host = FakeHost()
    host.put(ActiveMarket(MarketRequest(2, "KRAKEN", MarketType.SPOT, "ETH", "USD"), FeedState.LIVE, "node1"))
    bids = [("0.000000010", "123456789.123456789"), ("0.000000009", "1")]
    host.books[2] = BookView(FeedState.LIVE, bids, [("0.00000002", "7")], exchange_us=5, received_us=6)
    async with running(host) as control, control.watch_book(Market(id=2), depth=1, interval_ms=1) as replies:
        first = await anext(replies)
        assert (first.market_id, first.state, first.exchange_us, first.received_us) == (2, "LIVE", 5, 6)
        assert [(level.price, level.size) for level in first.bids] == bids[:1]
        assert [(level.price, level.size) for level in first.asks] == [("0.00000002", "7")]
        began = trio.current_time()
        host.books[2] = replace(host.books[2], state=FeedState.GAP, bids=[], asks=[])
        second = await anext(replies)
        assert (second.state, len(second.bids), len(second.asks)) == ("GAP", 0, 0)
        host.books[2] = replace(host.books[2], state=FeedState.LIVE)
        assert (await anext(replies)).state == "LIVE"
        assert trio.current_time() - began > 0.05  # throttled, whatever the caller wishes
        await control.stop_market(Market(id=2))
        assert [reply.state async for reply in replies] == ["STOPPED"]


@pytest.mark.parametrize(("depth", "interval_ms"), [(1001, 0), (-1, 0), (1, -1)])
async def test_watch_book_refuses_nonsense(depth: int, interval_ms: int) -> None:
    async with (
        running(FakeHost()) as control,
        control.watch_book(Market(id=2), depth=depth, interval_ms=interval_ms) as replies,
    ):
        with pytest.raises(InvalidArgumentError, match="expected"):
            await anext(replies)


async def test_watch_book_of_an_unknown_market_is_not_found() -> None:
    async with running(FakeHost()) as control, control.watch_book(Market(id=2)) as replies:
        with pytest.raises(NotFoundError):
            await anext(replies)
