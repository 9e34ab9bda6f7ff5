"""`level4 simulate`: the exchanges on this machine, from recordings or made up."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import click
import trio

from level4.model import ConfigError
from level4.ops import logs
from level4.simulator import Simulator


class _Speed(click.ParamType[float | None]):
    name = "number or max"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value == "max":
            return None
        try:
            speed = float(str(value))
        except ValueError:
            speed = 0.0
        if not 0 < speed < 1e6:
            self.fail(f"expected a number above 0 or max, got {value!r}", param, ctx)
        return speed


@click.command()
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve this recording (repeatable). Without any: synthetic markets of every exchange.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9500, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--speed", type=_Speed(), default="1", help="Pace of recordings: 2, 0.5, max.")
@click.option("--loop", is_flag=True, help="Begin a recording again after its end.")
@click.option("--markets", default=0, help="Synthetic: list at least so many markets on each exchange.")
@click.option("--rate", default=20.0, show_default=True, help="Synthetic: book updates a second for each market.")
@click.option("--trade-rate", default=2.0, show_default=True, help="Synthetic: trades a second for each market.")
@click.option("--seed", default=0, show_default=True, help="Synthetic: seed of the random walk.")
def simulate(
    recordings: tuple[Path, ...],
    host: str,
    port: int,
    speed: float | None,
    loop: bool,
    markets: int,
    rate: float,
    trade_rate: float,
    seed: int,
) -> None:
    """Play every exchange that level4 knows, on one port: WebSocket and REST, spot and derivatives.

    A node with LEVEL4_SIMULATOR=HOST:PORT sends all its exchange connections here. Counts of what was served are at
    http://HOST:PORT/_level4/stats. Limits are those of the real ones: who asks too often is refused.
    """
    logs.configure()
    simulator = Simulator(
        recordings=recordings,
        speed=speed,
        loop=loop,
        markets=markets,
        rate=rate,
        trade_rate=trade_rate,
        seed=seed,
    )
    trio.run(partial(_serve, simulator, host, port))


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            try:
                bound = await nursery.start(simulator.serve, host, port)
            except OSError as error:
                raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
            click.echo(f"simulator on {host}:{bound}; for a node: LEVEL4_SIMULATOR={host}:{bound}")
            async for _ in signals:
                nursery.cancel_scope.cancel()
                return
