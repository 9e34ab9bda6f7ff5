"""Feeds with the real schemes on real sockets, against the simulator: right books, and right again after each fault."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import pairwise
from random import Random

import pytest
import trio
from fake_exchange import Published, until

from level4.exchanges import venue
from level4.feeds import AddressBook, Feeds, FeedSettings, Instruments, Rest, TrioWebSockets, Venue
from level4.model import MarketRequest, MarketType, Spread, Trade
from level4.simulator import Channel, Fault, FaultKind, Simulator, bitfinex

EXCHANGES = ("KRAKEN", "BINANCE", "COINBASE")
BTC, ETH = 1, 2


class Quick(Random):
    """Delays that a test can afford."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.02)


class Running:
    def __init__(self, simulator: Simulator, feeds: Feeds, published: Published, exchange: str) -> None:
        self.simulator = simulator
        self.feeds = feeds
        self.published = published
        self.exchange = exchange

    def state(self, market_id: int) -> str:
        return next(view.state for view in self.feeds.markets() if view.request.id == market_id)

    async def live(self, *market_ids: int) -> None:
        await until(lambda: all(self.state(market_id) == "LIVE" for market_id in market_ids), 25)

    async def flows(self, market_id: int) -> None:
        """Until another spread event of a LIVE book has come."""
        seen = len(self.published.spreads(market_id))
        await until(lambda: len(self.published.spreads(market_id)) > seen + 1 and self.state(market_id) == "LIVE", 25)

    async def knows_rate(self, market_id: int) -> None:
        """Until a silence of two seconds would be noticed."""
        market = self.feeds.market(market_id)
        assert market is not None
        await until(lambda: market.harmless_silence < 2.1, 25)

    def native(self, market_id: int) -> str:
        return next(v.instrument.native_symbol for v in self.feeds.markets() if v.request.id == market_id)

    async def same_books(self, *market_ids: int) -> None:
        """Stop the simulator's clock: ours and its books must come to be the same, to the last level."""
        self.simulator.pause()
        for market_id in market_ids:
            await until(partial(self._same, market_id), 10)
        self.simulator.resume()

    def _same(self, market_id: int) -> bool:
        return self.ours(market_id) == self.theirs(market_id)

    def ours(self, market_id: int) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
        market = self.feeds.market(market_id)
        assert market is not None
        return _levels(market.book.bids.top(10_000)), _levels(market.book.asks.top(10_000))

    def theirs(self, market_id: int) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
        native = next(v.instrument.native_symbol for v in self.feeds.markets() if v.request.id == market_id)
        book = self.simulator.book(self.exchange, native)
        assert book is not None
        return _levels(book["bids"]), _levels(book["asks"])  # type: ignore[arg-type] # pairs of texts

    async def inject(self, kind: FaultKind, channel: Channel | None = None) -> None:
        """Have the next frame of BTC struck, and see that it was."""
        fault = Fault(kind, exchange=self.exchange, market=_native(self, BTC), channel=channel)
        self.simulator.inject(fault)
        await until(lambda: not self.simulator.pending_faults())

    async def healed(self) -> None:
        await self.flows(BTC)
        await self.flows(ETH)
        await self.same_books(BTC, ETH)

    def check_streams(self) -> None:
        """What is promised of every stream: contiguous numbers, epochs that rise, never a locked or crossed best."""
        for market_id in (BTC, ETH):
            spreads = self.published.spreads(market_id)
            assert all(a.epoch <= b.epoch for a, b in pairwise(spreads))
            for spread in spreads:
                assert (spread.bid_price is None) == (spread.state != "LIVE")
                if spread.bid_price is not None and spread.ask_price is not None:
                    assert Decimal(spread.bid_price) < Decimal(spread.ask_price)
            self._check_trades(self.published.trades(market_id))

    def _check_trades(self, trades: Sequence[Trade]) -> None:
        for before, after in pairwise(trades):
            assert after.epoch >= before.epoch
            if after.epoch == before.epoch:
                assert after.seq > before.seq
            assert int(after.trade_id or 0) > int(before.trade_id or 0)


def _levels(pairs: Sequence[Sequence[str]]) -> dict[Decimal, Decimal]:
    return {Decimal(price): Decimal(size) for price, size in pairs}


@asynccontextmanager
async def running(
    exchange: str,
    market_ids: Sequence[int] = (BTC, ETH),
    *,
    rate: float = 60.0,
    venue: Callable[[str, MarketType], Venue] = venue,
) -> AsyncIterator[Running]:
    simulator = Simulator(rate=rate, trade_rate=15.0, levels=50, seed=4)
    published = Published()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(simulator.serve, "127.0.0.1", 0)
        addresses = AddressBook(simulator=f"127.0.0.1:{port}")
        async with Rest() as rest:
            feeds = Feeds(
                FeedSettings(node="node1", addresses=addresses),
                publisher=published,
                venue=venue,
                transport=TrioWebSockets(connect_seconds=2.0, close_seconds=0.2),
                rest=rest,
                instruments=Instruments(rest, addresses),
                random=Quick(),
            )
            await nursery.start(feeds.run)
            with trio.fail_after(60):
                quote = "USDT" if exchange == "BINANCE" else "USD"
                for market_id in market_ids:
                    base = {BTC: "BTC", ETH: "ETH"}[market_id]
                    await feeds.start(MarketRequest(market_id, exchange, MarketType.SPOT, base, quote), term=7)
                r = Running(simulator, feeds, published, exchange)
                await r.live(*market_ids)
                yield r
                r.check_streams()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_books_and_trades_are_the_exchanges(exchange: str) -> None:
    async with running(exchange) as r:
        await r.flows(BTC)
        await r.flows(ETH)
        await until(lambda: len(r.published.trades(BTC)) > 3)
        await r.same_books(BTC, ETH)
        assert r.published.statuses(BTC).count("gap") == 0
        for stats in r.feeds.connections():
            assert (dict(stats.errors), dict(stats.unknown), stats.disconnects) == ({}, {}, 0)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("kind", ["truncate", "garbage"])
async def test_a_frame_that_cannot_be_read(exchange: str, kind: str) -> None:
    async with running(exchange) as r:
        await r.inject(FaultKind(kind))
        await until(lambda: "gap" in r.published.statuses(BTC))
        await r.healed()
        assert sum(sum(stats.errors.values()) for stats in r.feeds.connections()) == 1


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("kind", ["binary", "oversize"])
async def test_the_same_message_in_an_unusual_dress_is_no_fault(exchange: str, kind: str) -> None:
    async with running(exchange) as r:
        await r.inject(FaultKind(kind))
        await r.healed()
        assert r.published.statuses(BTC).count("gap") == 0


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("channel", [Channel.BOOK, Channel.TRADES])
async def test_a_lost_frame(exchange: str, channel: Channel) -> None:
    if (exchange, channel) == ("KRAKEN", Channel.BOOK):
        kind = FaultKind.CORRUPT  # a loss below the ten levels of the checksum could not be seen
    else:
        kind = FaultKind.DROP
    async with running(exchange) as r:
        await until(lambda: bool(r.published.trades(BTC)))  # there must be a number to miss the next one by
        await r.inject(kind, channel=channel)
        await until(lambda: "gap" in r.published.statuses(BTC))
        await r.healed()


async def test_a_checksum_that_does_not_fit_costs_its_market_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the numbers of a Bitfinex connection run over all its markets, and through the repair."""
    monkeypatch.setattr(bitfinex, "CHECKSUM_SECONDS", 0.1)
    async with running("BITFINEX") as r:
        for repairs in (1, 2):  # a third failure within moments would take a new connection
            while r.published.statuses(BTC).count("gap") < repairs:  # some are put right before anybody looks
                await r.inject(FaultKind.CORRUPT, channel=Channel.BOOK)
                await trio.sleep(0.2)
            await r.flows(BTC)
        await r.healed()
        assert all("checksum" in str(reason) for reason in r.published.reasons(BTC, "gap"))
        assert r.published.statuses(ETH).count("gap") == 0
        (stats,) = r.feeds.connections()
        assert (stats.connects, stats.sequence_breaks) == (1, 0)


def _native(r: Running, market_id: int) -> str:
    return next(v.instrument.native_symbol for v in r.feeds.markets() if v.request.id == market_id)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("kind", ["close", "reset"])
async def test_a_connection_that_ends(exchange: str, kind: str) -> None:
    async with running(exchange) as r:
        epoch = r.published.spreads(BTC)[-1].epoch
        assert r.simulator.inject(Fault(FaultKind(kind), exchange=exchange)) >= 1
        await until(lambda: "GAP" in [s.state for s in r.published.spreads(BTC)])
        await r.live(BTC, ETH)
        await r.same_books(BTC, ETH)
        last = r.published.spreads(BTC)[-1]
        assert isinstance(last, Spread)
        assert last.epoch > epoch
        assert sum(stats.disconnects for stats in r.feeds.connections()) >= 1


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_an_exchange_that_refuses_connections_for_a_while(exchange: str) -> None:
    async with running(exchange) as r:
        r.simulator.inject(Fault(FaultKind.REFUSE_CONNECTION, exchange=exchange, count=4, status=503))
        r.simulator.inject(Fault(FaultKind.RESET, exchange=exchange))
        await until(lambda: not r.simulator.pending_faults())
        await r.live(BTC, ETH)
        await r.same_books(BTC, ETH)


async def test_a_refused_subscription_is_asked_for_again() -> None:
    async with running("KRAKEN", [BTC]) as r:
        r.simulator.inject(Fault(FaultKind.REFUSE_SUBSCRIPTION, exchange="KRAKEN", market="ETH/USD"))
        await r.feeds.start(MarketRequest(ETH, "KRAKEN", MarketType.SPOT, "ETH", "USD"), term=7)
        await until(lambda: "halted" in r.published.statuses(ETH))
        assert r.state(BTC) == "LIVE"
        await r.live(ETH)
        await r.same_books(BTC, ETH)


async def test_snapshots_that_fail_for_a_while() -> None:
    async with running("BINANCE", [BTC]) as r:
        r.simulator.inject(Fault(FaultKind.REST_STATUS, exchange="BINANCE", path="depth", status=503, count=3))
        await r.feeds.start(MarketRequest(ETH, "BINANCE", MarketType.SPOT, "ETH", "USDT"), term=7)
        await r.live(ETH)
        await r.same_books(BTC, ETH)
        assert next(v.stats.snapshot_errors for v in r.feeds.markets() if v.request.id == ETH) == 3


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_markets_come_and_go(exchange: str) -> None:
    async with running(exchange) as r:
        await r.feeds.stop(BTC, "test")
        await r.flows(ETH)
        assert r.published.statuses(ETH).count("gap") == 0
        base = r.feeds.markets()[0].request
        await r.feeds.start(MarketRequest(BTC, exchange, MarketType.SPOT, "BTC", base.quote), term=8)
        await r.live(BTC)
        await r.same_books(BTC, ETH)
        assert r.published.statuses(ETH).count("gap") == 0
        assert sum(stats.connects for stats in r.feeds.connections()) == len(r.feeds.connections())


async def test_nothing_is_left_behind() -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    before = await descriptors()
    for exchange in EXCHANGES:
        async with running(exchange) as r:
            await r.flows(BTC)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert await descriptors() == before


async def descriptors() -> int:
    gc.collect()
    return len(list(await trio.Path("/proc/self/fd").iterdir()))
