"""Frames of real traffic, or of the simulator where nobody has recorded any, mutated in syntax, type and shape: nothing
but expected errors, and no market is left in a state that its own invariants forbid.

Values are left alone here: where a protocol has no checksum, another number is another truth.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from simulated_row import Row, running, until

from level4.exchanges import PROTOCOLS
from level4.model import Event, MarketType
from level4.recording import RecordedConnection, RecordedEvent, Recorder, Recording, Replay

EXPECTED = {"DecodeError", "ValidationError", "ValueError", "ExchangeError"}
"""What a frame that is not the protocol may raise. Anything else is a decoder that does not look before it takes."""
QUICK, THOROUGH = 300, 5_000
ODD: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "1e400", [], {}, [[]], {"a": []}, [None], "0.-1", 10**400]


@lru_cache
def corpus(folder: Path) -> dict[str, list[Path]]:
    """Recordings by protocol."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*.jsonl.gz")):
        if not path.name.endswith(".expected.jsonl.gz"):
            found[Recording(path).header.protocol].append(path)
    return found


def mutated(frame: str, rng: random.Random) -> str:
    """Something that this frame is not: cut, garbled, a key gone, another type."""
    kind = rng.randrange(5)
    if kind == 0:
        return frame[: rng.randrange(len(frame))]
    if kind == 1:
        at = rng.randrange(len(frame))
        return frame[:at] + rng.choice('{}[]",:\\x\0é0') + frame[at + rng.randrange(3) :]
    try:
        content = json.loads(frame)
    except ValueError:
        return frame[1:]
    places = list(_places(content))
    if not places:
        return json.dumps(rng.choice(ODD))
    holder, key = rng.choice(places)
    if kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, list):
        holder.insert(key, rng.choice(ODD))
    else:
        holder[key] = rng.choice(ODD)
    return json.dumps(content)


def _places(content: Any) -> Any:
    """Where something stands: (container, key or index), at most a thousand."""
    queue, seen = [content], 0
    while queue and seen < 1000:
        holder = queue.pop()
        items = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        for key, value in items:
            seen += 1
            yield holder, key
            if isinstance(value, dict | list):
                queue.append(value)


def _ignored(event: Event, symbol: str) -> None:
    """What comes of bad frames is for others to judge."""


def check(folder: Path, protocol: str, cases: int, seed: int) -> None:
    paths = corpus(folder).get(protocol, [])
    if not paths:
        pytest.skip(f"no recording of {protocol}")
    rng = random.Random(f"{protocol} {seed}")
    replay = Replay(spread_trigger="size")
    done = 0
    for path in paths:
        connection = RecordedConnection(replay, Recording(path), _ignored)
        recorded = [event for event in Recording(path).events() if event.k in ("recv", "http", "send")][:400]
        for event in recorded:
            connection.apply(event)
        frames = [event for event in recorded if event.k == "recv" and event.d]
        # Every kind of frame as often as any other; long snapshots as well, but not most of the time.
        kinds = Counter(event.d[:16] for event in frames)
        weights = [1 / (200 + len(event.d)) / kinds[event.d[:16]] for event in frames]
        share = -(-cases // len(paths))
        for event in rng.choices(frames, weights, k=share) if frames else ():
            text = mutated(event.d, rng)
            connection.apply(RecordedEvent(event.t, "recv", text))
            if done % 25 == 0:
                connection.apply(event)  # the real one after it: whatever happened, it is handled
                for market in connection.markets():
                    market.check()
            done += 1
            unexpected = set(replay.errors) - EXPECTED
            assert not unexpected, f"{protocol} seed {seed}: {unexpected} from {text[:500]!r}"
    assert done >= cases


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_mutated_frames_raise_only_what_is_expected(recordings: Path, protocol: str) -> None:
    if protocol in SILENT:
        assert protocol not in corpus(recordings)
        return
    check(recordings, protocol, QUICK, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_thousands_of_mutated_frames(recordings: Path, protocol: str) -> None:
    if protocol not in SILENT:
        check(recordings, protocol, THOROUGH, seed=2)


SILENT = {
    "bitstamp.v2.top": "the same module as bitstamp.v2",
    "bybit.v5.inverse": "the same class as bybit.v5",
    "bybit.v5.linear": "the same class as bybit.v5",
    "bybit.v5.option": "the same class as bybit.v5",
    "bybit.v5.spot": "the same class as bybit.v5",
    "hyperliquid.v1": "nobody has recorded it yet: see MADE_UP",
    "kraken_futures.v2": "nobody has recorded it yet: see MADE_UP",
    "okx.v5.rest": "the same module as okx.v5",
}
"""Protocols without a recording of their own, and why."""
MADE_UP = {
    "hyperliquid.v1": Row("HYPERLIQUID", MarketType.PERP, "BTC", "USDC"),
    "kraken_futures.v2": Row("KRAKEN", MarketType.PERP, "BTC", "USD", "kraken_futures.v2", part="KRAKEN_UNIFIED"),
}
"""What the simulator plays for want of recordings."""


@pytest.mark.parametrize("protocol", MADE_UP)
async def test_mutated_frames_of_the_simulator(protocol: str, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    async with running(MADE_UP[protocol], recorder=recorder) as it:
        it.simulator.resume()
        await until(lambda: it.tally()["frames"] >= 300 and it.tally()["trades"] >= 30)
    recorder.close()
    check(tmp_path, protocol, QUICK, seed=1)
