"""One scenario: a cluster that knows itself, then deaths, pauses, a partition; and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from statistics import mean, median
from typing import TYPE_CHECKING

from level4.swim.config import FEEDS, Config
from level4.swim.events import Change, Event, MemberEvent
from level4.swim.packet import Keyring
from level4.swim.simulation.network import Network, Node

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Pauses:
    """`count` members again and again stop for `stopped` seconds and then run for `running`."""

    count: int
    stopped: float
    running: float
    blocked: bool = False
    """Only their sockets stop."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A share of the members is cut off for a time."""

    share: float
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Scenario:
    nodes: int
    seconds: float
    config: Config = FEEDS
    loss: float = 0.0
    kill: int = 0
    """So many die, at random times in the second to the sixth tenth of the run."""
    pauses: Pauses | None = None
    """They begin after 5 s."""
    partition: Partition | None = None
    sealed: bool = False
    checked: bool = False


@dataclass(slots=True)
class Report:
    """Times in seconds."""

    nodes: int
    seconds: float
    first_detection: list[float] = field(default_factory=list)
    """For each killed member, from its death to the first suspicion of anybody."""
    dead_everywhere: list[float] = field(default_factory=list)
    """For each killed member, from its death until the last running member has declared it."""
    never_everywhere: int = 0
    """Killed members that some running member did not declare dead by the end."""
    false_deaths: int = 0
    """Deaths declared of members that run and are not cut off at that time, summed over observers."""
    false_deaths_of_healthy: int = 0
    """Those of members that never stopped."""
    deaths_of_stopped: int = 0
    """Deaths declared of members while they were stopped: right, as far as anybody can tell."""
    messages_per_period: float = 0.0
    """Datagrams sent by a member in a protocol period, on average."""
    bytes_per_period: float = 0.0
    converged_after: float | None = None
    """From healing (or, without a partition, from the end of the changes) until all views are equal. None: never."""

    def summary(self) -> dict[str, float | int | None]:
        """Plain numbers."""
        return {
            "nodes": self.nodes,
            "seconds": self.seconds,
            "killed": len(self.dead_everywhere) + self.never_everywhere,
            "first_detection_mean": _rounded(mean(self.first_detection) if self.first_detection else None),
            "first_detection_p99": _rounded(percentile(self.first_detection, 0.99)),
            "dead_everywhere_median": _rounded(median(self.dead_everywhere) if self.dead_everywhere else None),
            "dead_everywhere_p99": _rounded(percentile(self.dead_everywhere, 0.99)),
            "never_everywhere": self.never_everywhere,
            "false_deaths": self.false_deaths,
            "false_deaths_of_healthy": self.false_deaths_of_healthy,
            "deaths_of_stopped": self.deaths_of_stopped,
            "messages_per_period": _rounded(self.messages_per_period),
            "bytes_per_period": _rounded(self.bytes_per_period),
            "converged_after": _rounded(self.converged_after),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[ceil(share * len(values)) - 1] if values else None


class _Observer:
    """Sees all events of a run."""

    def __init__(self, report: Report) -> None:
        self.killed: dict[str, float] = {}
        self.suspected: dict[str, float] = {}
        self.declared: dict[str, dict[str, float]] = {}
        """Killed member → observer → when."""
        self.slow: dict[str, Node] = {}
        self.cut = False
        self.report = report

    def __call__(self, now: float, node: Node, event: Event) -> None:
        if not isinstance(event, MemberEvent):
            return
        name = event.member.name
        if name in self.killed:
            if event.change is Change.SUSPECTED:
                self.suspected.setdefault(name, now)
            elif event.change is Change.DEAD:
                self.declared.setdefault(name, {})[node.membership.own.name] = now
        elif event.change is Change.DEAD and not self.cut:
            slow = self.slow.get(name)
            if slow is not None and (slow.paused or slow.blocked):
                self.report.deaths_of_stopped += 1
            else:
                self.report.false_deaths += 1
                self.report.false_deaths_of_healthy += slow is None


def run(scenario: Scenario, make_random: Callable[[str], Random]) -> Report:
    """Play a scenario. `make_random` gives a random source for a text, always the same for the same."""
    report = Report(scenario.nodes, scenario.seconds)
    observer = _Observer(report)
    keyring = Keyring([make_random("key").randbytes(32)]) if scenario.sealed else None
    network = Network(
        make_random,
        config=scenario.config,
        loss=scenario.loss,
        keyring=keyring,
        watch=observer,
        checked=scenario.checked,
    )
    nodes = network.grown(scenario.nodes)
    rng = make_random("scenario")
    changing = _plan(scenario, network, nodes, observer, rng)
    network.run(changing)
    if network.run_until(network.agreed, scenario.seconds):
        report.converged_after = network.now - changing
    network.run(scenario.seconds)
    _measure(report, scenario, nodes, observer)
    return report


def _plan(scenario: Scenario, network: Network, nodes: list[Node], observer: _Observer, rng: Random) -> float:
    """Plan what happens; returns when all of it has happened."""
    last = 0.0
    chosen = rng.sample(nodes, scenario.kill + (scenario.pauses.count if scenario.pauses else 0))
    for victim in chosen[: scenario.kill]:

        def die(victim: Node) -> None:
            observer.killed[victim.membership.own.name] = network.now
            network.kill(victim)

        when = scenario.seconds * (0.1 + 0.5 * rng.random())
        network.at(when, die, victim)
        last = max(last, when)
    if (pauses := scenario.pauses) is not None:
        observer.slow = {node.membership.own.name: node for node in chosen[scenario.kill :]}
        stop = network.block if pauses.blocked else network.pause
        for node in chosen[scenario.kill :]:
            when = 5.0 + rng.random() * pauses.running
            while when + pauses.stopped < scenario.seconds:
                network.at(when, stop, node, pauses.stopped)
                when += pauses.stopped + pauses.running
    if (partition := scenario.partition) is not None:
        cut = rng.sample(nodes, round(partition.share * len(nodes)))

        def divide() -> None:
            observer.cut = True
            network.divide([cut])

        network.at(partition.start, divide)
        last = max(last, partition.start + partition.seconds)
        network.at(partition.start + partition.seconds, network.heal)
    return last


def _measure(report: Report, scenario: Scenario, nodes: list[Node], observer: _Observer) -> None:
    running = {node.membership.own.name for node in nodes if node.running}
    for name, when in observer.killed.items():
        if name in observer.suspected:
            report.first_detection.append(observer.suspected[name] - when)
        declared = observer.declared.get(name, {})
        if running <= declared.keys():
            report.dead_everywhere.append(max(declared[one] for one in running) - when)
        else:
            report.never_everywhere += 1
    lived = sum(observer.killed.get(node.membership.own.name, scenario.seconds) for node in nodes)
    periods = lived / scenario.config.probe_interval
    report.messages_per_period = sum(node.membership.stats.sent for node in nodes) / periods
    report.bytes_per_period = sum(node.membership.stats.sent_bytes for node in nodes) / periods
