"""`level4 replay`: recordings in, events out, as JSON lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click
import msgspec

from level4.model import TOPIC_OF
from level4.recording import Replay


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--symbol", "symbols", multiple=True, metavar="NATIVE", help="Only this native symbol (repeatable).")
@click.option(
    "--spread-trigger",
    type=click.Choice(["price", "size"]),
    default="price",
    show_default=True,
    help="Whether a spread event is due to a change of a best price, or also of a size at the best.",
)
def replay(files: tuple[Path, ...], symbols: tuple[str, ...], spread_trigger: Literal["price", "size"]) -> None:
    """Replay recordings through the same decoding, synchronisation and book code as live.

    Prints the events as JSON lines, each with its topic, the recording's file name and frame number, and the
    exchange's own symbol. Deterministic: no network, no timers, term 0, node "replay".
    """
    run = Replay(symbols=symbols, spread_trigger=spread_trigger)
    encode = msgspec.json.encode
    write = sys.stdout.buffer.write
    for event, file, frame, native_symbol in run.run(files):
        place = {"topic": TOPIC_OF[type(event)], "file": file, "frame": frame, "native_symbol": native_symbol}
        write(encode(place)[:-1] + b"," + encode(event)[1:] + b"\n")
    sys.stdout.buffer.flush()
    for kind, count in run.errors.items():
        click.echo(f"level4: {count} frames could not be handled: {kind}", err=True)
    unseen = set(symbols) - {symbol for _, symbol in run.ids()}
    if unseen:
        click.echo(f"level4: no data of {', '.join(sorted(unseen))} in these recordings", err=True)
