"""Several real nodes of one cluster on loopback, for tests."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from running import Rig, rig

from level4.cli.children import Child
from level4.model import Event, FeedState, Spread
from level4.model.events import RUNS_PER_TERM
from level4.proto.level4_pb2 import Market, Node
from level4.publish.embedded import BrokerProcess
from level4.rpc.client import ControlClient, connect
from level4.rpc.errors import NodeUnavailableError
from level4.rpc.security import Credentials
from level4.simulator import Simulator


@dataclass
class Cluster:
    """`nodes`, `clients`: by name, those that were started."""

    rig: Rig
    stack: AsyncExitStack
    nodes: dict[str, Child] = field(default_factory=dict)
    clients: dict[str, ControlClient] = field(default_factory=dict)
    seeds: dict[str, str] = field(default_factory=dict)
    """Gossip addresses of the nodes, by name."""

    async def start(self, name: str, **env: str) -> ControlClient:
        """A node that finds the others by seeds."""
        cluster = {"HOSTNAME": name, "LEVEL4_EGRESS_GROUP": name, "LEVEL4_SWIM_PROFILE": "local"}
        cluster["LEVEL4_SEEDS"] = ",".join(address for node, address in self.seeds.items() if node in self.nodes)
        child = await self.stack.enter_async_context(self.rig.node([], **(cluster | env)))
        started = [line for line in log_of(child) if line["event"] == "node started"][-1]
        self.seeds[name] = str(started["gossip"])
        port = int(str(started["control"]).rpartition(":")[2])
        client = await self.stack.enter_async_context(connect("127.0.0.1", port, credentials=credentials_of(env)))
        self.nodes[name], self.clients[name] = child, client
        return client

    async def start_all(self, *names: str, **env: str) -> None:
        """These nodes, each seen by all and ready."""
        for name in names:
            await self.start(name, **env)
        for client in self.clients.values():
            await until_nodes(client, lambda nodes: {n.name for n in nodes if n.state == "READY"} >= set(names))

    def all_live(self, ids: set[int], nodes: Collection[str]) -> Callable[[list[Event]], bool]:
        """For `rig.until`: whether these markets, and no others, are LIVE on these nodes."""

        def done(_events: list[Event]) -> bool:
            newest = self.rig.newest.items()
            return {n for n, event in newest if event.node in nodes and event.state is FeedState.LIVE} == ids

        return done

    async def kill(self, name: str) -> None:
        child = self._forget(name)
        child.process.kill()
        await child.process.wait()

    async def end(self, name: str) -> int | None:
        """End a node in order; its exit code."""
        return await self._forget(name).stop()

    def _forget(self, name: str) -> Child:
        self.clients.pop(name)
        return self.nodes.pop(name)


def credentials_of(env: Mapping[str, str]) -> Credentials:
    """Those of somebody with the same settings."""
    ca, cert = (Path(env[name]) if name in env else None for name in ("LEVEL4_TLS_CA", "LEVEL4_TLS_CERT"))
    file = env.get("LEVEL4_TOKENS_FILE")
    token = env.get("LEVEL4_TOKENS") if file is None else Path(file).read_text().split()[0]
    return Credentials(ca, cert, None, env.get("LEVEL4_TLS_SERVER_NAME"), token)


def log_of(child: Child) -> list[dict[str, object]]:
    return [json.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]


@asynccontextmanager
async def cluster(
    folder: Path, rate: float = 5, trade_rate: float = 2, broker: BrokerProcess | None = None
) -> AsyncIterator[Cluster]:
    simulator = Simulator(rate=rate, trade_rate=trade_rate)
    async with rig(simulator, folder, broker) as it, it.reading(), AsyncExitStack() as stack:
        yield Cluster(it, stack)


async def until_nodes(client: ControlClient, done: Callable[[list[Node]], bool], seconds: float = 20) -> list[Node]:
    found: list[Node] = []
    with trio.move_on_after(seconds):
        while not done(found := await client.list_nodes()):  # noqa: ASYNC110 - another process
            await trio.sleep(0.1)
        return found
    raise AssertionError(f"not within {seconds:g} s: {found}")


async def until_markets(
    client: ControlClient, done: Callable[[list[Market]], bool], seconds: float = 20
) -> list[Market]:
    found: list[Market] = []
    with trio.move_on_after(seconds):
        while not done(found := await client.list_markets()):  # noqa: ASYNC110 - another process
            await trio.sleep(0.1)
        return found
    raise AssertionError(f"not within {seconds:g} s: {found}")


def market(market_id: int, base: str = "BTC", exchange: str = "KRAKEN", quote: str = "USD") -> Market:
    return Market(id=market_id, exchange_name=exchange, type="SPOT", base_symbol=base, quote_symbol=quote)


def crowd(count: int) -> list[Market]:
    """Markets 1 … `count`, of four exchanges and five bases: books that come in-stream and by REST, with and without
    checksums."""
    quotes = {"KRAKEN": "USD", "COINBASE": "USD", "OKX": "USDT", "BINANCE": "USDT"}
    bases = ("BTC", "ETH", "SOL", "XRP", "ADA")
    several = zip(range(1, count + 1), itertools.cycle(quotes), itertools.cycle(bases))
    return [market(n, base, exchange, quotes[exchange]) for n, exchange, base in several]


async def started(client: ControlClient, *markets: Market) -> None:
    """A node that has just come up may still be reading the log."""
    for one in markets:
        with trio.fail_after(20):
            while True:
                try:
                    await client.start_market(one)
                    break
                except NodeUnavailableError:
                    await trio.sleep(0.05)


def hosts(markets: list[Market]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for one in markets:
        found[one.node].add(one.id)
    return dict(found)


def accepted(events: list[Event]) -> list[Spread]:
    """The spread events that a consumer takes who drops what is of a lower epoch than it has seen."""
    highest: dict[int, int] = {}
    taken = []
    for event in events:
        if isinstance(event, Spread) and event.epoch >= highest.get(event.market_id, 0):
            highest[event.market_id] = event.epoch
            taken.append(event)
    return taken


def live_on(events: list[Event], node: str) -> set[int]:
    """Ids of the markets whose newest accepted spread event is LIVE and that node's."""
    newest = {event.market_id: event for event in accepted(events)}
    return {one for one, event in newest.items() if event.node == node and event.state is FeedState.LIVE}


def terms(events: list[Event], market_id: int) -> dict[int, str]:
    """Terms of a market in the order of their coming, with who published in them."""
    return {
        event.epoch // RUNS_PER_TERM: event.node
        for event in events
        if isinstance(event, Spread) and event.market_id == market_id
    }
