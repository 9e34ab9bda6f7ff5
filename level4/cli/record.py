"""`level4 record`: live connections into recordings that `level4 replay` and `level4 simulate` understand."""

from __future__ import annotations

from pathlib import Path

import click
import trio
from rich.console import Console
from rich.live import Live

from level4.cli.board import Board
from level4.cli.direct import Numbered, running, settings_for, source_options, until_told
from level4.cli.show import as_json, table
from level4.ops.settings import Settings
from level4.recording import Recorder


@click.command()
@click.argument("markets", metavar="MARKET…", nargs=-1, required=True)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("recordings"),
    show_default=True,
    help="Where EXCHANGE.TYPE folders are made.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so long (default: Ctrl-C).")
@click.option("--json", "as_json_", is_flag=True, help="At the end list the files as JSON.")
@source_options
def record(
    markets: tuple[str, ...],
    folder: Path,
    seconds: float | None,
    as_json_: bool,
    config: str | None,
    simulator: str | None,
) -> None:
    """Record everything that passes over the connections of markets.

    One file for each connection; one that is made anew begins a new file. REST snapshots stand among the frames, the
    exchange's instrument list lies beside as instruments.json.gz. Files are whole, line by line, a second after the
    event, and when cut short are readable up to their last whole line.
    """
    settings = settings_for(config, simulator)
    recorder = Recorder(folder)
    board = Board()
    trio.run(_record, settings, markets, seconds, recorder, board)
    if as_json_:
        kept = [{"file": str(f.path), "events": f.events, "frames": f.frames, "lost": f.lost} for f in recorder.files]
        as_json(kept)
    else:
        table(("file", "events", "frames"), [(f.path, f.events, f.frames) for f in recorder.files])
    if recorder.error is not None:
        raise recorder.error


async def _record(
    settings: Settings, markets: tuple[str, ...], seconds: float | None, recorder: Recorder, board: Board
) -> None:
    async with trio.open_nursery() as outer:
        await outer.start(recorder.run)
        async with running(settings, markets, Numbered(board.take), recorder), trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_failed, recorder, nursery.cancel_scope)
            nursery.start_soon(_show_progress, recorder, board)
            await until_told(seconds)
            nursery.cancel_scope.cancel()
        outer.cancel_scope.cancel()


async def _cancel_when_failed(recorder: Recorder, scope: trio.CancelScope) -> None:
    await recorder.failed.wait()
    scope.cancel()


async def _show_progress(recorder: Recorder, board: Board) -> None:
    """On a terminal: what comes in, and what has been written."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            frames = sum(file.frames for file in recorder.files)
            written = f"{frames} frames in {len(recorder.files)} files under {recorder.folder}"
            live.update(board.table("recording · Ctrl-C ends", written), refresh=True)
            await trio.sleep(0.5)
