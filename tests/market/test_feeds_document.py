"""The document about feeds says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from level4.market import Cause
from level4.market.freshness import FACTOR, KNOWN_GAPS, LEAST_SECONDS, UNKNOWN_SECONDS, WINDOW_UPDATES
from level4.model import MARKED, TRANSITIONS, FeedState

TEXT = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")


def test_the_table_of_states_is_the_code_s() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.startswith("| ")]
    table = {row[0]: row for row in rows if row[0] in set(FeedState)}
    assert list(table) == [str(state) for state in FeedState]
    for state, row in table.items():
        assert set(filter(None, row[3].split(", "))) == TRANSITIONS[FeedState(state)]
        assert (row[2] == "null") == (state in MARKED)


def test_the_rule_of_staleness_is_the_code_s() -> None:
    assert f"max({LEAST_SECONDS:.0f} s, {FACTOR:.0f} × its longest gap)" in TEXT
    assert f"last {WINDOW_UPDATES:,} updates" in TEXT
    assert f"until {KNOWN_GAPS} are known, {UNKNOWN_SECONDS:.0f} s are harmless" in TEXT


def test_every_cause_of_a_gap_is_named() -> None:
    (named,) = re.findall(r"gaps by cause \(`([a-z, ]+)`\)", TEXT)
    assert named.split(", ") == [str(cause) for cause in Cause]
