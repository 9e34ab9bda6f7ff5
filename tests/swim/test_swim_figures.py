"""Measured in virtual time, against what the papers and other implementations give.

Expected, with one probe of a member per period from somebody at random times: first detection after about two periods
(one until the next probe, one until it has failed), whatever the number of members; two datagrams per member and period
when all is quiet; dissemination with the logarithm of the members.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from random import Random
from statistics import mean, median

import pytest
from virtual import randomness

from level4.swim import FEEDS, LAN, Member
from level4.swim.roster import Roster
from level4.swim.simulation import Network, Report, Scenario, run
from level4.swim.simulation.__main__ import main, merged
from level4.swim.simulation.scenario import Partition, Pauses, percentile

PERIOD = FEEDS.probe_interval


def runs(count: int, scenario: Scenario, seed: int = 1) -> Report:
    return merged([run(scenario, randomness(seed + i)) for i in range(count)])


def largest(values: list[float], share: float) -> float:
    value = percentile(values, share)
    assert value is not None
    return value


def deaths_are_known_in_time(count: int, nodes: int, typical: float) -> None:
    report = runs(count, Scenario(nodes, 16, loss=0.05, kill=1))
    assert report.never_everywhere == 0
    assert report.false_deaths == 0
    assert len(report.dead_everywhere) == count
    assert median(report.dead_everywhere) < typical
    assert largest(report.dead_everywhere, 0.99) < 5.0
    assert report.converged_after is not None


def test_ten_members_at_5_percent_loss() -> None:
    deaths_are_known_in_time(30, 10, 2.6)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "typical"), [(3, 2.6), (5, 2.6), (10, 2.6), (25, 3.5)])
def test_deaths_are_known_everywhere_in_time(nodes: int, typical: float) -> None:
    deaths_are_known_in_time(100, nodes, typical)


def test_the_quiet_load_of_a_member_does_not_grow() -> None:
    loads = {}
    for nodes in (10, 100):
        quiet, longer = (runs(1, Scenario(nodes, seconds)) for seconds in (20, 60))
        sent = longer.messages_per_period * 60 - quiet.messages_per_period * 20
        loads[nodes] = sent / 40  # the first 20 s have the news of everybody's start
    assert loads[10] == pytest.approx(2.0, rel=0.1)
    assert loads[100] == pytest.approx(loads[10], rel=0.05)


@pytest.mark.slow
def test_a_thousand_members() -> None:
    """First detection and load as at ten, dissemination with the logarithm: about 1.5 times per factor ten."""
    few = runs(400, Scenario(10, 12, kill=1))
    many = runs(4, Scenario(1000, 30, kill=50))
    assert mean(few.first_detection) < 2.1 * PERIOD
    assert mean(many.first_detection) < 2.1 * PERIOD
    assert mean(many.first_detection) == pytest.approx(mean(few.first_detection), rel=0.1)
    assert many.false_deaths == few.false_deaths == 0
    assert many.never_everywhere == 0
    shortest = [FEEDS.suspicion_bounds(nodes)[0] for nodes in (10, 1000)]
    spread = [
        median(report.dead_everywhere) - mean(report.first_detection) - bound
        for report, bound in zip((few, many), shortest, strict=True)
    ]
    assert spread[1] < 3 * max(spread[0], PERIOD / 2)


def seconds_to_reach_all(nodes: int, changes: int = 10) -> float:
    """From a change of meta until everybody knows it, on average."""
    network = Network(randomness(nodes))
    members = network.grown(nodes)
    network.run(3)
    times = []
    for i in range(changes):
        began, meta, source = network.now, b"%d" % i, members[i % nodes]
        name = source.membership.own.name
        source.membership.set_meta(meta, began)
        network.settle(source)

        def known(name: str = name, meta: bytes = meta) -> bool:
            seen = (node.membership.member(name) for node in members)
            return all(member is not None and member.meta == meta for member in seen)

        assert network.run_until(known, began + 5, 0.01)
        times.append(network.now - began)
        network.run(network.now + 1)
    return mean(times)


def test_news_spreads_with_the_logarithm_of_the_members() -> None:
    """A factor of five costs about the same each time, and one and a half gossip intervals at most."""
    times = [seconds_to_reach_all(nodes) for nodes in (5, 25, 125)]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] < 2 * FEEDS.gossip_interval
    assert all(0 < step < 1.5 * FEEDS.gossip_interval for step in steps)


def slow_sockets(lifeguard: bool, nodes: int, pauses: Pauses, seconds: float) -> Report:
    return runs(1, Scenario(nodes, seconds, replace(LAN, lifeguard=lifeguard), pauses=pauses))


def test_lifeguard_spares_the_healthy() -> None:
    pauses = Pauses(4, 16.0, 0.1, blocked=True)
    without, with_it = slow_sockets(False, 32, pauses, 60.0), slow_sockets(True, 32, pauses, 60.0)
    assert without.false_deaths_of_healthy > 50
    assert with_it.false_deaths_of_healthy * 50 <= without.false_deaths_of_healthy


@pytest.mark.slow
@pytest.mark.parametrize("pauses", [Pauses(4, 16.0, 0.1, blocked=True), Pauses(20, 8.0, 0.5, blocked=True)])
def test_lifeguard_at_a_hundred_members(pauses: Pauses) -> None:
    without, with_it = slow_sockets(False, 100, pauses, 100.0), slow_sockets(True, 100, pauses, 100.0)
    assert without.false_deaths >= 500
    assert with_it.false_deaths * 50 <= without.false_deaths
    assert with_it.false_deaths_of_healthy == 0


@pytest.mark.parametrize(
    "nodes", [9, pytest.param(30, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)]
)
def test_ten_minutes_apart_and_together_within_one(nodes: int) -> None:
    report = runs(1, Scenario(nodes, 680, partition=Partition(0.4, 10.0, 600.0)))
    assert report.converged_after is not None
    assert report.converged_after < 60.0


def test_sealing_changes_nothing_but_bytes() -> None:
    clear, sealed = (runs(10, Scenario(10, 12, kill=1, sealed=sealed)) for sealed in (False, True))
    assert sealed.false_deaths == sealed.never_everywhere == 0
    assert mean(sealed.first_detection) < 2.5 * PERIOD
    assert sealed.bytes_per_period > 1.3 * clear.bytes_per_period


def test_the_same_seed_gives_the_same_report() -> None:
    scenario = Scenario(8, 15, loss=0.1, kill=1, pauses=Pauses(1, 1.0, 2.0), checked=True)
    assert runs(1, scenario) == runs(1, scenario)
    assert runs(1, scenario) != runs(1, scenario, seed=2)


def test_each_pair_is_probed_within_the_bound_of_the_paper() -> None:
    """Two probes of a target by the same member are at most 2n - 1 periods apart, n being its others."""
    own, others = Member("own", 1, 0, ("10.0.0.1", 1)), 9
    roster = Roster(own, Random(1), 10, 10)
    roster.preload([Member(f"m{i}", 1, 0, ("10.0.0.1", 2 + i)) for i in range(others)])
    last: dict[str, int] = {}
    gaps = []
    for period in range(5000):
        target = roster.next_target()
        assert target is not None
        gaps.append(period - last.get(target.name, period))
        last[target.name] = period
    assert 2 * others - 4 < max(gaps) <= 2 * others - 1


# The command


def test_the_command_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--nodes 5 --seconds 15 --kill 1 --loss 0.05 --runs 3 --seed 4 --check --json"
    assert main(given.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["nodes"], result["runs"], result["killed"], result["never_everywhere"]) == (5, 3, 3, 0)
    assert result["dead_everywhere_median"] < 5


def test_the_command_reports_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--nodes 6 --seconds 10 --pause 1,2,1 --partition 0.5,2,3 --lifeguard off --sealed --profile local"
    assert main(given.split()) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["nodes"] == "6"
    assert lines["first_detection_mean"] == "-"


@pytest.mark.parametrize("wrong", ["--pause 1,2", "--partition x,1,2", "--profile fast", "--lifeguard maybe"])
def test_the_command_refuses(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong.split())
    assert caught.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err
