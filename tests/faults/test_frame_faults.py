"""Every protocol × every fault of a frame × many seeds, through the real scheme and market, in virtual time.

A fault that the protocol shows never leads to a wrong best bid or ask: it is marked first. Which faults a protocol
cannot show is written down here, and what they cost is printed. In the end every market is LIVE with the exchange's
own book.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matrix import LEFT_OUT, PROTOCOLS_RUN, Outcome, run
from recorded_exchange import RECORDED
from strikes import CHECKSUMS, NUMBERS, Kind, kinds
from tally import CELL, cell

from level4.exchanges import PROTOCOLS
from level4.market.kept import MAX_OLD

SEEDS, MANY_SEEDS = 3, 20
TURNS, MANY_TURNS = 100, 300

AT_ONCE, COUNTED, LATE, HARMLESS, BLIND = "at once", "counted", "late", "harmless", "blind"
BROKEN = {Kind.TRUNCATE, Kind.GARBAGE}
MOVED = {Kind.DROP, Kind.REORDER, Kind.DELAY}
ONLY_CHECKED = set(CHECKSUMS) - set(NUMBERS)
"""A checksum of ten levels proves what is published, not what is deep in the book."""
IGNORES_OLD = {name for name in NUMBERS if name.startswith(("binance.", "bybit.v5", "gemini.v3", "kraken_futures.v1"))}
"""A number at or below the last one is taken for old and left out, as a doubled frame should be. After an exchange has
begun to count anew everything is, until so many in a row, or the market's silence, show what has happened."""


def shown(protocol: str, kind: Kind) -> str:
    """How a protocol shows a fault."""
    if kind in BROKEN or kind is Kind.CHECKSUM:
        return AT_ONCE
    if kind is Kind.CORRUPT:
        return LATE if protocol == "bitfinex.v2" else AT_ONCE
    if kind is Kind.RESET:
        return COUNTED if protocol in IGNORES_OLD else AT_ONCE
    if kind is Kind.DUPLICATE:
        return AT_ONCE if protocol in NUMBERS and protocol not in IGNORES_OLD else HARMLESS
    if PROTOCOLS[protocol].heals:
        return HARMLESS  # older frames are left out
    if protocol in ONLY_CHECKED:
        return AT_ONCE if kind is Kind.DROP else LATE  # a late frame may lead back to what its checksum was made of
    return AT_ONCE if protocol in NUMBERS else BLIND


def certain(protocol: str, kind: Kind) -> bool:
    """Whether the fault cannot pass without a mark."""
    if kind in BROKEN or kind is Kind.CHECKSUM:
        return True
    if shown(protocol, kind) == COUNTED:
        return True
    if shown(protocol, kind) != AT_ONCE:
        return False
    # Binance tells of nothing, too, and nothing is lost with that
    return kind is Kind.CORRUPT or (protocol in NUMBERS and not protocol.startswith("binance."))


def judge(protocol: str, kind: Kind, outcome: Outcome) -> None:
    told = shown(protocol, kind)
    where = f"{protocol} {kind} seed {outcome.seed}"
    assert outcome.struck, f"{where}: the fault found no frame"
    assert outcome.repaired, f"{where}: the book is not the exchange's in the end"
    if told != BLIND and not (protocol in ONLY_CHECKED and kind in MOVED):
        assert outcome.equal, f"{where}: the book did not come right by itself"
    if told in (AT_ONCE, COUNTED, HARMLESS):
        assert not outcome.wrong_records, f"{where}: {outcome.wrong_records[:3]}"
    if kind in BROKEN:
        assert outcome.frames_to_mark == 0, f"{where}: marked after {outcome.frames_to_mark} frames"
    elif certain(protocol, kind):
        assert outcome.frames_to_mark is not None, f"{where}: not marked"
    if told == COUNTED:
        assert outcome.updates_unmarked < MAX_OLD, f"{where}: marked after {outcome.updates_unmarked} updates"


@pytest.mark.parametrize("protocol", PROTOCOLS_RUN)
def test_frame_faults(
    protocol: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    hurried: None,
) -> None:
    slow = request.config.getoption("--slow")
    recordings: Path | None = request.getfixturevalue("recordings") if protocol in RECORDED else None
    for kind in kinds(protocol):
        for seed in range(MANY_SEEDS if slow else SEEDS):
            outcome = run(protocol, kind, seed, MANY_TURNS if slow else TURNS, recordings)
            record_property(CELL, cell(protocol, kind, shown(protocol, kind), outcome))
            judge(protocol, kind, outcome)


def test_every_protocol_is_here() -> None:
    assert set(PROTOCOLS_RUN) | set(LEFT_OUT) == set(PROTOCOLS)
