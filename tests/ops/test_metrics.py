"""Metrics: what the rooms count is what a scrape says, in texts that the official parsers read."""

from __future__ import annotations

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic
from scraped import WAITING, Scraped

from level4.control.ports import NodeState
from level4.feeds.stats import ConnectionStats
from level4.ops.histogram import Histogram
from level4.ops.lag import INTERVAL, LoopLag
from level4.ops.metrics import Metrics
from level4.swim.packet import Refusal


def value(text: str, name: str, **labels: str) -> float:
    """The one sample of that name with (at least) these labels."""
    [found] = [
        sample.value
        for family in classic(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


def test_a_market_by_its_real_events() -> None:
    node = Scraped()
    node.update(10, seconds=0.5)
    node.trade(1)
    node.trade(5)
    node.gap()
    node.now += 3
    text = node.scrape()
    assert value(text, "level4_feed_state", market_id="17", symbol="BTC/USD", state="LIVE") == 1
    assert value(text, "level4_feed_state", state="GAP") == 0
    assert value(text, "level4_feed_events_total", topic="spread") == 13  # two whole books, ten changes, one mark
    assert value(text, "level4_feed_events_total", topic="timesales") == 2
    assert value(text, "level4_feed_gaps_total", reason="sequence") == 1
    assert value(text, "level4_feed_gaps_total", reason="checksum") == 0
    assert value(text, "level4_feed_trades_lost_total") == 3
    assert value(text, "level4_feed_message_age_seconds") == pytest.approx(3)
    assert value(text, "level4_feed_message_age_expected_seconds") == pytest.approx(0.5)
    latency = {"exchange": "KRAKEN", "market_type": "SPOT"}
    assert value(text, "level4_feed_exchange_latency_seconds_bucket", le="0.01", **latency) == 0
    assert value(text, "level4_feed_exchange_latency_seconds_bucket", le="0.025", **latency) == 14


def test_a_market_that_is_stopped_is_gone_and_starts_from_nothing() -> None:
    node = Scraped()
    node.update(3)
    assert node.tally.markets
    node.real_market.stop("asked to", node.now_us * 1000, node.now)
    assert not node.tally.markets
    assert value(node.scrape(), "level4_feed_events_total", topic="spread") == 0


async def test_both_formats_are_read_by_their_parsers() -> None:
    node = Scraped()
    node.update(3)
    node.publisher.latency.extend([0.001, 0.002])
    plain = await node.metrics.answer("")
    assert plain.content_type.startswith("text/plain")
    names = {family.name for family in classic(plain.body.decode())}
    modern = await node.metrics.answer("application/openmetrics-text; version=1.0.0")
    assert modern.content_type.startswith("application/openmetrics-text")
    assert names == {family.name for family in open_metrics(modern.body.decode())}  # type: ignore[no-untyped-call]  # ships none
    assert {name for name in names if not name.startswith("level4_")} <= {
        name for name in names if name.startswith(("process_", "python_"))
    }
    assert all(family.documentation for family in classic(plain.body.decode()))


def test_the_node_and_the_way_to_kafka() -> None:
    node = Scraped()
    node.with_node(state=NodeState.DRAINING)
    node.unplaced.append(WAITING)
    node.rpc.refused_busy = 3
    node.publisher.trades_dropped = 7
    node.publisher.latency.extend([0.1] * 99 + [0.9])
    text = node.scrape()
    assert (value(text, "level4_node_ready"), value(text, "level4_node_draining")) == (0, 1)
    assert value(text, "level4_markets_unplaced") == 1
    assert value(text, "level4_rpc_refused_total", reason="busy") == 3
    assert value(text, "level4_kafka_dropped_total", kind="trade") == 7
    assert value(text, "level4_snapshot_budget_remaining", host="api.kraken.com") == 900
    assert value(text, "level4_snapshots_waiting", host="api.kraken.com") == 0
    assert value(text, "level4_feed_publish_latency_seconds", quantile="0.5") == 0.1
    assert value(text, "level4_feed_publish_latency_seconds", quantile="0.99") == 0.9
    assert value(text, "level4_feed_publish_latency_seconds_count") == 100


def test_membership_as_this_node_sees_it() -> None:
    node = Scraped()
    node.swim.stats.dropped[Refusal.FOREIGN] = 2
    text = node.scrape()
    assert value(text, "level4_cluster_members", state="alive") == 1
    assert value(text, "level4_cluster_members", state="dead") == 0
    assert value(text, "level4_cluster_view") == node.swim.view % 2**32
    assert value(text, "level4_cluster_dropped_total", reason="foreign") == 2
    node.running = False
    assert "level4_cluster" not in node.scrape()


def test_failovers_from_the_last_sign_of_the_dead_host_to_live() -> None:
    node = Scraped()
    for market_id in (1, 2, 3):
        node.failovers.taken(market_id, silence=3.0)
    node.now += 1.5
    node.failovers.live(1)
    node.failovers.live(1)  # LIVE again after a gap is no failover
    node.failovers.live(9)
    node.failovers.given_up(2)
    text = node.scrape()
    assert value(text, "level4_failovers_pending") == 1
    assert value(text, "level4_failover_seconds_count") == 1
    assert value(text, "level4_failover_seconds_sum") == pytest.approx(4.5)
    assert value(text, "level4_failover_seconds_bucket", le="4.0") == 0
    assert value(text, "level4_failover_seconds_bucket", le="5.0") == 1
    assert value(text, "level4_cluster_changes_total", change="suspected") == 2
    assert value(text, "level4_cluster_changes_total", change="dead") == 0


def test_the_clock_of_each_market() -> None:
    node = Scraped()
    node.real_market.stats.clock_us = -1_500
    assert value(node.scrape(), "level4_feed_clock_offset_seconds", market_id="17") == -0.0015
    node.real_market.stats.clock_us = None
    assert "level4_feed_clock_offset_seconds{" not in node.scrape()


def test_counters_of_connections_never_fall() -> None:
    node = Scraped()
    node.open_connections[0].frames = 10
    node.open_connections[0].up = True
    assert value(node.scrape(), "level4_connection_frames_total", protocol="kraken.v2") == 10
    node.open_connections[0].frames = 12  # and then it goes
    node.open_connections = [ConnectionStats("kraken.v2", "wss://ws.kraken.com/v2", frames=1)]
    text = node.scrape()
    assert value(text, "level4_connection_frames_total", protocol="kraken.v2") == 13
    assert value(text, "level4_connections_up", protocol="kraken.v2") == 0
    node.open_connections = []
    assert value(node.scrape(), "level4_connection_frames_total", protocol="kraken.v2") == 13


def test_further_sources_are_scraped_too() -> None:
    metrics = Metrics()
    before = len(list(metrics.collect()))
    metrics.add(lambda: list(Scraped().metrics.collect())[:2])
    assert len(list(metrics.collect())) == before + 2


def test_what_was_collected_does_not_change_any_more() -> None:
    node = Scraped()
    node.update(3)
    collected = node.metrics.collect()
    node.update(5)
    node.gap()
    node.publisher.acked = 100
    samples = {sample.name: sample.value for metric in collected for sample in metric.samples}
    assert samples["level4_kafka_acked_total"] == 0
    assert samples["level4_feed_resyncs_total"] == 0
    assert samples["level4_feed_message_age_seconds"] == 0


def test_a_histogram_puts_a_bound_into_its_bucket() -> None:
    histogram = Histogram((0.1, 1.0))
    for each in (0.1, 0.2, 1.0, 5.0):
        histogram.observe(each)
    assert histogram.cumulated() == [("0.1", 1.0), ("1.0", 3.0), ("+Inf", 4.0)]
    assert histogram.count == 4
    assert histogram.total == pytest.approx(6.3)


async def test_lag_is_what_a_blocked_loop_costs(autojump_clock: trio.testing.MockClock) -> None:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.sleep(INTERVAL / 2)
        autojump_clock.jump(0.4)  # the loop did nothing meanwhile
        await trio.sleep(INTERVAL / 2)
        assert lag.last == pytest.approx(0.4 - INTERVAL / 2)
        nursery.cancel_scope.cancel()
