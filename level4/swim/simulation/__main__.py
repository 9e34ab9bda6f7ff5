"""`python -m level4.swim.simulation`: play a scenario some times and report what was measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from time import process_time

from level4.swim.config import PROFILES
from level4.swim.simulation.scenario import Partition, Pauses, Report, Scenario, run


def randomness(seed: int) -> Callable[[str], Random]:
    return lambda purpose: Random(f"{seed} {purpose}")


def numbers(count: int) -> Callable[[str], list[float]]:
    """A reader of so many numbers with commas between."""

    def read(text: str) -> list[float]:
        values = [float(part) for part in text.split(",")]
        if len(values) != count:
            raise ValueError(text)
        return values

    read.__name__ = f"{count} numbers"
    return read


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m level4.swim.simulation", description=__doc__)
    parser.add_argument("--nodes", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual seconds of a run")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="feeds")
    parser.add_argument("--loss", type=float, default=0.0, help="share of datagrams that are lost, 0 to 1")
    parser.add_argument("--kill", type=int, default=0, help="members that die")
    parser.add_argument("--pause", type=numbers(3), help="COUNT,STOPPED,RUNNING: members that stop again and again")
    parser.add_argument("--block", type=numbers(3), help="COUNT,STOPPED,RUNNING: only their sockets stop")
    parser.add_argument("--partition", type=numbers(3), help="SHARE,START,SECONDS: members that are cut off")
    parser.add_argument("--lifeguard", choices=("on", "off"), default="on")
    parser.add_argument("--sealed", action="store_true", help="with a key")
    parser.add_argument("--check", action="store_true", help="assert the invariants after each step")
    parser.add_argument("--runs", type=int, default=1, help="runs with consecutive seeds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser.parse_args(given)


def scenario_of(options: argparse.Namespace) -> Scenario:
    slow = options.pause or options.block
    pauses = slow and Pauses(int(slow[0]), slow[1], slow[2], blocked=options.pause is None)
    return Scenario(
        nodes=options.nodes,
        seconds=options.seconds,
        config=replace(PROFILES[options.profile], lifeguard=options.lifeguard == "on"),
        loss=options.loss,
        kill=options.kill,
        pauses=pauses,
        partition=options.partition and Partition(*options.partition),
        sealed=options.sealed,
        checked=options.check,
    )


def merged(reports: Sequence[Report]) -> Report:
    """Several runs as one: times together, deaths added, loads averaged, the worst convergence."""
    whole = Report(reports[0].nodes, reports[0].seconds)
    slowest: float | None = 0.0
    for report in reports:
        whole.first_detection += report.first_detection
        whole.dead_everywhere += report.dead_everywhere
        whole.never_everywhere += report.never_everywhere
        whole.false_deaths += report.false_deaths
        whole.false_deaths_of_healthy += report.false_deaths_of_healthy
        whole.deaths_of_stopped += report.deaths_of_stopped
        whole.messages_per_period += report.messages_per_period / len(reports)
        whole.bytes_per_period += report.bytes_per_period / len(reports)
        if slowest is not None:
            slowest = None if report.converged_after is None else max(slowest, report.converged_after)
    whole.converged_after = slowest
    return whole


def main(given: Sequence[str]) -> int:
    options = arguments(given)
    scenario = scenario_of(options)
    before = process_time()
    whole = merged([run(scenario, randomness(options.seed + i)) for i in range(options.runs)])
    result = {"seed": options.seed, "runs": options.runs, **whole.summary()}
    result["cpu_seconds"] = round(process_time() - before, 2)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.writelines(f"{name:<26}{'-' if value is None else value}\n" for name, value in result.items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
