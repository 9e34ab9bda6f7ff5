"""HitBTC: both versions of the protocol; unknown symbols that no error names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.book import Verdict
from level4.book.rules import next_number
from level4.exchanges.hitbtc import Hitbtc
from level4.exchanges.hitbtc_v2 import HitbtcV2
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
BOOK = {"t": 1790136889822, "s": 1328123, "a": [], "b": [["86846.97", "0.0111"], ["86836.89", "0"]]}
TRADE = {"t": 1626861109494, "i": 1555634969, "p": "30881.96", "q": "12.66828", "s": "buy"}


def test_requests_of_v3_name_all_symbols_and_no_old_trades() -> None:
    one = Hitbtc()
    assert sent(one.subscribe(BOTH, ["A", "B"])) == [
        {"method": "subscribe", "ch": "orderbook/full", "params": {"symbols": ["A", "B"]}, "id": 1},
        {"method": "subscribe", "ch": "trades", "params": {"symbols": ["A", "B"], "limit": 0}, "id": 2},
    ]
    assert sent(one.unsubscribe((Channel.BOOK,), ["A"])) == [
        {"method": "unsubscribe", "ch": "orderbook/full", "params": {"symbols": ["A"]}, "id": 3}
    ]


def test_a_symbol_missing_from_the_ack_is_refused() -> None:
    one = Hitbtc()
    one.subscribe(BOTH, ["A", "NOPE"])
    markets = heard(
        one,
        {"result": {"ch": "orderbook/full", "subscriptions": ["OLD", "A"]}, "id": 1},
        {"result": {"ch": "orderbook/full", "subscriptions": ["A"]}, "id": 77},
        {"result": {"ch": "ticker/1s", "subscriptions": ["A"]}, "id": 78},
        {"error": {"code": 2003, "message": "Unknown channel", "description": "x"}, "id": 2},
        {"error": {"code": 1, "message": "Invalid json"}},
    )
    assert markets.calls == [
        ("OLD", "subscribed", "book"),
        ("A", "subscribed", "book"),
        ("NOPE", "refused", "NOPE is not among the acknowledged subscriptions of orderbook/full"),
        ("A", "subscribed", "book"),
        ("A", "refused", "Unknown channel: x"),
        ("NOPE", "refused", "Unknown channel: x"),
        (None, "refused", "Invalid json: "),
    ]
    assert markets.unknowns == []


def test_books_and_trades_of_v3() -> None:
    markets = heard(
        Hitbtc(),
        {"ch": "orderbook/full", "snapshot": {"X": BOOK}},
        {"ch": "orderbook/full", "update": {"X": {**BOOK, "s": 1328124}, "Y": {**BOOK, "b": []}}},
        {"ch": "trades", "snapshot": {"X": [TRADE]}},
        {"ch": "trades", "update": {"X": [TRADE, {**TRADE, "s": "sell"}]}},
        {"ch": "ticker/1s", "data": {}},
        {"ch": "candles/M1", "data": {}},
        {"hello": 1},
    )
    levels = [("86846.97", "0.0111"), ("86836.89", "0")]
    assert markets.calls == [
        ("X", "snapshot", levels, [], {"last": 1328123, "time": 1790136889822}),
        ("X", "delta", levels, [], {"last": 1328124, "time": 1790136889822}),
        ("Y", "delta", [], [], {"last": 1328123, "time": 1790136889822}),
        ("X", "trade", "buy", "30881.96", "12.66828", "1555634969", 1626861109494),
        ("X", "trade", "sell", "30881.96", "12.66828", "1555634969", 1626861109494),
    ]
    assert markets.unknowns == ["ticker/1s", "candles/M1", "a message without ch"]


@pytest.mark.parametrize(
    ("scheme", "bad"),
    [
        (Hitbtc, {"ch": "orderbook/full", "update": {"X": {**BOOK, "s": "1"}}}),
        (Hitbtc, {"ch": "trades", "update": {"X": [{**TRADE, "s": "none"}]}}),
        (HitbtcV2, {"method": "updateOrderbook", "params": {"symbol": "X", "ask": [], "bid": []}}),
    ],
)
def test_wrong_shapes_raise(scheme: type[Hitbtc], bad: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        heard(scheme(), bad)


def test_every_number_is_the_last_one_plus_one() -> None:
    assert next_number(7, None, 8, None) is Verdict.APPLY
    assert {next_number(7, None, number, None) for number in (1, 7, 9)} == {Verdict.GAP}
    with pytest.raises(ValueError, match="expected"):
        next_number(7, None, None, None)


def test_version_2() -> None:
    one = HitbtcV2()
    assert sent(one.subscribe(BOTH, ["A"])) == [
        {"method": "subscribeOrderbook", "params": {"symbol": "A"}, "id": 1},
        {"method": "subscribeTrades", "params": {"symbol": "A"}, "id": 2},
    ]
    assert sent(one.unsubscribe((Channel.TRADES,), ["A"])) == [
        {"method": "unsubscribeTrades", "params": {"symbol": "A"}, "id": 3}
    ]
    book = {"ask": [{"price": "2", "size": "1"}], "bid": [], "symbol": "A", "sequence": 5, "timestamp": "t"}
    trade = {"id": 7, "price": "2", "quantity": "0.030", "side": "sell", "timestamp": "t"}
    markets = heard(
        one,
        {"jsonrpc": "2.0", "result": True, "id": 1},
        {"jsonrpc": "2.0", "result": True, "id": 3},
        {"jsonrpc": "2.0", "error": {"code": 2001, "message": "Symbol not found"}, "id": 2},
        {"jsonrpc": "2.0", "method": "snapshotOrderbook", "params": book},
        {"jsonrpc": "2.0", "method": "updateOrderbook", "params": book},
        {"jsonrpc": "2.0", "method": "snapshotTrades", "params": {"symbol": "A", "data": [trade]}},
        {"jsonrpc": "2.0", "method": "updateTrades", "params": {"symbol": "A", "data": [trade]}},
        {"jsonrpc": "2.0", "method": "ticker", "params": {}},
        {"jsonrpc": "2.0", "method": "updateCandles", "params": {}},
        {"hello": 1},
    )
    assert markets.calls == [
        ("A", "subscribed", "book"),
        ("A", "refused", "Symbol not found: "),
        ("A", "snapshot", [], [("2", "1")], {"last": 5, "time": "t"}),
        ("A", "delta", [], [("2", "1")], {"last": 5, "time": "t"}),
        ("A", "trade", "sell", "2", "0.030", "7", "t"),
    ]
    assert markets.unknowns == ["ticker", "updateCandles", "a message without method"]


def test_perpetuals_have_their_base_in_another_field() -> None:
    perpetual = {
        "type": "futures", "contract_type": "perpetual", "expiry": None, "underlying": "AAVE", "base_currency": None,
        "quote_currency": "USDT", "status": "suspended", "quantity_increment": "0.01", "tick_size": "0.001",
    }  # fmt: skip
    body = json.dumps({"AAVEUSDT_PERP": perpetual, "X_BQX": perpetual, "N": {**perpetual, "underlying": None}}).encode()
    assert Hitbtc.parse_instruments([body]) == [
        Instrument(
            exchange="HITBTC", type=MarketType.PERP, symbol="AAVE/USDT:USDT", native_symbol="AAVEUSDT_PERP",
            base="AAVE", quote="USDT", settle="USDT", tick="0.001", lot="0.01", active=False,
        )
    ]  # fmt: skip


def test_recorded_pairs(recordings: Path) -> None:
    v3 = {i.native_symbol: i for i in Hitbtc.parse_instruments(listings(recordings / "FMFW.SPOT"))}
    assert v3["NEOBTC"] == Instrument(
        exchange="HITBTC", type=MarketType.SPOT, symbol="NEO/BTC", native_symbol="NEOBTC", base="NEO", quote="BTC",
        tick="0.0000001", lot="0.01",
    )  # fmt: skip
    v2 = {i.native_symbol: i for i in HitbtcV2.parse_instruments(listings(recordings / "HITBTC.SPOT"))}
    assert v2["VETBTC"] == Instrument(
        exchange="HITBTC", type=MarketType.SPOT, symbol="VET/BTC", native_symbol="VETBTC", base="VET", quote="BTC",
        tick="0.0000000001", lot="10",
    )  # fmt: skip
