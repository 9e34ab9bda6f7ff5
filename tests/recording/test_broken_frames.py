"""Real frames, broken: one digit, the end, the middle. Marked at once, nothing wrong published after."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from level4.model import FeedState, Spread, Status
from level4.recording import Recording, Replay


def broken(source: Path, target: Path, frame: int, change: Callable[[str], str]) -> Path:
    """A copy of a recording with one frame changed."""
    with gzip.open(source, "rt", encoding="utf-8") as lines, gzip.open(target, "wt", encoding="utf-8") as copy:
        for number, line in enumerate(lines, -1):
            if number == frame:
                event: dict[str, Any] = json.loads(line)
                event["d"] = change(event["d"])
                line = json.dumps(event) + "\n"
            copy.write(line)
    return target


def another_digit(text: str, price: bool) -> str:
    """The update with one digit of its first level's price or size changed."""
    parts = json.loads(text)
    side = next(key for key in ("a", "b") if key in parts[1])
    level = parts[1][side][0]
    number = level[0 if price else 1]
    place = next(i for i in range(len(number) - 1, -1, -1) if number[i] not in "0.")
    level[0 if price else 1] = number[:place] + str(int(number[place]) % 9 + 1) + number[place + 1 :]
    return json.dumps(parts)


def updates_of(path: Path, pair: str) -> list[int]:
    """Frame numbers of the updates of a pair that touch a best price, so that the checksum covers them."""
    recording = Recording(path)
    place = f'"book-1000","{pair}"'
    updates = {n for n, event in enumerate(recording.events()) if place in event.d and '"c"' in event.d}
    events = Replay(symbols=[pair], spread_trigger="size").run([path])
    changed = {e.frame for e in events if isinstance(e.event, Spread) and e.event.changed in ("bid", "ask")}
    # Deletes say nothing with their size: only levels that stay.
    frames = {n: event.d for n, event in enumerate(recording.events()) if n in updates & changed}
    return sorted(n for n, text in frames.items() if '"0.00000000"' not in text and text.count("{") == 1)


@pytest.mark.parametrize("price", [True, False], ids=["price", "size"])
@pytest.mark.parametrize("seed", range(8))
def test_one_digit_of_one_level_is_a_gap_and_nothing_wrong_is_published(
    recordings: Path, tmp_path: Path, seed: int, price: bool
) -> None:
    source = recordings / "KRAKEN.SPOT" / "ws-50.jsonl.gz"
    frame = random.Random(seed).choice(updates_of(source, "XMR/USD"))
    target = broken(source, tmp_path / "broken.jsonl.gz", frame, lambda text: another_digit(text, price))
    copy = broken(source, tmp_path / "whole.jsonl.gz", frame, lambda text: text)
    before = [(e.frame, e.event) for e in Replay(spread_trigger="size").run([copy]) if e.native_symbol == "XMR/USD"]
    after = [(e.frame, e.event) for e in Replay(spread_trigger="size").run([target]) if e.native_symbol == "XMR/USD"]
    spreads = [(at, event) for at, event in after if isinstance(event, Spread)]
    assert [at for at, event in spreads if event.state is FeedState.GAP] == [frame], f"seed {seed}"
    assert spreads[-1][0] == frame, "after the mark nothing, because no snapshot comes"
    assert spreads[:-1] == [(at, event) for at, event in before if isinstance(event, Spread) and at < frame]
    gaps = [event.reason for _, event in after if isinstance(event, Status) and event.event == "gap"]
    assert len(gaps) == 1
    assert "checksum" in (gaps[0] or "")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="truncated"),
        pytest.param(lambda text: "no JSON at all", id="not JSON"),
        pytest.param(lambda text: text.replace("[[", "[", 1).replace("]]", "]", 1), id="another shape"),
        pytest.param(lambda text: text.replace('"b"', '"b":7,"x"').replace('"a"', '"a":7,"x"'), id="another type"),
    ],
)
def test_a_frame_that_cannot_be_decoded_is_a_gap_of_those_it_names(
    recordings: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    source = recordings / "KRAKEN.SPOT" / "ws-50.jsonl.gz"
    frame = updates_of(source, "XMR/USD")[20]
    text = next(event.d for n, event in enumerate(Recording(source).events()) if n == frame)
    target = broken(source, tmp_path / "broken.jsonl.gz", frame, change)
    replay = Replay(spread_trigger="size")
    marks = {
        e.native_symbol: e.frame
        for e in replay.run([target])
        if isinstance(e.event, Spread) and e.event.state is FeedState.GAP
    }
    named = {"XMR/USD"} if '"XMR/USD"' in change(text) else {"XMR/USD", "ADA/XBT", "OCEAN/XBT", "OMG/USD", "XBT/CHF"}
    assert marks == dict.fromkeys(named, frame)
    assert sum(replay.errors.values()) == 1
