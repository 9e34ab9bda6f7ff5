"""`tools/bench swim`: what gossip does, in simulated clusters: how soon the dead are known, at what price, and how
often the living are taken for dead; beside plain SWIM (no Lifeguard) in the same run.

Time is virtual, so these figures are the protocol's and do not depend on the machine; the same seed gives the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import mean, median
from typing import Any

import click
import results
from rich.console import Console
from rich.table import Table

from level4.swim.config import LAN, PROFILES
from level4.swim.simulation import Network, Scenario, run
from level4.swim.simulation.__main__ import merged, randomness
from level4.swim.simulation.network import Node
from level4.swim.simulation.scenario import Partition, Pauses, Report, percentile

LOSSES = (0.0, 0.05, 0.2)
CLUSTERS = (("local", 0.5), ("feeds", 1.0), ("lan", 3.0))
"""Profiles, and how much longer than with `feeds` a run has to be."""
SIZES = {3: 60, 5: 60, 10: 60, 25: 25, 100: 6}
"""Members, and runs of each."""
CROWD = 1_000
"""And once so many, with `feeds`."""
RUN_SECONDS = 20.0
PAUSES = (
    Pauses(8, 8.0, 0.1, blocked=True),
    Pauses(1, 16.0, 0.1, blocked=True),
    Pauses(4, 16.0, 0.1, blocked=True),
    Pauses(8, 16.0, 0.1, blocked=True),
    Pauses(8, 16.0, 4.0, blocked=True),
    Pauses(8, 32.0, 0.1, blocked=True),
)
PAUSED_SECONDS, PAUSED_NODES, PAUSED_RUNS = 128.0, 32, 3
APART_SECONDS = 600.0


def runs(scenario: Scenario, count: int, seed: int) -> Report:
    return merged([run(scenario, randomness(seed + i)) for i in range(count)])


def deaths(seed: int, share: float) -> list[dict[str, Any]]:
    """One member in a hundred dies, at least one. Times in seconds: from a death until somebody suspects it, and until
    all have buried it; `false`: deaths declared of the living, all runs and observers; `sent`: datagrams of a member in
    a second, with those about the death."""
    rows = []
    for profile, longer in CLUSTERS:
        sizes = SIZES | ({CROWD: 1} if profile == "feeds" else {})
        for nodes, count in sizes.items():
            times = max(1, round(count * share))
            row: dict[str, Any] = {"profile": profile, "nodes": nodes, "runs": times, "missed": 0}
            config = PROFILES[profile]
            for loss in LOSSES:
                scenario = Scenario(nodes, RUN_SECONDS * longer, config, loss, kill=max(1, nodes // 100))
                report = runs(scenario, times, seed)
                if not loss:
                    row["suspicion"] = of(report.first_detection)
                row["missed"] += report.never_everywhere
                row[f"dead_{loss:.0%}"] = of(report.dead_everywhere)
                row[f"false_{loss:.0%}"] = report.false_deaths
                row[f"sent_{loss:.0%}"] = round(report.messages_per_period / config.probe_interval, 1)
            rows.append(row)
    return rows


def of(times: list[float]) -> list[float | None]:
    """Median and 99th percentile."""
    last = percentile(times, 0.99)
    return [round(median(times), 2) if times else None, None if last is None else round(last, 2)]


def lifeguard(seed: int, share: float) -> list[dict[str, Any]]:
    """Some members' sockets stop again and again: deaths declared of members that lived, and of those that never
    stopped, all runs and observers; with Lifeguard and, as the reference, without."""
    rows = []
    for pauses in PAUSES:
        row: dict[str, Any] = {"stopped": pauses.stopped, "running": pauses.running, "slow": pauses.count}
        for name, on in (("swim", False), ("lifeguard", True)):
            scenario = Scenario(PAUSED_NODES, PAUSED_SECONDS, replace(LAN, lifeguard=on), pauses=pauses)
            report = runs(scenario, max(1, round(PAUSED_RUNS * share)), seed)
            row[name] = [report.false_deaths, report.false_deaths_of_healthy]
        row["ratio_of_healthy"] = round(row["swim"][1] / max(1, row["lifeguard"][1]), 1)
        rows.append(row)
    return rows


def news(seed: int, share: float) -> list[dict[str, Any]]:
    """A member says something new of itself (`feeds`): seconds until all know it. And after ten minutes in two parts:
    seconds from healing until all see all."""
    rows: list[dict[str, Any]] = []
    for nodes in SIZES:
        network = Network(randomness(seed))
        members = network.grown(nodes)
        network.run(3)
        times = [_told(network, members, members[i % nodes], b"%d" % i) for i in range(max(2, round(20 * share)))]
        apart = Scenario(nodes, APART_SECONDS + 80, partition=Partition(0.4, 10.0, APART_SECONDS))
        healed = runs(apart, max(1, round(3 * share)) if nodes <= 25 else 1, seed).converged_after
        row = {"nodes": nodes, "mean": round(mean(times), 2), "worst": round(max(times), 2)}
        rows.append(row | {"one_again": None if healed is None else round(healed, 1)})
    return rows


def _told(network: Network, members: list[Node], source: Node, meta: bytes) -> float:
    """Seconds until all know what one member says; infinite when some never do."""
    began, name = network.now, source.membership.own.name
    source.membership.set_meta(meta, began)
    network.settle(source)

    def known() -> bool:
        seen = [node.membership.member(name) for node in members]
        return all(member is not None and member.meta == meta for member in seen)

    told = network.run_until(known, began + 10, 0.01)
    after = network.now - began
    network.run(network.now + 1)
    return after if told else math.inf


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        cells = (" / ".join(map(str, cell)) if isinstance(cell, list) else str(cell) for cell in row.values())
        table.add_row(*cells)
    Console(width=200).print(table)


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--share", default=1.0, show_default=True, help="Of the runs: 0.1 for a look.")
@click.option("--store", is_flag=True, help="Store the figures under tools/bench_results.")
def swim(seed: int, share: float, store: bool) -> None:
    """Gossip in simulated clusters: detection, load, false alarms, partitions; beside plain SWIM."""
    tables = {"deaths": deaths(seed, share), "lifeguard": lifeguard(seed, share), "news": news(seed, share)}
    show("Members die; seconds, median / p99, by share of datagrams lost", tables["deaths"])
    show("32 members, profile lan, 128 s: false deaths in all / of healthy members", tables["lifeguard"])
    show("News of a member, and one cluster again after ten minutes in two; seconds", tables["news"])
    if store:
        path = results.store("swim", [], {"seed": seed, **tables})
        click.echo(f"stored in tools/bench_results/{path.name}")
