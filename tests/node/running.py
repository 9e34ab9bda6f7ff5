"""A real node process against an embedded broker and a simulator, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from level4.cli.children import Child, first_line, level4
from level4.client import AsyncReader
from level4.model import Event, Spread
from level4.publish import EmbeddedBroker
from level4.publish.embedded import BrokerProcess
from level4.simulator import Simulator

START_SECONDS = 30.0


@dataclass
class Rig:
    """What a test holds in its hands: the simulator, the broker, and where the node is to go."""

    simulator: Simulator
    broker: BrokerProcess
    address: str
    folder: Path
    events: list[Event] = field(default_factory=list)
    read_at: list[float] = field(default_factory=list)
    """When each of `events` was read, monotonic seconds."""
    newest: dict[int, Spread] = field(default_factory=dict)
    """By market the newest spread event that counts: what is of a lower epoch than seen does not."""
    _changed: trio.Event = field(default_factory=trio.Event)

    @asynccontextmanager
    async def node(self, markets: Sequence[str], *arguments: str, **env: str) -> AsyncIterator[Child]:
        """`level4 node` with these markets, up and running."""
        flags = [flag for market in markets for flag in ("--market", market)]
        env = {"KAFKA_ENDPOINTS": self.broker.endpoint, "LEVEL4_SIMULATOR": self.address, "RPC_PORT": "0"} | env
        alone = {"LEVEL4_CLUSTER": f"test-{self.broker.port}", "LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}
        env = alone | env
        command = ["node", "--announce", "--log-format", "json", *flags, *arguments]
        async with level4(env.get("HOSTNAME", "node"), command, self.folder, env) as child:
            await first_line(child, START_SECONDS)
            yield child

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Gather everything that is in Kafka and comes to be there into `events`, in the order read."""
        reader = AsyncReader(
            [self.broker.endpoint], start="beginning", patience=START_SECONDS, options={"fetch_max_wait_ms": 20}
        )

        async def read() -> None:
            async with reader:  # waits until a node has made the topics
                async for record in reader:
                    self.events.append(record.event)
                    self.read_at.append(trio.current_time())
                    self._take_newest(record.event)
                    self._changed.set()
                    self._changed = trio.Event()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            yield
            nursery.cancel_scope.cancel()

    def _take_newest(self, event: Event) -> None:
        if isinstance(event, Spread):
            known = self.newest.get(event.market_id)
            if known is None or event.epoch >= known.epoch:
                self.newest[event.market_id] = event

    async def until(self, done: Callable[[list[Event]], bool], seconds: float = 30.0) -> None:
        """Wait until the events read satisfy `done`; fails with what is there when they do not in time."""
        with trio.move_on_after(seconds):
            while not done(self.events):
                await self._changed.wait()
            return
        last = "\n".join(str(event) for event in self.events[-10:])
        raise AssertionError(f"not within {seconds:g} s; {len(self.events)} events, the last are\n{last}")


@asynccontextmanager
async def rig(simulator: Simulator, folder: Path, broker: BrokerProcess | None = None) -> AsyncIterator[Rig]:
    """`broker`: another one than the embedded, not started yet."""
    with broker or EmbeddedBroker() as broker:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(simulator.serve, "127.0.0.1", 0)
            yield Rig(simulator, broker, f"127.0.0.1:{port}", folder)
            nursery.cancel_scope.cancel()
