"""Every market type of the smaller exchanges, from Bitfinex to Poloniex: a synthetic market on real sockets, through
the feeds, to the very events; and what a lost, doubled or swapped frame of the book leads to."""

from __future__ import annotations

import pytest
from simulated_row import Rig, Row, running, until

from level4.exchanges.registry import VENUES
from level4.model import MarketType
from level4.simulator import Fault, FaultKind, bitfinex, bitflyer, hyperliquid

SPOT, PERP, FUTURE, INVERSE = MarketType.SPOT, MarketType.PERP, MarketType.FUTURE, MarketType.INVERSE
ROWS = [
    Row("BITFINEX", SPOT, "BTC", "USD", depth=250),
    Row("BITFINEX", PERP, "BTC", "USDT", depth=250),
    Row("BITFLYER", SPOT, "BTC", "JPY"),
    Row("BITFLYER", PERP, "BTC", "JPY"),
    Row("BITMEX", SPOT, "BTC", "USDT"),
    Row("BITMEX", PERP, "ETH", "USDT"),
    Row("BITMEX", FUTURE, "BTC", "USDT", dated=True),
    Row("BITMEX", INVERSE, "BTC", "USD"),
    Row("BITMEX", INVERSE, "BTC", "USD", dated=True),
    Row("BITSTAMP", SPOT, "BTC", "USD", depth=100),
    Row("BITSTAMP", SPOT, "BTC", "USD", "bitstamp.v2"),
    Row("GEMINI", SPOT, "BTC", "USD"),
    Row("GEMINI", SPOT, "ETH", "USD", "gemini.v2"),
    Row("HITBTC", SPOT, "BTC", "USDT"),
    Row("HITBTC", PERP, "ETH", "USDT"),
    Row("POLONIEX", SPOT, "BTC", "USDT", depth=20),
    Row("HYPERLIQUID", SPOT, "BTC", "USDC", depth=5),
    Row("HYPERLIQUID", PERP, "BTC", "USDC", depth=5),
    Row("BITMEX", PERP, "ETH", "USD"),  # quanto
]
PROTOCOLS = {  # one market type of each: what follows does not depend on the type
    "bitfinex.v2": ROWS[0],
    "bitflyer.v1": ROWS[2],
    "bitmex.v1": ROWS[7],
    "bitstamp.v2.top": ROWS[9],
    "bitstamp.v2": ROWS[10],
    "gemini.v3": ROWS[11],
    "gemini.v2": ROWS[12],
    "hitbtc.v3": ROWS[13],
    "poloniex.v2": ROWS[15],
    "hyperliquid.v1": ROWS[17],
}
DROP, DUPLICATE, REORDER = FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER
TOLD = {
    "bitfinex.v2": {DROP, DUPLICATE, REORDER},  # numbers of the whole connection
    "gemini.v3": {DROP, REORDER},  # numbers; a doubled update is known by its own and left out
    "hitbtc.v3": {DROP, DUPLICATE, REORDER},  # numbers
    "poloniex.v2": {DROP, DUPLICATE, REORDER},  # numbers
}
HARMLESS = {
    "bitflyer.v1": {DROP, DUPLICATE, REORDER},  # cannot be told, and the next whole book heals it
    "bitstamp.v2.top": {DROP, DUPLICATE, REORDER},  # the next message is the whole book; older ones are left out
    "bitstamp.v2": {DUPLICATE},  # sizes are absolute
    "hyperliquid.v1": {DROP, DUPLICATE, REORDER},  # the next frame is whole, or its top is; older ones are left out
    "gemini.v3": {DUPLICATE},
    "gemini.v2": {DUPLICATE},  # sizes are absolute
}
BLIND = {
    "bitstamp.v2": {DROP, REORDER},
    "gemini.v2": {DROP, REORDER},
}
"""Nothing is numbered: the book is silently wrong until the levels change again or the market is subscribed anew."""
NAMED = {"bitmex.v1": {DROP, DUPLICATE}}
"""Nothing is numbered, but rows have names: a break shows when a row is named that cannot be there."""
DOUBTFUL = {"bitmex.v1": {REORDER}}
"""Swapped frames may name such a row, or leave an old size in place, or nothing."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes every few seconds comes often."""
    monkeypatch.setattr(bitfinex, "CHECKSUM_SECONDS", 0.1)
    monkeypatch.setattr(bitflyer, "SNAPSHOT_SECONDS", 0.2)
    monkeypatch.setattr(hyperliquid, "FAST_SECONDS", 0.2)
    return


def cases(table: dict[str, set[FaultKind]]) -> list[object]:
    return [
        pytest.param(PROTOCOLS[protocol], kind, id=f"{protocol}-{kind}")
        for protocol, kinds in table.items()
        for kind in sorted(kinds)
    ]


def test_every_row_of_these_exchanges_is_here() -> None:
    exchanges = {row.exchange for row in ROWS}
    assert {(row.exchange, row.type) for row in ROWS} == {key for key in VENUES if key[0] in exchanges}
    for protocol in PROTOCOLS:
        kinds = [kind for table in (TOLD, HARMLESS, BLIND, NAMED, DOUBTFUL) for kind in table.get(protocol, ())]
        assert sorted(kinds) == [DROP, DUPLICATE, REORDER], protocol


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_books_trades_and_changes_are_the_exchanges(row: Row) -> None:
    async with running(row) as r:
        r.simulator.resume()
        await until(lambda: r.tally()["frames"] >= 1_000 and r.tally()["trades"] >= 50)
        r.simulator.pause()
        tally = r.tally()
        await until(lambda: r.book() == r.true_book() and len(r.trades()) == tally["trades"])
        assert r.changes() == (tally["best_changes"], tally["best_price_changes"])
        assert tally["best_price_changes"] > 0
        assert r.trades() == r.true_trades()[-tally["trades"] :]
        assert r.statuses("gap", "resync", "reconnecting", "refused", "halted") == []
        assert r.statuses("snapshot") == ["snapshot"]


async def broken(r: Rig, kind: FaultKind, count: int = 1) -> None:
    r.simulator.resume()
    await r.frames(20)
    await r.strike(kind, count)


@pytest.mark.parametrize(("row", "kind"), cases(TOLD))
async def test_a_break_that_numbers_tell(row: Row, kind: FaultKind) -> None:
    async with running(row) as r:
        await broken(r, kind)
        await until(lambda: "gap" in r.statuses())
        await r.same_book()
        assert [event.state for event in r.spreads() if event.changed == "state"] == ["LIVE", "GAP", "LIVE"]


@pytest.mark.parametrize(("row", "kind"), cases(HARMLESS))
async def test_a_break_that_does_no_harm(row: Row, kind: FaultKind) -> None:
    async with running(row) as r:
        await broken(r, kind)
        await r.frames(20)
        await r.same_book()
        assert r.statuses("gap") == []


@pytest.mark.parametrize(("row", "kind"), cases(BLIND))
async def test_a_break_that_cannot_be_told(row: Row, kind: FaultKind) -> None:
    """Twenty frames: then the book is wrong, and nothing shows it. A new connection makes it right."""
    async with running(row) as r:
        await broken(r, kind, 20)
        r.simulator.pause()
        await until(lambda: r.feeds.connections()[0].frames > r.tally()["frames"] - 20)
        assert r.statuses("gap") == []
        assert r.state == "LIVE"
        assert kind is REORDER or r.book() != r.true_book()  # swapped frames need not touch the same level
        r.simulator.inject(Fault(FaultKind.CLOSE, exchange=row.exchange))
        await until(lambda: "gap" in r.statuses())
        await r.same_book()


@pytest.mark.parametrize(("row", "kind"), cases(NAMED))
async def test_a_break_that_names_tell_sooner_or_later(row: Row, kind: FaultKind) -> None:
    """Twenty frames: among them are inserts and deletes, whose rows are named again."""
    async with running(row) as r:
        await broken(r, kind, 20)
        await until(lambda: "gap" in r.statuses())
        await r.same_book()


@pytest.mark.parametrize(("row", "kind"), cases(DOUBTFUL))
async def test_a_break_that_may_show(row: Row, kind: FaultKind) -> None:
    """Whatever it did, a new connection makes the book right."""
    async with running(row) as r:
        await broken(r, kind, 20)
        await r.frames(20)
        r.simulator.inject(Fault(FaultKind.CLOSE, exchange=row.exchange))
        await until(lambda: "reconnecting" in r.statuses())
        await r.same_book()


async def test_wrong_sizes_break_the_checksum_of_bitfinex() -> None:
    async with running(PROTOCOLS["bitfinex.v2"]) as r:
        await broken(r, FaultKind.CORRUPT, 100)
        await until(lambda: "gap" in r.statuses())
        assert "checksum" in r.reasons("gap")[0]
        await r.same_book()
