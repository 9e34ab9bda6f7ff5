"""Poloniex: numbers that name the one before, and errors that name nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.book import Verdict
from level4.book.rules import names_previous
from level4.exchanges.poloniex import Poloniex
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
BOOK = {
    "symbol": "BTC_USDT", "createTime": 1661123518399, "asks": [], "bids": [["21594.11", "1.007915"], ["21500.5", "0"]],
    "lastId": 4485680, "id": 4485691, "ts": 1661123518412,
}  # fmt: skip
TRADE = {
    "symbol": "BTC_USDT", "amount": "1419.8458164", "quantity": "0.018308", "takerSide": "sell",
    "createTime": 1788335123813, "price": "77553.3", "id": "240066176", "ts": 1788335123827,
}  # fmt: skip


def books(action: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"channel": "book_lv2", "data": list(rows), "action": action}


def test_one_symbol_a_message() -> None:
    assert sent(Poloniex().subscribe(BOTH, ["A_B"])) == [
        {"event": "subscribe", "channel": ["book_lv2"], "symbols": ["A_B"]},
        {"event": "subscribe", "channel": ["trades"], "symbols": ["A_B"]},
    ]
    assert sent(Poloniex().unsubscribe((Channel.BOOK,), ["A_B"])) == [
        {"event": "unsubscribe", "channel": ["book_lv2"], "symbols": ["A_B"]}
    ]
    assert Poloniex().ping() == '{"event":"ping"}'


def test_translation() -> None:
    markets = heard(
        Poloniex(),
        {"event": "subscribe", "channel": "book_lv2", "symbols": ["A_B", "C_D"]},
        {"event": "subscribe", "channel": "ticker", "symbols": ["A_B"]},
        {"event": "pong"},
        {"event": "unsubscribe", "channel": "trades", "symbols": ["A_B"]},
        {"event": "error", "message": "no valid symbols"},
        books("snapshot", BOOK),
        books("update", BOOK),
        {"channel": "trades", "data": [TRADE, {**TRADE, "takerSide": "buy"}]},
        {"channel": "ticker", "data": []},
        {"event": "explode"},
        {"hello": 1},
    )
    levels = [("21594.11", "1.007915"), ("21500.5", "0")]
    assert markets.calls == [
        ("A_B", "subscribed", "book"),
        ("C_D", "subscribed", "book"),
        (None, "refused", "no valid symbols"),
        ("BTC_USDT", "snapshot", levels, [], {"last": 4485691, "time": 1661123518399}),
        ("BTC_USDT", "delta", levels, [], {"last": 4485691, "previous": 4485680, "time": 1661123518399}),
        ("BTC_USDT", "trade", "sell", "77553.3", "0.018308", "240066176", 1788335123813),
        ("BTC_USDT", "trade", "buy", "77553.3", "0.018308", "240066176", 1788335123813),
    ]
    assert markets.unknowns == ["ticker", "explode", "a message without channel and event"]


@pytest.mark.parametrize(
    "bad", [books("explode", BOOK), books("update", {**BOOK, "id": "x"}), {"channel": "trades", "data": [{}]}]
)
def test_wrong_shapes_raise(bad: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        heard(Poloniex(), bad)


def test_numbers_jump_and_name_the_one_before() -> None:
    assert names_previous(4485680, None, 4485691, 4485680) is Verdict.APPLY
    assert names_previous(4485679, None, 4485691, 4485680) is Verdict.GAP
    assert names_previous(4485691, None, 4485691, 4485680) is Verdict.GAP
    with pytest.raises(ValueError, match="expected"):
        names_previous(1, None, 2, None)


def test_recorded_pairs(recordings: Path) -> None:
    listed = {i.native_symbol: i for i in Poloniex.parse_instruments(listings(recordings / "POLONIEX.SPOT"))}
    assert listed["BTC_USDT"] == Instrument(
        exchange="POLONIEX", type=MarketType.SPOT, symbol="BTC/USDT", native_symbol="BTC_USDT", base="BTC",
        quote="USDT", tick="0.01", lot="0.000001",
    )  # fmt: skip
