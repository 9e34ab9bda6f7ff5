"""Bybit's API of 2021, for recordings: two shapes of books, rows in their order, trades."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from heard import heard

from level4.exchanges.bybit_v2 import BybitV2


def row(price: str, side: str, *size: float) -> dict[str, Any]:
    return {"price": price, "symbol": "X", "id": 1, "side": side, **({"size": size[0]} if size else {})}


def book(kind: str, data: Any) -> dict[str, Any]:
    return {"topic": "orderBookL2_25.X", "type": kind, "data": data, "cross_seq": "1", "timestamp_e6": "5"}


def test_snapshots_of_both_kinds() -> None:
    rows = [row("1.50", "Buy", 25.5), row("1.60", "Sell", 3)]
    expected = ("X", "snapshot", [("1.50", "25.5")], [("1.60", "3")], {"time": "5"})
    assert heard(BybitV2(), book("snapshot", {"order_book": rows}), book("snapshot", rows)).calls == [expected] * 2


def test_rows_are_deleted_then_updated_then_inserted() -> None:
    data = {
        "insert": [row("1", "Buy", 4)],
        "update": [row("2", "Buy", 5), row("3", "Sell", 6)],
        "delete": [row("1", "Buy")],
        "transactTimeE6": 0,
    }
    assert heard(BybitV2(), book("delta", data)).calls == [
        ("X", "delta", [("1", "0"), ("2", "5"), ("1", "4")], [("3", "6")], {"time": "5"})
    ]


def test_trades_with_texts_and_literals_and_times_in_one_unit() -> None:
    linear = {"symbol": "X", "side": "Buy", "price": "35.402", "size": 0.8, "trade_id": "a", "trade_time_ms": "16"}
    inverse = {**linear, "side": "Sell", "price": 60621.5, "size": 4, "trade_time_ms": 17}
    assert heard(BybitV2(), {"topic": "trade.X", "data": [linear, inverse]}).calls == [
        ("X", "trade", "buy", "35.402", "0.8", "a", "16000"),
        ("X", "trade", "sell", "60621.5", "4", "a", "17000"),
    ]
    assert BybitV2.exchange_us("16000") == 16000
    assert BybitV2.exchange_us(None) is None


def test_what_else_comes() -> None:
    markets = heard(
        BybitV2(),
        {"success": True, "ret_msg": "", "request": {"op": "subscribe"}},
        {"success": False, "ret_msg": "no such topic"},
        {"topic": "instrument_info.100ms.X", "type": "snapshot", "data": "?"},
        {"x": 1},
    )
    assert markets.calls == [(None, "refused", "no such topic")]
    assert markets.unknowns == ["instrument_info", "a message without topic"]
    for wrong in (book("delta", {"delete": 1}), {"topic": "trade.X", "data": [{"side": "Buy"}]}):
        with pytest.raises(msgspec.DecodeError):
            heard(BybitV2(), wrong)
    with pytest.raises(ValueError, match="expected rows"):
        heard(BybitV2(), book("delta", [row("1", "Buy", 1)]))
