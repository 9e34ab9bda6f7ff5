"""Prometheus metrics, pulled from the plain numbers that every room keeps.

The only module that knows Prometheus. A scrape copies the rooms' numbers on the event loop, which is quick, and makes
and renders metrics of them in a thread, which takes far longer; between scrapes nothing is done.

Names: `level4_<noun>_<unit>[_total]`, base units. Labels have few values: markets are bounded by MAX_DATA_FEEDS, kinds
and causes by their rooms; histograms are kept per exchange, not per market.

Counters of connections are summed by protocol, and connections come and go: what one had counted when it was last seen
stays in the sum, because a counter that falls would be read as a restart.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, Protocol

import trio
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from level4 import __version__
from level4.control.ports import MarketHost, NodeState
from level4.feeds.rest import RestStats
from level4.feeds.stats import ConnectionStats, FeedStats, FeedView
from level4.market import Market
from level4.market.stats import Cause, MarketStats
from level4.model import FeedState
from level4.ops.http import Answer
from level4.ops.lag import LoopLag
from level4.ops.tally import MarketTally, Tally
from level4.publish.stats import PublisherStats
from level4.rpc.gate import RpcStats

Source = Callable[[], Iterable[Metric]]
"""Reads its room when it is called; what it returns is iterated in another thread, and reads nothing any more."""

_MARKET: Final = ("market_id", "exchange", "market_type", "symbol")
_STATES: Final = tuple(state for state in FeedState if state is not FeedState.STOPPED)
_QUANTILES: Final = (0.5, 0.9, 0.99)


class Metrics:
    """A node's metrics. `answer` is the HTTP route; `add` takes further sources (rooms that come later)."""

    def __init__(self, *sources: Source) -> None:
        self._sources = [*sources]
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    def add(self, source: Source) -> None:
        self._sources.append(source)

    def collect(self) -> Iterable[Metric]:
        """On the event loop; the result may be iterated anywhere, once."""
        return chain(*[source() for source in self._sources], self._process.collect())

    async def answer(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(await trio.to_thread.run_sync(encode, _Collected(self.collect())), content_type)


class _Collected:
    """What was collected, as prometheus_client wants to be given it."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def node_metrics(host: MarketHost, lag: LoopLag, rpc: RpcStats) -> Source:
    """The node as a whole and its control service."""

    def look() -> Iterator[Metric]:
        node, active = host.node(), host.active()
        build = GaugeMetricFamily("level4_build_info", "Always 1.", labels=("version", "python", "node"))
        build.add_metric((__version__, platform.python_version(), node.name), 1)
        yield build
        yield _gauge("node_ready", "Whether this node can host markets now.", node.state is NodeState.READY)
        yield _gauge("node_draining", "Whether this node is handing over.", node.state is NodeState.DRAINING)
        yield _gauge("markets_owned", "Markets this node hosts.", node.active)
        yield _gauge("markets_capacity", "Most markets this node may host.", node.capacity)
        unplaced = sum(market.node is None for market in active)
        yield _gauge("markets_unplaced", "Markets that are wanted and run nowhere.", unplaced)
        loop = HistogramMetricFamily("level4_event_loop_lag_seconds", "How late timers of the event loop fire.")
        loop.add_metric((), lag.seconds.cumulated(), lag.seconds.total)
        yield loop
        yield _counter("rpc_calls", "Calls of the control service.", rpc.calls)
        yield _counter("rpc_failed", "Calls that ended by a mistake of the node.", rpc.failed)
        yield _gauge("rpc_in_flight", "Calls being served.", rpc.in_flight)
        yield _gauge("rpc_connections", "Connections to the control service.", rpc.connections)
        yield _counter("rpc_broken_connections", "Given up because of what the peer sent.", rpc.broken_connections)
        refused = _labelled("rpc_refused", "Calls and connections refused.", ("reason",))
        for name in RpcStats.__dataclass_fields__:
            if name.startswith("refused_"):
                refused.add_metric((name.removeprefix("refused_"),), getattr(rpc, name))
        yield refused

    return lambda: list(look())


def kafka_metrics(stats: Callable[[], PublisherStats], ready: Callable[[], bool]) -> Source:
    """The way to Kafka."""

    def look() -> Iterator[Metric]:
        now = stats()
        yield _gauge("kafka_connected", "Whether Kafka takes what is published.", ready())
        yield _gauge("kafka_away_seconds", "How long Kafka has not answered; 0 when it does.", now.away_seconds)
        yield _gauge("kafka_queue_messages", "Events not yet handed to the Kafka client.", now.queued)
        yield _gauge("kafka_queue_oldest_seconds", "Age of the oldest of those.", now.oldest_seconds)
        yield _gauge("kafka_in_flight_messages", "Events handed over and not acknowledged.", now.in_flight)
        yield _counter("kafka_put", "Events published by the feeds.", now.put)
        yield _counter("kafka_acked", "Events that Kafka acknowledged.", now.acked)
        yield _counter("kafka_coalesced", "Spread states merged into newer ones.", now.coalesced)
        dropped = _labelled("kafka_dropped", "Events lost, by kind.", ("kind",))
        kinds = ("trade", now.trades_dropped), ("status", now.statuses_dropped), ("refused", now.refused)
        for kind, count in kinds:
            dropped.add_metric((kind,), count)
        yield dropped
        yield _counter("kafka_errors", "Failures of the way to Kafka.", now.errors)
        yield _counter("kafka_reconnects", "Kafka clients that had to be replaced.", now.reconnects)
        latency = SummaryMetricFamily(
            "level4_feed_publish_latency_seconds",
            "From publishing to Kafka's acknowledgement; quantiles of the newest 4,096.",
            now.latency.count,
            now.latency.total,
        )
        for quantile in _QUANTILES:
            value = now.latency.quantile(quantile)
            if value is not None:
                latency.add_sample(latency.name, {"quantile": str(quantile)}, value)
        yield latency

    return lambda: list(look())


class MarketsSource(Protocol):
    """What is asked of `Feeds`."""

    def markets(self) -> list[FeedView]: ...

    def market(self, market_id: int) -> Market | None: ...


def feed_metrics(feeds: MarketsSource, tally: Tally, wall: Callable[[], int] = time.time_ns) -> Source:
    """Every market of this node. `wall`: nanoseconds since 1970."""

    def one(view: FeedView) -> _Row:
        market_id = view.request.id
        market = feeds.market(market_id)
        return _Row(
            (str(market_id), view.request.exchange, view.request.type, view.instrument.symbol),
            view.state,
            copy(view.stats),
            copy(tally.markets.get(market_id)) or MarketTally(),
            None if market is None else replace(market.stats, gaps=market.stats.gaps.copy()),
            0 if market is None else market.stats.breaks[Cause.CHECKSUM],
        )

    def collect() -> Iterable[Metric]:
        rows = [one(view) for view in feeds.markets()]
        latencies = [(key, each.cumulated(), each.total) for key, each in tally.exchange_latency.items()]
        return _markets(rows, latencies, wall() // 1000)

    return collect


@dataclass(frozen=True, slots=True)
class _Row:
    """One market's numbers, copied."""

    labels: tuple[str, ...]
    state: FeedState
    feed: FeedStats
    events: MarketTally
    market: MarketStats | None
    checksum_failures: int


_Latencies = list[tuple[tuple[str, str], list[tuple[str, float]], float]]


def _markets(rows: list[_Row], latencies: _Latencies, now_us: int) -> Iterator[Metric]:
    state = GaugeMetricFamily("level4_feed_state", "1 for the state a market is in.", labels=(*_MARKET, "state"))
    families = _market_families()
    for row in rows:
        for each in _STATES:
            state.add_metric((*row.labels, each), row.state is each)
        _events(families, row.labels, row.events, now_us)
        for name in _FEED_COUNTERS:
            families[f"feed_{name}"].add_metric(row.labels, getattr(row.feed, name))
        if row.market is not None:
            families["feed_checksum_failures"].add_metric(row.labels, row.checksum_failures)
            _faults(families, row.labels, row.market)
    yield state
    yield from families.values()
    latency = HistogramMetricFamily(
        "level4_feed_exchange_latency_seconds",
        "Receive time minus the exchange's time.",
        labels=("exchange", "market_type"),
    )
    for key, buckets, total in latencies:
        latency.add_metric(key, buckets, total)
    yield latency


_Families = dict[str, GaugeMetricFamily | CounterMetricFamily]

_AGES: Final = {
    "feed_message_age_seconds": "Seconds since the last price change or trade.",
    "feed_message_age_expected_seconds": "Usual time between two of those.",
}
_MARKET_COUNTERS: Final = {
    "resyncs": "Times the book was asked for anew.",
    "probes": "Silences that were too long for the market, so that it was asked whether it lives.",
    "probes_failed": "Of those, not answered or answered with another book.",
    "stale": "Times the market became STALE.",
    "crossed": "Books found crossed or locked.",
    "halted": "Times the exchange refused the market or was in maintenance.",
    "switched": "Changes to another connection without a break.",
    "bad_times": "Exchange times that could not be read.",
    "trades_lost": "Trades known to be missing.",
    "trades_repeated": "Trades dropped because they had been published.",
}
"""Fields of `MarketStats`."""
_FEED_COUNTERS: Final = {
    "snapshots": "Snapshots fetched by REST.",
    "snapshot_errors": "Snapshots that could not be fetched.",
    "resubscribes": "Subscriptions repeated for the market.",
    "reconnects": "Reconnections the market asked for.",
    "restarts": "Restarts after a bug.",
}
"""Fields of `FeedStats`."""


def _market_families() -> _Families:
    by_cause = (*_MARKET, "reason")
    return {
        **{name: GaugeMetricFamily(f"level4_{name}", doc, labels=_MARKET) for name, doc in _AGES.items()},
        "feed_events": _labelled("feed_events", "Events published, by topic.", (*_MARKET, "topic")),
        "feed_clock_offset_seconds": GaugeMetricFamily(
            "level4_feed_clock_offset_seconds",
            "Least receive time minus exchange time of the last minute: the way's delay, plus what the clocks differ.",
            labels=_MARKET,
        ),
        "feed_gaps": _labelled("feed_gaps", "Times trust in a LIVE book ended, by cause.", by_cause),
        "feed_checksum_failures": _labelled("feed_checksum_failures", "Books that failed their checksum.", _MARKET),
        **{
            f"feed_{name}": _labelled(f"feed_{name}", doc, _MARKET)
            for name, doc in (_MARKET_COUNTERS | _FEED_COUNTERS).items()
        },
    }


def _events(families: _Families, labels: tuple[str, ...], row: MarketTally, now_us: int) -> None:
    if row.newest_us is not None:
        families["feed_message_age_seconds"].add_metric(labels, max(0, now_us - row.newest_us) / 1e6)
    if row.usual_us:
        families["feed_message_age_expected_seconds"].add_metric(labels, row.usual_us / 1e6)
    for topic, events in (("spread", row.spreads), ("timesales", row.trades), ("status", row.statuses)):
        families["feed_events"].add_metric((*labels, topic), events)


def _faults(families: _Families, labels: tuple[str, ...], stats: MarketStats) -> None:
    for cause in Cause:  # all of them: a counter that first shows as 1 has no rate
        families["feed_gaps"].add_metric((*labels, cause), stats.gaps[cause])
    for name in _MARKET_COUNTERS:
        families[f"feed_{name}"].add_metric(labels, getattr(stats, name))
    if stats.clock_us is not None:
        families["feed_clock_offset_seconds"].add_metric(labels, stats.clock_us / 1e6)


class ConnectionMetrics:
    """Connections to exchanges, summed by protocol. A `Source`."""

    def __init__(self, connections: Callable[[], list[ConnectionStats]]) -> None:
        self._connections = connections
        self._seen: dict[int, ConnectionStats] = {}
        """What there was at the last look, by identity: the object is kept, so the identity stays its own."""
        self._gone: dict[str, Counter[str]] = {}
        """By protocol, what connections that are no more had counted."""

    def __call__(self) -> Iterable[Metric]:
        return list(self._look())

    def _look(self) -> Iterator[Metric]:
        now = {id(stats): stats for stats in self._connections()}
        for key, stats in self._seen.items():
            if key not in now:
                self._gone.setdefault(stats.protocol, Counter()).update(_counts(stats))
        self._seen = now
        sums = {protocol: Counter(counts) for protocol, counts in self._gone.items()}
        up: Counter[str] = Counter()
        for stats in now.values():
            sums.setdefault(stats.protocol, Counter()).update(_counts(stats))
            up[stats.protocol] += stats.up
        connected = GaugeMetricFamily("level4_connections_up", "Open WebSockets to exchanges.", labels=("protocol",))
        for protocol in sums:
            connected.add_metric((protocol,), up[protocol])
        yield connected
        for name, doc in _CONNECTION_COUNTERS.items():
            family = _labelled(f"connection_{name}", doc, ("protocol",))
            for protocol, counts in sums.items():
                family.add_metric((protocol,), counts[name])
            yield family


_CONNECTION_COUNTERS: Final = {
    "frames": "Messages received.",
    "received_bytes": "Bytes received.",
    "attempts": "Attempts to connect.",
    "connects": "Connections made.",
    "disconnects": "Connections that ended.",
    "sequence_breaks": "Breaks of a sequence that runs over a whole connection.",
    "silences": "Connections given up because nothing came.",
    "refusals": "Subscriptions the exchange refused.",
    "errors": "Frames that could not be decoded or applied.",
    "unknown": "Messages of a kind that is not known.",
    "bugs": "Restarts after a bug.",
}


def _counts(stats: ConnectionStats) -> dict[str, int]:
    renamed = {"received_bytes": stats.bytes, "errors": stats.errors.total(), "unknown": stats.unknown.total()}
    return {name: renamed[name] if name in renamed else getattr(stats, name) for name in _CONNECTION_COUNTERS}


class RestSource(Protocol):
    """What is asked of `Rest`."""

    @property
    def stats(self) -> RestStats: ...

    def budgets(self) -> dict[str, tuple[float, float]]: ...

    def waiting(self) -> dict[str, int]: ...


def rest_metrics(rest: RestSource) -> Source:
    """REST requests to exchanges, and how many more they allow."""

    def look() -> Iterator[Metric]:
        stats = rest.stats
        yield _counter("venue_http_requests", "REST requests to exchanges.", stats.requests)
        errors = _labelled("venue_http_errors", "Answers but 200, by status; 0: none came.", ("status",))
        for status in {*stats.answers, 429, 418} - {200}:
            errors.add_metric((str(status),), stats.answers[status])
        yield errors
        left = "level4_snapshot_budget_remaining", "Weight of REST requests that may be spent now."
        most = "level4_snapshot_budget_capacity", "The most weight there can be."
        for place, (name, doc) in enumerate((left, most)):
            family = GaugeMetricFamily(name, doc, labels=("host",))
            for host, budget in rest.budgets().items():
                family.add_metric((host,), budget[place])
            yield family
        waits = GaugeMetricFamily(
            "level4_snapshots_waiting", "REST requests that wait for the exchange's allowance.", labels=("host",)
        )
        for host, number in rest.waiting().items():
            waits.add_metric((host,), number)
        yield waits

    return lambda: list(look())


def _gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(f"level4_{name}", doc, float(value))


def _counter(name: str, doc: str, value: float) -> Metric:
    return CounterMetricFamily(f"level4_{name}", doc, float(value))


def _labelled(name: str, doc: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"level4_{name}", doc, labels=labels)
