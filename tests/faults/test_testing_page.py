"""docs/testing.md names every suite, and what protocols cannot show."""

from __future__ import annotations

import re
from pathlib import Path

from matrix import PROTOCOLS_RUN
from strikes import Kind
from test_frame_faults import BLIND, COUNTED, HARMLESS, LATE, shown

from level4.market.kept import MAX_OLD

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "testing.md").read_text()


def test_every_suite_is_named() -> None:
    suites = {path.parent.name for path in TESTS.glob("*/test_*.py")}
    assert set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE)) == suites


def rows(start: str) -> set[str]:
    """The protocols of a row of the table."""
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {start} |"))
    named = re.findall(r"`([a-z0-9_.*]+)`", row)
    return {each for each in PROTOCOLS_RUN for name in named if re.fullmatch(name.replace("*", ".*"), each)}


def test_what_protocols_cannot_show_is_told() -> None:
    def which(kind: Kind, told: str) -> set[str]:
        return {protocol for protocol in PROTOCOLS_RUN if shown(protocol, kind) == told}

    assert rows("frames lost, swapped or late") == which(Kind.DROP, BLIND) == which(Kind.DELAY, BLIND)
    assert rows("frames swapped or late") == which(Kind.REORDER, LATE) == which(Kind.DELAY, LATE)
    assert rows("a frame lost or late where every one is whole") == which(Kind.DROP, HARMLESS)
    assert rows("one digit changed") == {"bitfinex.v2"}
    assert rows("the exchange begins to count anew on a living connection") == which(Kind.RESET, COUNTED)
    assert f"after {MAX_OLD} updates in a row" in PAGE
