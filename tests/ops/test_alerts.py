"""Alert rules and boards: they parse, every metric they name is exported, and each rule fires when its fault is there
and is silent when it is not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql import Scrapes, metric_names
from scraped import WAITING, Scraped

from level4.control.ports import NodeState

TOOLS = Path(__file__).parents[2] / "tools"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load((TOOLS / "prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
NOT_OURS = {"up"}
"""Prometheus makes it itself."""


def exported() -> set[str]:
    node = Scraped()
    node.update(3)
    node.publisher.latency.extend([0.001])
    return {sample.name for family in text_string_to_metric_families(node.scrape()) for sample in family.samples}


def healthy() -> Scraped:
    node = Scraped()
    node.update(100, seconds=0.5)
    node.trade(1)
    node.lag.seconds.observe(0.0005)
    node.publisher.latency.extend([0.005] * 100)
    return node


def live_on(node: Scraped) -> None:
    """Five more minutes without a fault."""
    node.update(600, seconds=0.5)
    node.trade(2)
    for _ in range(3000):
        node.lag.seconds.observe(0.0008)
    node.publisher.latency.extend([0.005] * 600)


def several(times: int, what: Callable[[Scraped], object]) -> Callable[[Scraped], None]:
    def cause(node: Scraped) -> None:
        for _ in range(times):
            what(node)

    return cause


def be_silent(node: Scraped) -> None:
    node.now += 300


def be_late(node: Scraped) -> None:
    node.latency = 4.0
    node.update(10)


def set_the_clock_back(node: Scraped) -> None:
    node.latency = -0.5
    node.update(10)


def lose_trades(node: Scraped) -> None:
    node.trade(9)


def block_the_loop(node: Scraped) -> None:
    for _ in range(100):
        node.lag.seconds.observe(0.3)


def disconnect(node: Scraped) -> None:
    node.real_market.disconnected("book", "gone", node.now_us * 1000, node.now)


def put(owner: str, name: str, value: object) -> Callable[[Scraped], None]:
    return lambda node: setattr(getattr(node, owner), name, value)


CAUSES: dict[str, Callable[[Scraped], object]] = {
    "Level4FeedNotLive": disconnect,
    "Level4FeedSilent": be_silent,
    "Level4FeedGaps": several(6, Scraped.gap),
    "Level4ChecksumFailures": several(3, Scraped.wrong_checksum),
    "Level4TradesLost": lose_trades,
    "Level4ExchangeSlow": be_late,
    "Level4ClockBehind": set_the_clock_back,
    "Level4OwnClock": lambda node: setattr(node.real_market.stats, "clock_us", -60_000),
    "Level4Banned": lambda node: node.rest.answers.update([429]),
    "Level4BudgetSpent": lambda node: setattr(node, "snapshots_waiting", 3),
    "Level4Reconnecting": lambda node: setattr(node.open_connections[0], "disconnects", 11),
    "Level4KafkaAway": lambda node: setattr(node, "connected", False),
    "Level4EventsDropped": put("publisher", "trades_dropped", 1),
    "Level4KafkaSlow": put("publisher", "oldest_seconds", 6.0),
    "Level4PublishSlow": lambda node: node.publisher.latency.extend([0.7] * 50),
    "Level4EventLoopLag": block_the_loop,
    "Level4GossipRefused": lambda node: node.swim.stats.dropped.update(unauthentic=11),
    "Level4Unplaced": lambda node: node.unplaced.append(WAITING),
    "Level4FailoverSlow": lambda node: node.failovers.taken(17, 3.0),
    "Level4Full": lambda node: node.with_node(active=23),
    "Level4Bug": put("feed", "restarts", 1),
}
BY_TEXT = {
    "Level4ViewsDiffer": (
        'level4_cluster_view{instance="a"} 7\nlevel4_cluster_view{instance="b"} 7\n',
        'level4_cluster_view{instance="a"} 7\nlevel4_cluster_view{instance="b"} 8\n',
    ),
    "Level4NodeDoubtsItself": ("level4_cluster_health_score 1\n", "level4_cluster_health_score 3\n"),
    "Level4NodeDown": ('up{job="level4",instance="a"} 1\n', 'up{job="level4",instance="a"} 0\n'),
    "Level4Descriptors": (
        "process_open_fds 20\nprocess_max_fds 1024\n",
        "process_open_fds 900\nprocess_max_fds 1024\n",
    ),
}
"""What a test cannot bring about: the scrape without and with the fault."""


def test_every_rule_is_tested() -> None:
    assert {*CAUSES, *BY_TEXT} == set(RULES)


@pytest.mark.parametrize("alert", CAUSES)
def test_an_alert_fires_for_its_fault_and_only_then(alert: str) -> None:
    expression = RULES[alert]["expr"]
    node = healthy()
    earlier = node.scrape()
    live_on(node)
    well = node.scrape()
    assert not Scrapes(earlier, well).firing(expression)
    CAUSES[alert](node)
    assert Scrapes(well, node.scrape()).firing(expression)


@pytest.mark.parametrize("alert", BY_TEXT)
def test_an_alert_about_the_process(alert: str) -> None:
    well, ill = BY_TEXT[alert]
    assert not Scrapes(well, well).firing(RULES[alert]["expr"])
    assert Scrapes(well, ill).firing(RULES[alert]["expr"])


def test_a_clock_that_is_ahead_fires_too() -> None:
    node = healthy()
    well = node.scrape()
    node.real_market.stats.clock_us = 1_500_000
    assert Scrapes(well, node.scrape()).firing(RULES["Level4OwnClock"]["expr"])


@pytest.mark.parametrize("fault", ["connection_bugs", "rpc_failed"])
def test_the_other_bugs_fire_too(fault: str) -> None:
    node = healthy()
    well = node.scrape()
    if fault == "rpc_failed":
        node.rpc.failed = 1
    else:
        node.open_connections[0].bugs = 1
    assert Scrapes(well, node.scrape()).firing(RULES["Level4Bug"]["expr"])


@pytest.mark.parametrize("alert", RULES)
def test_a_rule_names_metrics_that_exist_and_says_what_it_means(alert: str) -> None:
    rule = RULES[alert]
    assert metric_names(rule["expr"]) <= exported() | NOT_OURS
    assert rule["labels"]["severity"] in ("page", "warn")
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    known = {"exchange", "symbol", "market_type", "reason", "status", "protocol", "kind", "instance", "host"}
    assert used <= known
    aggregated = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
    if aggregated:
        assert used <= set(aggregated[-1].replace(" ", "").split(","))


@pytest.mark.parametrize("board", ["data.json", "cluster.json"])
def test_a_board_names_metrics_that_exist(board: str) -> None:
    content = json.loads((TOOLS / "grafana/boards" / board).read_text())
    expressions = [target["expr"] for panel in content["panels"] for target in panel["targets"]]
    expressions += [annotation["expr"] for annotation in content["annotations"]["list"]]
    assert len(expressions) > 10
    for expression in expressions:
        assert metric_names(expression.replace("$exchange", ".*")) <= exported(), expression
    places = [panel["gridPos"] for panel in content["panels"]]
    for i, one in enumerate(places):
        assert one["x"] + one["w"] <= 24
        for other in places[:i]:
            apart = one["x"] >= other["x"] + other["w"] or other["x"] >= one["x"] + one["w"]
            assert apart or one["y"] >= other["y"] + other["h"] or other["y"] >= one["y"] + one["h"]


def test_the_boards_are_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, TOOLS / "grafana/make-boards", tmp_path], check=True, timeout=30)
    for made in tmp_path.iterdir():
        assert made.read_text() == (TOOLS / "grafana/boards" / made.name).read_text()


def test_prometheus_finds_its_rules() -> None:
    config = yaml.safe_load((TOOLS / "prometheus/prometheus.yaml").read_text())
    assert all((TOOLS / "prometheus" / name).is_file() for name in config["rule_files"])
    assert {job["job_name"] for job in config["scrape_configs"]} == {"level4"}


def test_a_node_that_drains_is_no_fault() -> None:
    node = healthy()
    well = node.scrape()
    live_on(node)
    node.with_node(state=NodeState.DRAINING, active=0)
    later = node.scrape()
    assert not [alert for alert in CAUSES if Scrapes(well, later).firing(RULES[alert]["expr"])]
