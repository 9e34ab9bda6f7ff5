"""A lost frame is never silently wrong: after it, only what the whole recording also says is published as LIVE.

For protocols on which a loss can be seen. One frame at a time is taken out of a recording; whatever LIVE pair comes out
then must be the pair of the undamaged replay at that frame.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from level4.model import Event, Spread
from level4.recording import RecordedConnection, Recording, Replay

Pair = tuple[str | None, str | None, str | None, str | None]

RECORDINGS = (
    "BEQUANT.SPOT/ws-1",
    "BINANCE_DELIVERY.MIXED/ws-1",
    "BINANCE_FUTURES.PERP/ws-1",
    "BITFINEX.SPOT/ws-11",
    "DERIBIT.OPTION/ws-1",
    "FMFW.SPOT/ws-1",
    "HITBTC.SPOT/ws-1",
    "OKX.MIXED/ws-1",
    "POLONIEX.SPOT/ws-1",
)


def replayed(recording: Recording, lost: int | None) -> tuple[dict[tuple[str, int], Pair], int]:
    """LIVE pairs by symbol and frame, and how many marks ended trust in a book."""
    frame, marks = 0, 0
    pairs: dict[tuple[str, int], Pair] = {}

    def put(event: Event, symbol: str) -> None:
        nonlocal marks
        if isinstance(event, Spread):
            marks += event.state == "GAP"
            if event.state == "LIVE":
                pairs[symbol, frame] = event.bid_price, event.bid_size, event.ask_price, event.ask_size

    connection = RecordedConnection(Replay(spread_trigger="size"), recording, put)
    for frame, event in enumerate(recording.events()):
        if frame != lost:
            connection.apply(event)
    for market in connection.markets():
        market.check()
    return pairs, marks


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_lost_frame_is_marked_or_harmless(recordings: Path, name: str) -> None:
    recording = Recording(recordings / f"{name}.jsonl.gz")
    frames = [number for number, event in enumerate(recording.events()) if event.k == "recv"]
    whole, marks = replayed(recording, None)
    assert marks == 0
    seen = 0
    for lost in Random(7).sample(frames, 12):
        pairs, marks = replayed(recording, lost)
        seen += marks
        for (symbol, frame), pair in pairs.items():
            last = max(number for known, number in whole if known == symbol and number <= frame)
            assert whole[symbol, last] == pair, f"{name}: frame {lost} lost, {symbol} wrong at frame {frame}"
    assert seen, "the sample holds no update of a live book"
