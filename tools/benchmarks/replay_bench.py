"""`tools/bench replay`: the pure hot path on recorded traffic.

For every recording: µs a frame of decode + sync + book + event, beside `orjson.loads` of the same frames in the same
process, interleaved; medians over the rounds. The second figure adds what the hand-off to Kafka adds (mid price,
sequence number, JSON encoding). CPU time of the process, garbage collector on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson
import results
from rich.console import Console
from rich.table import Table

from level4.exchanges import PROTOCOLS
from level4.model import ConfigError, Event, Numbering
from level4.recording import RecordedConnection, RecordedEvent, Recording, Replay

MIN_FRAMES = 1
PACKAGES = ["msgspec", "orjson"]


def _ignore(event: Event, symbol: str) -> None:
    pass


class _Bench:
    def __init__(self, path: Path) -> None:
        self.recording = Recording(path)
        self.events: list[RecordedEvent] = list(self.recording.events())
        self.frames = [event.d for event in self.events if event.k == "recv" and not event.b64]

    def floor(self) -> None:
        loads = orjson.loads
        for frame in self.frames:
            loads(frame)

    def path(self, put: Callable[[Event, str], None] = _ignore) -> None:
        apply = RecordedConnection(Replay(spread_trigger="size"), self.recording, put).apply
        for event in self.events:
            apply(event)

    def path_encoded(self) -> None:
        number, encode = Numbering().number, msgspec.json.Encoder().encode

        def put(event: Event, symbol: str) -> None:
            number(event, event.published_us)
            encode(event)

        self.path(put)

    def count(self) -> int:
        events = 0

        def put(event: Event, symbol: str) -> None:
            nonlocal events
            events += 1

        self.path(put)
        return events


def _time(run: Callable[[], None], frames: int, at_least: float) -> float:
    """µs of CPU a frame, over as many repetitions as `at_least` seconds take."""
    repetitions = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < at_least or not repetitions:
        run()
        repetitions += 1
    return spent / repetitions / frames * 1e6


def measure(path: Path, rounds: int, seconds: float) -> dict[str, Any]:
    bench = _Bench(path)
    frames = len(bench.frames)
    columns: dict[str, list[float]] = {"orjson": [], "path": [], "encoded": []}
    bench.path_encoded()  # warm
    for _ in range(rounds):
        columns["orjson"].append(_time(bench.floor, frames, seconds))
        columns["path"].append(_time(bench.path, frames, seconds))
        columns["encoded"].append(_time(bench.path_encoded, frames, seconds))
    median = {name: statistics.median(values) for name, values in columns.items()}
    ratios = [path / floor for path, floor in zip(columns["path"], columns["orjson"], strict=True)]
    return {
        "recording": f"{path.parent.name}/{path.name}",
        "protocol": bench.recording.header.protocol,
        "frames": frames,
        "events": bench.count(),
        "orjson_us": round(median["orjson"], 3),
        "path_us": round(median["path"], 3),
        "encoded_us": round(median["encoded"], 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "frames_per_second": round(1e6 / median["path"]),
    }


def find(folder: Path) -> list[Path]:
    """The recordings in the folder whose protocol is known and that have frames."""
    found = []
    for path in sorted(folder.rglob("*.jsonl.gz")):
        if path.name.endswith(".expected.jsonl.gz"):
            continue
        recording = Recording(path)
        if recording.header.protocol in PROTOCOLS and sum(e.k == "recv" for e in recording.events()) >= MIN_FRAMES:
            found.append(path)
    return found


def default_folder() -> Path:
    return Path(__file__).resolve().parents[3] / "shared" / "recordings"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--folder", envvar="LEVEL4_RECORDINGS", type=click.Path(path_type=Path), help="Where recordings lie.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.2, show_default=True, help="CPU time of each figure in each round.")
@click.option("--store", is_flag=True, help="Store the figures under tools/bench_results.")
def replay(files: tuple[Path, ...], folder: Path | None, rounds: int, seconds: float, store: bool) -> None:
    """µs a frame of decode + sync + book + event, beside orjson.loads of the same frames."""
    folder = folder or default_folder()
    paths = list(files) or (find(folder) if folder.is_dir() else [])
    if not paths:
        raise click.UsageError(f"no recordings in {folder}: name files, or a folder by --folder")
    table = Table(title="decode + sync + book + event (trigger size)")
    numbers = ("frames", "events", "orjson µs", "path µs", "× orjson", "with encoding µs", "frames/s")
    for column in ("recording", "protocol", *numbers):
        table.add_column(column, justify="right" if column in numbers else "left")
    rows = []
    for path in paths:
        try:
            row = measure(path, rounds, seconds)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        rows.append(row)
        table.add_row(
            row["recording"],
            row["protocol"],
            str(row["frames"]),
            str(row["events"]),
            f"{row['orjson_us']:.2f}",
            f"{row['path_us']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['encoded_us']:.2f}",
            f"{row['frames_per_second']:,}",
        )
    Console(width=150).print(table)
    if store:
        path = results.store("replay", PACKAGES, {"rounds": rounds, "seconds": seconds, "rows": rows})
        click.echo(f"stored in tools/bench_results/{path.name}")
