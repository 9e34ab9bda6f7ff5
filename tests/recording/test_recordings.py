"""Recorded traffic of real exchanges through the whole pure path, against the events it must lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from expectation import Lead, Leads, expected, replayed

from level4.exchanges import PROTOCOLS
from level4.model import Spread
from level4.recording import Recording, Replay

FOLDERS = (
    "BEQUANT.SPOT",
    "BINANCE.OPTION",
    "BINANCE.SPOT",
    "BINANCE_DELIVERY.MIXED",
    "BINANCE_FUTURES.PERP",
    "BINANCE_US.SPOT",
    "BITFINEX.SPOT",
    "BITFLYER.MIXED",
    "BITMEX.MIXED",
    "BITSTAMP.SPOT",
    "BYBIT.OPTION",
    "BYBIT.PERP",
    "BYBIT.SPOT",
    "COINBASE.SPOT",
    "DERIBIT.MIXED",
    "DERIBIT.OPTION",
    "FMFW.SPOT",
    "GEMINI.SPOT",
    "HITBTC.SPOT",
    "KRAKEN.SPOT",
    "KRAKEN_FUTURES.MIXED",
    "OKX.MIXED",
    "POLONIEX.SPOT",
)


def recordings_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("*.jsonl.gz")
        if not path.name.endswith(".expected.jsonl.gz") and Recording(path).header.protocol in PROTOCOLS
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_replay_leads_to_the_expected_events(recordings: Path, folder: str, report: Callable[[str], None]) -> None:
    ours: Leads = replayed(Replay(spread_trigger="size").run(recordings_in(recordings / folder)))
    files = {file for file, _ in ours}
    compared = differences = 0
    symbols = sorted((recordings / folder).glob("*.expected.jsonl.gz"))
    assert symbols
    for path in symbols:
        for key, lead in expected(path).items():
            assert key[0] in files, f"{key[0]} was not replayed"
            mine = ours.get(key, Lead())
            compared += len(lead)
            differences += sum(a != b for a, b in zip(mine.pairs, lead.pairs, strict=False))
            differences += sum(a != b for a, b in zip(mine.trades, lead.trades, strict=False))
            differences += abs(len(mine.pairs) - len(lead.pairs)) + abs(len(mine.trades) - len(lead.trades))
    report(f"{len(symbols)} symbols, {compared} events compared, {differences} differences")
    assert compared
    assert differences == 0


def test_all_kraken_checksums_verify(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from level4.book import RankedBook

    verdicts: list[bool] = []
    verify = RankedBook.verify

    def counted(book: RankedBook, checksum: int) -> bool:
        verdicts.append(verify(book, checksum))
        return verdicts[-1]

    monkeypatch.setattr(RankedBook, "verify", counted)
    for _ in Replay().run([recordings / "KRAKEN.SPOT" / "ws-50.jsonl.gz"]):
        pass
    assert len(verdicts) == 2203
    assert all(verdicts)


def test_a_price_trigger_publishes_every_change_of_a_best_price_and_nothing_else(recordings: Path) -> None:
    path = [recordings / "KRAKEN.SPOT" / "ws-50.jsonl.gz"]
    by_size = [e.event for e in Replay(spread_trigger="size").run(path) if isinstance(e.event, Spread)]
    by_price = [e.event for e in Replay().run(path) if isinstance(e.event, Spread)]
    last: dict[int, tuple[str | None, str | None]] = {}
    prices = []
    for event in by_size:
        pair = event.bid_price, event.ask_price
        if last.get(event.market_id) != pair:
            prices.append((event.market_id, event.received_us, *pair))
            last[event.market_id] = pair
    assert [(e.market_id, e.received_us, e.bid_price, e.ask_price) for e in by_price] == prices
    assert len(by_price) < len(by_size)
