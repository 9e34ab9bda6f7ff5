"""A node's rooms as far as metrics look at them, with one real market in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, cast

from prometheus_client.exposition import generate_latest

from level4.book.checksum import KrakenChecksum
from level4.book.rules import next_number
from level4.book.sync import seeded_in_stream
from level4.cluster.failovers import Failovers
from level4.control.ports import ActiveMarket, MarketHost, NodeInfo, NodeState
from level4.feeds.rest import RestStats
from level4.feeds.stats import ConnectionStats, FeedStats, FeedView
from level4.market import Market
from level4.model import Event, FeedState, Instrument, MarketRequest, MarketType, RawTime
from level4.ops.cluster_metrics import FailoverMetrics, cluster_metrics
from level4.ops.lag import LoopLag
from level4.ops.metrics import ConnectionMetrics, Metrics, feed_metrics, kafka_metrics, node_metrics, rest_metrics
from level4.ops.tally import Tally
from level4.publish.stats import PublisherStats
from level4.rpc.gate import RpcStats
from level4.swim.events import Change
from level4.swim.membership import SECRET_BYTES, Membership

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

REQUEST = MarketRequest(17, "KRAKEN", MarketType.SPOT, "BTC", "USD")
INSTRUMENT = Instrument("KRAKEN", MarketType.SPOT, "BTC/USD", "BTC/USD", "BTC", "USD")
EPOCH_US = 1_787_227_200_000_000
"""Microseconds since 1970 when the monotonic clock of these tests says 0."""


def _us(raw: RawTime) -> int | None:
    return None if raw is None else int(raw)


class Scraped:
    """One node. What it does is done by hand; `scrape` is what Prometheus would read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.latency = 0.02
        self.node_info = NodeInfo("node1", 1, 25, NodeState.READY)
        self.publisher = PublisherStats()
        self.connected = True
        self.rest = RestStats()
        self.swim = Membership(
            "node1", 1, ("127.0.0.1", 7946), cluster="level4", rng=Random(1), secret=bytes(SECRET_BYTES), now=100.0
        )
        self.budget = {"api.kraken.com": (900.0, 1000.0)}
        self.snapshots_waiting = 0
        self.rpc = RpcStats()
        self.lag = LoopLag()
        self.feed = FeedStats()
        self.failovers = Failovers(lambda: self.now)
        self.unplaced: list[ActiveMarket] = []
        self.open_connections = [ConnectionStats("kraken.v2", "wss://ws.kraken.com/v2")]
        self.events: list[Event] = []
        self.tally = Tally(self)
        self._frame: list[Market] = []
        self._price = 1000
        self._number = 0
        self.real_market = Market(
            market_id=17,
            instrument=INSTRUMENT,
            sync=seeded_in_stream(follows=next_number, checksum=KrakenChecksum),
            exchange_us=_us,
            term=7,
            node="node1",
            publisher=self.tally,
            commands=self,
            frame=self._frame,
            contiguous_trade_ids=True,
        )
        self.metrics = Metrics(
            node_metrics(cast("MarketHost", self), self.lag, self.rpc),
            kafka_metrics(lambda: self.publisher, lambda: self.connected),
            feed_metrics(self, self.tally, lambda: self.now_us * 1000),
            ConnectionMetrics(self.connections),
            rest_metrics(self),
            cluster_metrics(self, {Change.SUSPECTED: 2}),
            FailoverMetrics(self.failovers),
        )
        self.real_market.stats.clock_us = 20_000
        self.real_market.start(self.now_us * 1000, self.now)
        self.real_market.connected("book", self.now_us * 1000, self.now)
        self.snapshot()

    @property
    def now_us(self) -> int:
        return EPOCH_US + int(self.now * 1e6)

    # what metrics ask of the rooms

    def put(self, event: Event) -> None:
        self.events.append(event)

    def node(self) -> NodeInfo:
        return self.node_info

    def active(self) -> Sequence[ActiveMarket]:
        return [ActiveMarket(REQUEST, self.real_market.state, "node1", INSTRUMENT), *self.unplaced]

    def markets(self) -> list[FeedView]:
        return [FeedView(REQUEST, INSTRUMENT, 7, self.real_market.state, {}, self.feed)]

    def market(self, market_id: int) -> Market | None:
        return self.real_market if market_id == 17 else None

    def connections(self) -> list[ConnectionStats]:
        return self.open_connections

    running = True

    @property
    def membership(self) -> Membership:
        return self.swim

    @property
    def stats(self) -> RestStats:
        return self.rest

    def budgets(self) -> dict[str, tuple[float, float]]:
        return self.budget

    def waiting(self) -> dict[str, int]:
        return dict.fromkeys(self.budget, self.snapshots_waiting)

    # what a market asks of its feed

    def fetch_snapshot(self) -> None: ...

    def resubscribe(self) -> None: ...

    def reconnect(self, reason: str) -> None: ...

    def probe(self) -> None: ...

    # what happens

    def _settle(self) -> None:
        for market in self._frame:
            market.settle(self.now_us * 1000, self.now)
        self._frame.clear()

    def _exchange_us(self) -> int:
        return self.now_us - round(self.latency * 1e6)

    def snapshot(self) -> None:
        self._number += 1
        self.real_market.snapshot([("999", "1")], [("2000", "1")], self._number, None, self._exchange_us())
        self._settle()

    def update(self, times: int = 1, seconds: float = 0.5) -> None:
        """So many price changes."""
        for _ in range(times):
            self.now += seconds
            self._number += 1
            self._price = 1001 if self._price == 1000 else 1000
            gone = ("1001" if self._price == 1000 else "1000", "0")
            bids = [(str(self._price), "1"), gone]
            self.real_market.delta(bids, [], self._number, self._number, None, None, self._exchange_us())
            self._settle()

    def trade(self, trade_id: int) -> None:
        self.real_market.trade("buy", "1000", "1", str(trade_id), self._exchange_us())
        self._settle()

    def gap(self) -> None:
        """An update is lost; the book comes back."""
        self._number += 1
        self.update()
        self.snapshot()

    def wrong_checksum(self) -> None:
        self.real_market.snapshot([("999", "1")], [("2000", "1")], self._number, 1, None)
        self._settle()

    def with_node(self, **changes: object) -> None:
        self.node_info = replace(self.node_info, **changes)  # type: ignore[arg-type]  # names and types are NodeInfo's

    def scrape(self) -> str:
        return generate_latest(cast("Collector", self.metrics)).decode()


WAITING = ActiveMarket(MarketRequest(18, "KRAKEN", MarketType.SPOT, "ETH", "USD"), FeedState.STARTING)
"""A market that runs nowhere."""
