"""Where a node says that others reach it, and whether it says so when they cannot."""

from __future__ import annotations

import pytest

from level4.model import ConfigError
from level4.ops.advertised import control_address, unreachable
from level4.ops.settings import load

OPEN = {"LEVEL4_RPC_HOST": "0.0.0.0", "LEVEL4_GOSSIP_HOST": "0.0.0.0"}


@pytest.mark.parametrize(
    ("env", "gossip", "address"),
    [
        (OPEN, "10.89.0.4", "10.89.0.4:50051"),
        (OPEN, "fd00::4", "[fd00::4]:50051"),
        (OPEN, "", ""),
        ({"LEVEL4_RPC_HOST": "10.0.0.7"}, "10.89.0.4", "10.0.0.7:50051"),
        ({}, "127.0.0.1", "127.0.0.1:50051"),
        (OPEN | {"LEVEL4_RPC_ADVERTISE": "node1.example"}, "10.89.0.4", "node1.example:50051"),
        (OPEN | {"LEVEL4_RPC_ADVERTISE": "node1.example:443"}, "10.89.0.4", "node1.example:443"),
        (OPEN | {"LEVEL4_RPC_ADVERTISE": "[fd00::9]:443"}, "", "[fd00::9]:443"),
    ],
)
def test_the_address_that_others_call(env: dict[str, str], gossip: str, address: str) -> None:
    assert control_address(load(env), gossip, 50051) == address


@pytest.mark.parametrize("name", ["LEVEL4_RPC_ADVERTISE", "LEVEL4_GOSSIP_ADVERTISE"])
@pytest.mark.parametrize("wrong", ["http://node1", "node1:", "node1:0", "node1:99999", "a b", ":50051", "[fd00::1"])
def test_what_is_no_address_is_refused_by_name(name: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load({name: wrong})


@pytest.mark.parametrize(
    ("env", "gossip", "named"),
    [
        ({}, "127.0.0.1", []),
        (OPEN, "10.89.0.4", []),
        (OPEN, "127.0.0.1", ["LEVEL4_GOSSIP_ADVERTISE", "LEVEL4_RPC_ADVERTISE"]),
        ({"LEVEL4_SEEDS": "node1:7946"}, "127.0.0.1", ["LEVEL4_GOSSIP_HOST", "LEVEL4_RPC_HOST"]),
        ({"LEVEL4_SEEDS": "127.0.0.1:7946"}, "127.0.0.1", []),
        ({"LEVEL4_GOSSIP_HOST": "0.0.0.0"}, "10.89.0.4", ["LEVEL4_RPC_HOST"]),
        ({"LEVEL4_GOSSIP_HOST": "0.0.0.0", "LEVEL4_RPC_ADVERTISE": "node1.example"}, "10.89.0.4", []),
        (OPEN | {"LEVEL4_RPC_ADVERTISE": "localhost"}, "10.89.0.4", ["LEVEL4_RPC_ADVERTISE"]),
    ],
)
def test_an_address_that_cannot_work_is_told_with_a_remedy(env: dict[str, str], gossip: str, named: list[str]) -> None:
    problems = unreachable(load(env), gossip, 50051)
    assert len(problems) == len(named)
    assert all(name in problem for name, problem in zip(named, problems, strict=True))
