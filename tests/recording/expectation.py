"""What recordings must lead to, and how a replay is compared with it.

Compared are, per file and symbol: LIVE spread records under the trigger `size` as pairs (bid, ask) by frame, an empty
side being null/null; records with `changed: none` and LIVE records equal to the last LIVE pair (also across epochs)
are left out. No equal pair twice in an epoch, `changed` true to the pair, seq contiguous. Trades equal in side, price,
size, id, order and frame.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from level4.model import SPREAD, TIMESALES, Spread, Trade
from level4.recording import Replayed

Side = tuple[str | None, str | None]
Pair = tuple[Side, Side]
EMPTY: Side = (None, None)


@dataclass
class Lead:
    """What one symbol of one file leads to."""

    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    trades: list[tuple[int, str | None, str, str, str | None]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pairs) + len(self.trades)


Leads = dict[tuple[str, str], Lead]
"""By file and native symbol."""


def expected(path: Path) -> Leads:
    """The content of one `*.expected.jsonl.gz`."""
    leads: Leads = defaultdict(Lead)
    last: dict[tuple[str, str], Pair] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            key = row["file"], row["symbol"]
            lead = leads[key]
            if row["topic"] == TIMESALES:
                lead.trades.append((row["frame"], row["side"], row["price"], row["size"], row["trade_id"]))
                continue
            assert row["topic"] == SPREAD
            side: Side = EMPTY if row["price"] is None else (row["price"], row["size"])
            bid, ask = last.get(key, (EMPTY, EMPTY))
            pair = (side, ask) if row["side"] == "bids" else (bid, side)
            last[key] = pair
            if lead.pairs and lead.pairs[-1][0] == row["frame"]:
                lead.pairs[-1] = row["frame"], pair
            else:
                lead.pairs.append((row["frame"], pair))
    return leads


def replayed(events: Iterable[Replayed]) -> Leads:
    """What a replay led to. Asserts what must hold of every stream."""
    leads: Leads = defaultdict(Lead)
    last: dict[tuple[str, str], Pair] = {}
    place: dict[tuple[type, int], tuple[int, int]] = {}
    in_epoch: dict[int, Pair] = {}
    for event, file, frame, symbol in events:
        lead = leads[file, symbol]
        if not isinstance(event, Spread | Trade):
            continue
        stream = type(event), event.market_id
        epoch, seq = place.get(stream, (0, 0))
        assert (event.epoch == epoch and event.seq == seq + 1) or (event.epoch > epoch and event.seq == 1)
        assert (event.follows is None) == (event.seq == 1) or isinstance(event, Trade)
        place[stream] = event.epoch, event.seq
        if isinstance(event, Trade):
            lead.trades.append((frame, event.side, event.price, event.size, event.trade_id))
            continue
        pair = (event.bid_price, event.bid_size), (event.ask_price, event.ask_size)
        if event.state != "LIVE":
            assert pair == (EMPTY, EMPTY)
            assert event.changed == "state"
            in_epoch.pop(event.market_id, None)
            continue
        before = in_epoch.get(event.market_id) if event.seq > 1 else None
        if event.changed == "none":
            assert before == pair
            continue
        if before is not None:
            assert before != pair, f"{file} {frame}: the pair {pair} twice in an epoch"
            moved = {"bid": before[0] != pair[0], "ask": before[1] != pair[1]}
            named = {"bid": ("bid",), "ask": ("ask",), "both": ("bid", "ask")}[event.changed]
            assert all(moved[side] == (side in named) for side in moved), f"{file} {frame}: {event.changed} {moved}"
        else:
            assert event.changed == "state"
        in_epoch[event.market_id] = pair
        if last.get((file, symbol), (EMPTY, EMPTY)) != pair:
            last[file, symbol] = pair
            lead.pairs.append((frame, pair))
    return leads
