"""Random faults, invariants after each step, and in the end all agree. The seed says everything.

Each storm plays on a small cluster: nodes die, restart, stop, lose their sockets, leave, come anew, take another's
name; the network loses and divides. Then all is well again, and within two virtual minutes all views must be equal,
nobody suspected, and no news left to tell.
"""

from __future__ import annotations

from random import Random

import pytest
from virtual import Judged

from level4.swim import FEEDS, LOCAL, Keyring, Phase
from level4.swim.simulation.network import Node, where

QUICK = range(16)
MANY = range(16, 316)


def storm(seed: int) -> Judged:
    rng = Random(seed)
    keyring = Keyring([bytes(range(32))]) if rng.random() < 0.5 else None
    config = rng.choice([FEEDS, LOCAL])
    net = Judged(seed, config=config, loss=rng.choice([0.0, 0.05, 0.2]), keyring=keyring)
    net.grown(rng.randrange(3, 8))
    fresh = 100

    def pick() -> Node:
        return rng.choice(net.running())

    def seeds() -> list[tuple[str, int]]:
        return [node.address for node in net.running()]

    for _ in range(10):
        net.run(net.now + rng.choice([0.05, 0.5, 3.0, 6.0]))
        choice = rng.randrange(11)
        few = len(net.running()) <= 2
        if choice in (0, 1) and not few:
            node = pick()
            net.kill(node)
            if choice == 1:
                net.run(net.now + rng.choice([0.01, 1.0, 5.0]))
                fresh += 1
                there = node.address if rng.random() < 0.5 else where(fresh)
                net.start(node.membership.own.name, there, seeds=seeds())
        elif choice == 2:
            net.pause(pick(), rng.choice([0.3, 2.0, 9.0]))
        elif choice == 3:
            net.block(pick(), rng.choice([0.3, 2.0, 9.0]))
        elif choice == 4 and not few:
            pick().membership.leave(net.now)
        elif choice in (5, 6):
            fresh += 1
            name = f"new{fresh}" if choice == 5 else pick().membership.own.name
            net.start(name, where(fresh), seeds=seeds())
        elif choice == 7:
            node = pick()
            if node.membership.phase is Phase.ACTIVE:
                node.membership.set_meta(rng.randbytes(rng.choice([0, 8, 512])), net.now)
        elif choice in (8, 9):
            nodes = net.running()
            rng.shuffle(nodes)
            net.divide([nodes[: len(nodes) // 2]])
        else:
            net.heal()
    net.heal()
    net.loss = 0.0
    net.run(net.now + 10)  # whoever is stopped runs again
    assert net.run_until(net.quiet, net.now + 120, 0.5), f"storm({seed}): views differ"
    for node in net.running():
        assert node.membership.stats.events_lost == 0
        assert not set(node.membership.stats.dropped) - {"replayed", "unknown_session"}, f"storm({seed})"
    return net


@pytest.mark.parametrize("seed", QUICK)
def test_after_a_storm_all_agree(seed: int) -> None:
    storm(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_after_many_storms_all_agree(seed: int) -> None:
    storm(seed)
