"""`level4 demo`: the whole way on one machine, and the proof that nothing was lost on it.

    simulator (or the real exchanges) ─▶ node ─▶ embedded Kafka-compatible broker ─▶ this process, a consumer

Broker, simulator and node are processes of their own; the markets are started over gRPC, as a user would. At the end
the simulator is asked what it sent, and that is compared with what came out of Kafka.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import httpx
import trio
from rich.console import Console
from rich.live import Live

from level4.cli.board import Board
from level4.cli.children import Child, first_line, level4
from level4.client import AsyncReader
from level4.model import UnavailableError
from level4.proto.level4_pb2 import Market
from level4.publish import EmbeddedBroker
from level4.rpc.client import connect

START_SECONDS: Final = 30.0
LIVE_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 10.0
"""How long the last events may take to come out of Kafka after the simulator was paused."""

MARKETS: Final = (
    Market(id=1, exchange_name="KRAKEN", type="SPOT", base_symbol="BTC", quote_symbol="USD"),
    Market(id=2, exchange_name="BINANCE", type="SPOT", base_symbol="ETH", quote_symbol="USDT"),
    Market(id=3, exchange_name="COINBASE", type="SPOT", base_symbol="SOL", quote_symbol="USD"),
)


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), help="End after so long (default: Ctrl-C).")
@click.option("--live", is_flag=True, help="The real exchanges instead of the simulator.")
@click.option("--rate", default=20.0, show_default=True, help="Simulator: book updates a second for each market.")
def demo(seconds: float | None, live: bool, rate: float) -> None:
    """Show live spreads and trades, read back from Kafka.

    Starts an embedded Kafka-compatible broker, a simulator of exchanges and a node with three markets, and follows
    what the node publishes. Exit code 0 means: every price change and trade the simulator made came out of Kafka.
    """
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory(prefix="level4-demo-") as folder:
        show = _Demo(broker.endpoint, Path(folder), seconds, live, rate)
        sys.exit(trio.run(show.run))


class _Demo:
    def __init__(self, kafka: str, folder: Path, seconds: float | None, live: bool, rate: float) -> None:
        self._kafka = kafka
        self._folder = folder
        self._seconds = seconds
        self._live = live
        self._rate = rate
        self._board = Board()
        self._console = Console(width=None if sys.stdout.isatty() else 110)
        self._enough = trio.Event()

    async def run(self) -> int:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            await nursery.start(self._listen)
            simulator = None if self._live else await stack.enter_async_context(self._simulator())
            node, port = await stack.enter_async_context(self._node(simulator))
            reader = await stack.enter_async_context(self._reader())
            nursery.start_soon(self._read, reader)
            try:
                await self._start_markets(port)
                await self._follow()
                sent = None if simulator is None else await self._wait_for_the_rest(simulator)
            except UnavailableError as error:
                self._console.print(f"[red]{error}[/]\nThe node's last words:\n{node.tail()}")
                return 5
            finally:
                nursery.cancel_scope.cancel()
        return self._verdict(sent)

    async def _listen(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self._enough.set()

    @asynccontextmanager
    async def _simulator(self) -> AsyncIterator[str]:
        arguments = ["simulate", "--port", "0", "--rate", str(self._rate), "--trade-rate", str(self._rate / 10)]
        async with level4("simulator", arguments, self._folder, {}) as child:
            line = await first_line(child, START_SECONDS)
            yield line.rpartition("=")[2]

    @asynccontextmanager
    async def _node(self, simulator: str | None) -> AsyncIterator[tuple[Child, int]]:
        env = {"KAFKA_ENDPOINTS": self._kafka, "RPC_PORT": "0", "HOSTNAME": "demo"}
        env |= {"LEVEL4_GOSSIP_PORT": "0", "LEVEL4_MULTICAST": "false"}  # it meets nobody
        if simulator is not None:
            env["LEVEL4_SIMULATOR"] = simulator
        async with level4("node", ["node", "--log-format", "json", "--announce"], self._folder, env) as child:
            line = await first_line(child, START_SECONDS)
            yield child, int(line.rpartition(":")[2])

    async def _start_markets(self, port: int) -> None:
        source = "the real exchanges" if self._live else "a simulator"
        self._console.print(f"node on 127.0.0.1:{port}, Kafka on {self._kafka}, prices from {source}")
        async with connect("127.0.0.1", port) as control, trio.open_nursery() as nursery:
            with trio.move_on_after(START_SECONDS):
                while not await control.is_serving():  # noqa: ASYNC110 - another process becomes ready
                    await trio.sleep(0.1)
            for market in MARKETS:
                nursery.start_soon(partial(control.start_market, market, wait_live=True, timeout=LIVE_SECONDS))

    def _reader(self) -> AsyncReader:
        # By default a consumer lets the broker wait 500 ms for more before it answers.
        return AsyncReader([self._kafka], start="beginning", options={"fetch_max_wait_ms": 20})

    async def _read(self, reader: AsyncReader) -> None:
        async for record in reader:
            self._board.take(record.event)

    async def _follow(self) -> None:
        """Show the board until it is enough."""
        title = "read back from Kafka" + ("" if self._seconds else " · Ctrl-C ends")
        with trio.move_on_after(self._seconds or float("inf")):
            if not self._console.is_terminal:
                while not self._enough.is_set():
                    with trio.move_on_after(5):
                        await self._enough.wait()
                    self._console.print(self._board.table(title))
                return
            with Live(self._board.table(title), console=self._console, auto_refresh=False) as live:
                while not self._enough.is_set():
                    with trio.move_on_after(0.25):
                        await self._enough.wait()
                    live.update(self._board.table(title), refresh=True)

    async def _wait_for_the_rest(self, simulator: str) -> Mapping[str, Any]:
        """Stop the simulator's prices and wait until its counts have come out of Kafka, or long enough."""
        async with httpx.AsyncClient(base_url=f"http://{simulator}/_level4") as client:
            await client.post("/pause")
            sent: Mapping[str, Any] = {}
            with trio.move_on_after(SETTLE_SECONDS):
                while True:
                    sent = (await client.get("/stats")).json()["exchanges"]
                    if all(ours == theirs for _, ours, theirs in self._compare(sent)):
                        break
                    await trio.sleep(0.1)
        return sent

    def _compare(self, sent: Mapping[str, Any]) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
        """(market, (price changes, trades) read back, the same as the simulator sent it)."""
        rows = []
        for market in MARKETS:
            mine = self._board.rows.get(market.id)
            counts = [count for name, count in sent.get(market.exchange_name, {}).items() if _is(name, market)]
            theirs = (sum(c["best_price_changes"] for c in counts), sum(c["trades"] for c in counts))
            name = f"{market.exchange_name} {market.base_symbol}/{market.quote_symbol}"
            rows.append((name, (mine.price_changes, mine.trades) if mine else (0, 0), theirs))
        return rows

    def _verdict(self, sent: Mapping[str, Any] | None) -> int:
        self._console.print(self._board.table("at the end"))
        whole = not self._board.losses
        if sent is None:
            return 0 if whole else 1
        for name, ours, theirs in self._compare(sent):
            equal = "equal" if ours == theirs else "[red]DIFFERENT[/]"
            self._console.print(
                f"{name}: {theirs[0]} price changes and {theirs[1]} trades sent,"
                f" {ours[0]} and {ours[1]} read back: {equal}"
            )
            whole = whole and ours == theirs and ours[0] > 0
        self._console.print("nothing lost, nothing added" if whole else "[red]the account does not add up[/]")
        return 0 if whole else 1


def _is(native: str, market: Market) -> bool:
    return native.replace("/", "").replace("-", "") == market.base_symbol + market.quote_symbol
