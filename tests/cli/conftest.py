"""One broker, one simulator and one node, all real processes, for the tests of the commands."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest
from commands import SECONDS, Commands, end


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Commands that need nobody: no node, no broker, no exchange."""
    nowhere = {"RPC_PORT": "1", "KAFKA_ENDPOINTS": "127.0.0.1:1", "LEVEL4_SIMULATOR": "127.0.0.1:1"}
    nowhere |= {"LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}
    clean = {name: text for name, text in os.environ.items() if not name.startswith("LEVEL4_") and name != "HOSTNAME"}
    return Commands({**clean, "PYTHONPATH": os.pathsep.join(sys.path), **nowhere}, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def simulated(plain: Commands, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands whose exchanges are a simulator."""
    process = plain.start("simulate", "--port", "0", "--rate", "40", "--trade-rate", "10")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip().rpartition("=")[2]
        assert address, process.stderr.read() if process.stderr else ""
        env = plain.env | {"LEVEL4_SIMULATOR": address}
        yield Commands(env, tmp_path_factory.mktemp("simulated"), {"127.0.0.1:9500": address})
    finally:
        end(process)


@pytest.fixture(scope="session")
def with_node(simulated: Commands, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Commands for a node that is ready, with Kafka behind it; room for four markets."""
    from level4.publish import EmbeddedBroker  # in here, where the warnings of its imports are known

    folder = tmp_path_factory.mktemp("node")
    with EmbeddedBroker() as broker:
        env = simulated.env | {"KAFKA_ENDPOINTS": broker.endpoint, "RPC_PORT": "0", "MAX_DATA_FEEDS": "4"}
        node = Commands(env, folder).start("node", "--announce", "--log-level", "error")
        try:
            assert node.stdout is not None
            port = node.stdout.readline().strip().rpartition(":")[2]
            assert port, node.stderr.read() if node.stderr else ""
            env = env | {"RPC_PORT": port}
            addresses = {"localhost:9092": broker.endpoint, "localhost:50051": f"127.0.0.1:{port}"}
            commands = Commands(env, folder, simulated.addresses | addresses)
            deadline = time.monotonic() + SECONDS
            while (nodes := commands("nodes", "--json")).code or nodes.json[0]["state"] != "READY":
                assert time.monotonic() < deadline, nodes
                time.sleep(0.1)
            yield commands
        finally:
            ended = end(node)
    assert ended.code == 0, ended.err


@pytest.fixture
def node(with_node: Commands) -> Iterator[Commands]:
    """The same; its markets are stopped afterwards."""
    yield with_node
    with_node.stop_all()
