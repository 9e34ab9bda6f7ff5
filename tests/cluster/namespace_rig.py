"""Nodes on machines of their own, as far as the network goes: network namespaces joined by a switch.

    this process (simulator, broker, clients) ── switch ── node a
                                                   ├────── node b …

Each node has an address of its own, and reaches the others, the broker and the simulator through the switch. What does
not get through is dropped in silence by the node's own packet filter, as a torn network drops it: connections stay
open, and nobody is told. Needs Linux, root, and iproute2 and iptables.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE

import trio
from cluster_rig import Cluster, log_of
from running import START_SECONDS, Rig

from level4.cli.children import Child, first_line
from level4.publish import EmbeddedBroker
from level4.rpc.client import ControlClient, connect
from level4.simulator import Simulator

GOSSIP_PORT = 7946
RPC_PORT = 50051


def ip(*arguments: str) -> None:
    run("ip", *arguments)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)


class Switch:
    """A network with this process at .1; `join` gives a namespace an address in it."""

    def __init__(self) -> None:
        self._mark = f"l4t{os.getpid() % 100_000}"
        self._hub = f"{self._mark}hub"
        self._net = f"10.{213 + os.getpid() % 40}.{os.getpid() // 40 % 250}"
        self.address = f"{self._net}.1"
        self.addresses: dict[str, str] = {}

    @contextmanager
    def up(self) -> Iterator[Switch]:
        try:
            ip("netns", "add", self._hub)
            self._in(self._hub, "ip", "link", "add", "switch", "type", "bridge")
            self._in(self._hub, "ip", "link", "set", "switch", "up")
            ip("link", "add", self._mark, "type", "veth", "peer", "name", "port1", "netns", self._hub)
            ip("addr", "add", f"{self.address}/24", "dev", self._mark)
            ip("link", "set", self._mark, "up")
            self._plug("port1")
            yield self
        finally:
            for name in [*self.addresses, ""]:
                subprocess.run(["ip", "netns", "del", self.namespace(name)], check=False, capture_output=True)

    def namespace(self, node: str) -> str:
        return f"{self._mark}{node}" if node else self._hub

    def join(self, node: str) -> str:
        """Make a namespace for a node; its address."""
        namespace, number = self.namespace(node), len(self.addresses) + 2
        self.addresses[node] = f"{self._net}.{number}"
        ip("netns", "add", namespace)
        port = f"port{number}"
        self._in(self._hub, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self._plug(port)
        self._in(namespace, "ip", "addr", "add", f"{self.addresses[node]}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            self._in(namespace, "ip", "link", "set", link, "up")
        self._in(namespace, "ip", "route", "add", "default", "via", self.address)
        return self.addresses[node]

    def part(self, some: Sequence[str], others: Sequence[str]) -> None:
        """From now on nothing gets from one side to the other."""
        for here, there in ((some, others), (others, some)):
            for node in here:
                for other in there:
                    self._filter(node, "INPUT", "-s", self.addresses[other])

    def cut(self, nodes: Sequence[str], port: int) -> None:
        """From now on these nodes do not reach a TCP port of this process, nor it them."""
        for node in nodes:
            self._filter(node, "INPUT", "-p", "tcp", "-s", self.address, "--sport", str(port))
            self._filter(node, "OUTPUT", "-p", "tcp", "-d", self.address, "--dport", str(port))

    def heal(self) -> None:
        """Everything gets through again."""
        for node in self.addresses:
            self._in(self.namespace(node), "iptables", "-w", "-F")

    def _filter(self, node: str, chain: str, *match: str) -> None:
        self._in(self.namespace(node), "iptables", "-w", "-A", chain, *match, "-j", "DROP")

    def _plug(self, port: str) -> None:
        self._in(self._hub, "ip", "link", "set", port, "master", "switch")
        self._in(self._hub, "ip", "link", "set", port, "up")

    def _in(self, namespace: str, *command: str) -> None:
        ip("netns", "exec", namespace, *command)


class SwitchedBroker(EmbeddedBroker):
    """Listens on all addresses, and is told under that of the switch."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    @property
    def endpoint(self) -> str:
        return f"{self._address}:{self.port}"

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("--listener-url") + 1] = f"tcp://0.0.0.0:{self.port}"
        return command


@dataclass
class TornCluster(Cluster):
    """A cluster whose network can be torn."""

    switch: Switch = field(default_factory=Switch)

    async def start(self, name: str, **env: str) -> ControlClient:
        """A node in a namespace of its own. It meets the others by multicast, or by `LEVEL4_SEEDS`."""
        address = self.switch.join(name)
        env = {
            "HOSTNAME": name,
            "RPC_PORT": str(RPC_PORT),
            "KAFKA_ENDPOINTS": self.rig.broker.endpoint,
            "LEVEL4_SIMULATOR": self.rig.address,
            "LEVEL4_RPC_HOST": "0.0.0.0",
            "LEVEL4_ALLOW_PLAINTEXT": "true",
            "LEVEL4_GOSSIP_HOST": "0.0.0.0",
            "LEVEL4_EGRESS_GROUP": name,
        } | env
        child = await self.stack.enter_async_context(self._running(name, env))
        client = await self.stack.enter_async_context(connect(address, RPC_PORT))
        self.nodes[name], self.clients[name] = child, client
        return client

    @asynccontextmanager
    async def _running(self, name: str, env: dict[str, str]) -> AsyncIterator[Child]:
        log = self.rig.folder / f"{name}.log"
        command = ["ip", "netns", "exec", self.switch.namespace(name), sys.executable, "-m", "level4"]
        with log.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                [*command, "node", "--announce", "--log-format", "json"],
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=stderr,
                env={**os.environ, **env},
                start_new_session=True,
            )
        child = Child(process, name, log)
        try:
            await first_line(child, START_SECONDS)
            yield child
        finally:
            with trio.CancelScope(shield=True):
                await child.stop()
                assert process.stdout is not None
                await process.stdout.aclose()

    def told(self, event: str, member: str) -> set[str]:
        """The nodes whose log says that of a member, the last thing it says of it."""
        found = set()
        for name, child in self.nodes.items():
            said = [line for line in log_of(child) if line.get("member") == member]
            if said and said[-1]["event"] == event:
                found.add(name)
        return found


@asynccontextmanager
async def torn_cluster(folder: Path, rate: float = 10) -> AsyncIterator[TornCluster]:
    with Switch().up() as switch, SwitchedBroker(switch.address) as broker:
        async with trio.open_nursery() as nursery:
            simulator = Simulator(rate=rate, trade_rate=2)
            port = await nursery.start(simulator.serve, switch.address, 0)
            rig = Rig(simulator, broker, f"{switch.address}:{port}", folder)
            async with rig.reading(), AsyncExitStack() as stack:
                yield TornCluster(rig, stack, switch=switch)
            nursery.cancel_scope.cancel()
