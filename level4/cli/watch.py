"""`level4 watch`: markets straight from the exchange, as a node would see them, without a node or Kafka."""

from __future__ import annotations

import sys
from collections import deque
from functools import partial

import click
import trio
from rich.console import Console
from rich.live import Live

from level4.cli.board import Board
from level4.cli.direct import Numbered, running, settings_for, source_options, until_told
from level4.cli.show import event_json, event_line
from level4.model import Event
from level4.ops.settings import Settings

_WAITING = 10_000
"""Lines that may wait for a slow reader of our output; the oldest are then dropped, and counted."""


@click.command()
@click.argument("markets", metavar="MARKET…", nargs=-1, required=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so long (default: Ctrl-C).")
@click.option("--lines", is_flag=True, help="Print events as lines, also on a terminal.")
@click.option("--json", "as_json_", is_flag=True, help="Print events as lines of JSON, as they would be in Kafka.")
@source_options
def watch(
    markets: tuple[str, ...],
    seconds: float | None,
    lines: bool,
    as_json_: bool,
    config: str | None,
    simulator: str | None,
) -> None:
    """Show the top of the book and the trades of markets, straight from their exchange.

    A MARKET is written kraken:BTC/USD, binance:BTC/USDT:USDT, kraken:XBT/USD or KRAKEN.SPOT:BTC-USD. The feeds run in
    this process, with the settings of a node (LEVEL4_SIMULATOR, LEVEL4_PROTOCOLS, LEVEL4_SPREAD_TRIGGER …); no Kafka
    and no node is needed. The market ids shown are 1, 2, 3 … in the order given.
    """
    settings = settings_for(config, simulator)
    if as_json_ or lines or not Console().is_terminal:
        trio.run(_print, settings, markets, seconds, as_json_)
    else:
        trio.run(_show, settings, markets, seconds)


async def _show(settings: Settings, markets: tuple[str, ...], seconds: float | None) -> None:
    board = Board()
    console = Console()
    async with running(settings, markets, Numbered(board.take)), trio.open_nursery() as nursery:
        with Live(console=console, auto_refresh=False) as live:

            async def refresh() -> None:
                while True:
                    live.update(board.table("straight from the exchange · Ctrl-C ends"), refresh=True)
                    await trio.sleep(0.25)

            nursery.start_soon(refresh)
            await until_told(seconds)
            nursery.cancel_scope.cancel()


async def _print(settings: Settings, markets: tuple[str, ...], seconds: float | None, as_json_: bool) -> None:
    lines = _Lines()
    text = event_json if as_json_ else event_line

    def take(event: Event) -> None:
        lines.put(text(event))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.run)
        async with running(settings, markets, Numbered(take)):
            await until_told(seconds)
        lines.end()
    if lines.dropped:
        click.echo(f"level4: {lines.dropped} events were not shown: the output was read too slowly", err=True)


class _Lines:
    """Lines on their way to standard output, written in a thread so that a slow reader does not hold up the feeds."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[str] = deque()
        self._woken = trio.Event()
        self._ending = False

    def put(self, line: str) -> None:
        if len(self._waiting) >= _WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(line)
        self._woken.set()

    def end(self) -> None:
        """Write what is there, then stop."""
        self._ending = True
        self._woken.set()

    async def run(self) -> None:
        while self._waiting or not self._ending:
            if not self._waiting:
                self._woken = trio.Event()
                await self._woken.wait()
                continue
            text = "".join(f"{line}\n" for line in self._waiting)
            self._waiting.clear()
            await trio.to_thread.run_sync(partial(_write, text), abandon_on_cancel=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
