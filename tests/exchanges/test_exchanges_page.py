"""The page of what works where is made from the registry, and says what is true."""

from __future__ import annotations

from pathlib import Path

from level4.exchanges import VENUES
from level4.exchanges.table import markdown, proof

PAGE = Path(__file__).parents[2] / "docs" / "exchanges.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == markdown(), "run tools/exchanges-page"


def test_every_row_of_the_registry_is_on_the_page() -> None:
    lines = markdown().splitlines()
    for venue in VENUES.values():
        assert any(
            line.startswith(f"| {venue.exchange} |") and str(venue.type) in line and venue.book.protocol in line
            for line in lines
        ), f"{venue.exchange} {venue.type}"


def test_protocols_that_prove_nothing_say_so() -> None:
    proofs = {venue.book.protocol: proof(venue.book) for venue in VENUES.values()}
    assert proofs["kraken.v2"] == "checksum"
    assert proofs["coinbase.advanced"] == "numbers of the connection"
    assert proofs["binance.spot"] == "numbers of the market"
    assert proofs["bitmex.v1"] == "ids of rows"
    assert proofs["bitflyer.v1"] == "none"
    assert proofs["hyperliquid.v1"].startswith("none needed")
