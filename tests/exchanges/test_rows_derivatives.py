"""Every market type of Bybit, Deribit and OKX, and the derivatives of Binance and Kraken: a synthetic market on real
sockets, through the feeds, to the very events; and what a lost, doubled or swapped frame of the book leads to.

The pace at which exchanges allow to ask, and the pauses between repairs, are tested elsewhere and switched off here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from simulated_row import Rig, Row, running, until

from level4.exchanges import venue
from level4.exchanges.registry import VENUES
from level4.market import resync
from level4.model import MarketType
from level4.simulator import FaultKind, bybit_topics

SPOT, PERP, FUTURE, INVERSE, OPTION = (
    MarketType.SPOT,
    MarketType.PERP,
    MarketType.FUTURE,
    MarketType.INVERSE,
    MarketType.OPTION,
)
DROP, DUPLICATE, REORDER = FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER
TYPES = {"BYBIT": set(MarketType), "DERIBIT": set(MarketType), "OKX": set(MarketType)}
TYPES |= {"BINANCE": set(MarketType) - {SPOT}, "KRAKEN": {PERP, FUTURE, INVERSE}}


@dataclass(frozen=True)
class Case:
    row: Row
    told: frozenset[FaultKind]
    """What the protocol shows. A doubled frame that is known by its number is left out, which does no harm."""
    crowded: bool = False
    """Trades of other markets come too, and are counted as dropped."""
    checked: bool = False
    """Nothing is numbered, but a checksum covers the ten best levels: one lost change may be below, twenty are not."""

    def __str__(self) -> str:
        return str(self.row)


def option(exchange: str, quote: str, part: str = "") -> Row:
    return Row(exchange, OPTION, "BTC", quote, dated=True, strike="61000", right="C", part=part)


NUMBERED = frozenset({DROP, REORDER})
CHAINED = frozenset({DROP, REORDER, DUPLICATE})
CASES = [
    Case(Row("BINANCE", PERP, "BTC", "USDT", part="BINANCE_FUTURES"), NUMBERED),
    Case(Row("BINANCE", FUTURE, "BTC", "USDT", part="BINANCE_FUTURES", dated=True), NUMBERED),
    Case(Row("BINANCE", INVERSE, "BTC", "USD", part="BINANCE_DELIVERY"), NUMBERED),
    Case(option("BINANCE", "USDT", "BINANCE_FUTURES"), NUMBERED),
    Case(Row("BYBIT", SPOT, "BTC", "USDT", part="BYBIT_SPOT"), NUMBERED),
    Case(Row("BYBIT", PERP, "BTC", "USDT", part="BYBIT_LINEAR"), NUMBERED),
    Case(Row("BYBIT", FUTURE, "BTC", "USDT", part="BYBIT_LINEAR", dated=True), NUMBERED),
    Case(Row("BYBIT", INVERSE, "BTC", "USD", part="BYBIT_INVERSE"), NUMBERED),
    Case(option("BYBIT", "USDT", "BYBIT_OPTION"), NUMBERED, crowded=True),
    Case(Row("DERIBIT", SPOT, "BTC", "USDC"), CHAINED),
    Case(Row("DERIBIT", PERP, "BTC", "USDC"), CHAINED),
    Case(Row("DERIBIT", FUTURE, "BTC", "USDC", dated=True), CHAINED),
    Case(Row("DERIBIT", INVERSE, "BTC", "USD"), CHAINED),
    Case(option("DERIBIT", "USD"), CHAINED),
    Case(Row("KRAKEN", PERP, "BTC", "USD", part="KRAKEN_FUTURES"), NUMBERED),
    Case(Row("KRAKEN", FUTURE, "BTC", "USD", part="KRAKEN_FUTURES", dated=True), NUMBERED),
    Case(Row("KRAKEN", INVERSE, "BTC", "USD", part="KRAKEN_FUTURES", dated=True), NUMBERED),
    Case(Row("KRAKEN", INVERSE, "BTC", "USD", "kraken_futures.v2", part="KRAKEN_UNIFIED"), NUMBERED, checked=True),
    Case(Row("OKX", SPOT, "BTC", "USDT"), CHAINED),
    Case(Row("OKX", PERP, "BTC", "USDT"), CHAINED),
    Case(Row("OKX", PERP, "ETH", "USDT", "okx.v5.rest"), CHAINED),
    Case(Row("OKX", FUTURE, "BTC", "USDT", dated=True), CHAINED),
    Case(Row("OKX", INVERSE, "BTC", "USD"), CHAINED),
    Case(option("OKX", "USD"), CHAINED),
]
FLOWING = [case for case in CASES if case.row.type in (INVERSE, OPTION) or case.row.protocol]


def test_every_row_of_these_exchanges_is_here() -> None:
    here = {(case.row.exchange, case.row.type) for case in CASES}
    assert here == {(exchange, type_) for exchange, types in TYPES.items() for type_ in types}
    assert here == {key for key in VENUES if key[0] in TYPES} - {("BINANCE", SPOT), ("KRAKEN", SPOT)}


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between messages to the exchange and between repairs."""
    for row in (case.row for case in CASES):
        found = venue(row.exchange, row.type, {f"{row.exchange}.{row.type}": row.protocol} if row.protocol else None)
        for scheme in {found.book, found.trades}:
            monkeypatch.setattr(scheme, "limits", replace(scheme.limits, messages_per_second=1000.0))
    monkeypatch.setattr(resync, "HEALTHY_SECONDS", 0.0)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.usefixtures("unpaced")
async def test_books_trades_and_changes_are_the_exchanges(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(case.row, rate=2000.0, trade_rate=200.0) as r:
        r.simulator.resume()
        await until(lambda: r.tally()["frames"] >= 1_000 and r.tally()["trades"] >= 50)
        r.simulator.pause()
        tally = r.tally()
        await until(lambda: r.book() == r.true_book() and len(r.trades()) == tally["trades"])
        assert r.changes() == (tally["best_changes"], tally["best_price_changes"])
        assert tally["best_price_changes"] > 0
        history = 40  # made up as older than the subscription: not to be published
        made = r.true_trades()[history:]
        assert r.trades() == made
        assert r.statuses("gap", "resync", "reconnecting", "refused", "halted") == []
        assert r.statuses("snapshot") == ["snapshot"]
        for stats in r.feeds.connections():
            assert stats.disconnects == 0
            assert (stats.dropped > 0) is case.crowded
        # a snapshot that comes unasked right after a loss would hide it
        monkeypatch.setattr(bybit_topics, "SNAPSHOT_EVERY", 10**9)
        monkeypatch.setattr(bybit_topics, "RESTART_EVERY", 10**9)
        for kind in (DROP, DUPLICATE, REORDER):
            await broken(r, case, kind)


async def broken(r: Rig, case: Case, kind: FaultKind) -> None:
    """A break of the book: marked, and mended; or of no consequence at all."""
    gaps, states = r.statuses().count("gap"), len(r.spreads())
    r.simulator.resume()
    await r.strike(kind, 20 if case.checked else 1)
    if kind in case.told:
        await until(lambda: r.statuses().count("gap") > gaps)
        assert "GAP" in [event.state for event in r.spreads()[states:]]
    await r.frames(20)
    await r.same_book()
    r.simulator.pause()
    found = r.statuses().count("gap") - gaps
    assert found >= 1 if kind in case.told and case.checked else found == (kind in case.told)


@pytest.mark.parametrize("case", FLOWING, ids=str)
@pytest.mark.usefixtures("unpaced")
async def test_joining_while_changes_are_gathered(case: Case) -> None:
    """Between subscription and snapshot the market moves, and snapshots fall between the frames."""
    async with running(case.row, rate=500.0, gather=0.2, paused=False) as r:
        for _ in range(2):
            await r.frames(10)
            await r.same_book()
        assert r.statuses("gap", "resync", "reconnecting", "refused", "halted") == []
