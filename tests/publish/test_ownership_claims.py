"""Two processes claim the same markets at once: one winner each, both agree, and it is quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from level4.publish import EmbeddedBroker

pytestmark = pytest.mark.broker

COUNT = 100


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def test_two_processes_claim_the_same_ids(broker: EmbeddedBroker) -> None:
    script = str(Path(__file__).with_name("ownership_claimer.py"))
    children = [
        Popen([sys.executable, script, broker.endpoint, name, str(COUNT)], stdin=PIPE, stdout=PIPE, text=True)
        for name in ("node1", "node2")
    ]
    told = []
    try:
        for word in ("ready", "claimed"):  # both are as far before both go on
            for child in children:
                assert child.stdout is not None
                assert child.stdout.readline().strip() == word
            for child in children:
                assert child.stdin is not None
                child.stdin.write("\n")
                child.stdin.flush()
        for child in children:
            assert child.stdout is not None
            told.append(json.loads(child.stdout.readline()))
            assert child.wait(10) == 0
    finally:
        for child in children:
            child.kill()
            child.communicate()
    one, other = told
    assert one["held"] == other["held"]
    assert sorted(one["won"] + other["won"]) == list(range(1, 2 * COUNT + 1)), "one winner each"
    for name, mine in (("node1", one), ("node2", other)):
        assert {int(market) for market, (host, _) in mine["held"].items() if host == name} == set(mine["won"])
    for kind in ("sequential", "burst"):
        times = one[kind] + other[kind]
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        print(f"claim to read-back, {kind}, two processes: p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(times)}")
    assert quantile(one["sequential"] + other["sequential"], 0.99) < 200
