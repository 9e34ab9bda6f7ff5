"""BitMEX: rows by name, what is history, and contracts of every type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.exchanges.bitmex import Bitmex
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
ROW = {"symbol": "XBTUSD", "id": 62400580205, "side": "Sell", "size": 31000, "price": 98459.9, "pool": "Primary"}
TIME = "2024-11-24T08:26:23.001Z"


def book(action: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"table": "orderBookL2", "action": action, "data": list(rows), **more}


def test_topics_name_one_pool_of_the_book() -> None:
    args = ["orderBookL2:XBTUSD:Primary", "trade:XBTUSD", "orderBookL2:ETH_USDT:Primary", "trade:ETH_USDT"]
    assert sent(Bitmex().subscribe(BOTH, ["XBTUSD", "ETH_USDT"])) == [{"op": "subscribe", "args": args}]
    assert sent(Bitmex().unsubscribe(BOTH, ["XBTUSD"])) == [{"op": "unsubscribe", "args": args[:2]}]
    assert len(Bitmex().subscribe(BOTH, [f"S{i}" for i in range(11)])) == 2


def test_acks_refusals_and_what_is_not_json() -> None:
    request = {"op": "subscribe", "args": ["orderBookL2:FOOBAR:Primary", "trade:FOO"]}
    markets = heard(
        Bitmex(),
        {"info": "Welcome to the BitMEX Realtime API.", "version": "2.0.0", "timestamp": TIME},
        {"success": True, "subscribe": "orderBookL2:XBTUSD", "pool": "Primary", "request": request},
        {"success": True, "subscribe": "trade:XBTUSD", "request": request},
        {"success": True, "unsubscribe": "trade:XBTUSD", "request": request},
        {"status": 400, "error": "Unknown symbol: FOOBAR", "meta": {}, "request": request},
        {"status": 429, "error": "Rate limit exceeded", "request": {"op": "subscribe", "args": "trade:XBTUSD"}},
        {"status": 400, "error": "Unrecognized request"},
        "pong",
    )
    assert markets.calls == [
        ("XBTUSD", "subscribed", "book"),
        ("XBTUSD", "subscribed", "trades"),
        ("FOOBAR", "refused", "Unknown symbol: FOOBAR"),
        ("XBTUSD", "refused", "Rate limit exceeded"),
        (None, "refused", "Unrecognized request"),
    ]
    assert markets.unknowns == []
    Bitmex().decode(b"pong", 0, markets)
    assert Bitmex().ping() == "ping"


def test_rows_go_by_name_and_may_lack_price_and_size() -> None:
    bare = {"symbol": "XBTUSD", "id": 7, "side": "Buy"}
    calls = heard(
        Bitmex(),
        book("partial", {**ROW, "timestamp": TIME}, {**bare, "size": 5, "price": 2e-8}),
        book("update", {**bare, "size": 6}),
        book("delete", bare, ROW),
    ).calls
    assert calls == [
        ("XBTUSD", "partial", [(7, "0.00000002", "5")], [(62400580205, "98459.9", "31000")], {}),
        ("XBTUSD", "update", [(7, None, "6")], [], {}),
        ("XBTUSD", "delete", [(7, None, None)], [(62400580205, "98459.9", "31000")], {}),
    ]


def test_a_partial_may_be_empty_or_hold_several_symbols() -> None:
    other = {**ROW, "symbol": "ETHUSD", "timestamp": TIME}
    calls = heard(Bitmex(), book("partial", filter={"symbol": "XBTUSD"}), book("partial", ROW, other)).calls
    assert [call[:2] for call in calls] == [("XBTUSD", "partial"), ("XBTUSD", "partial"), ("ETHUSD", "partial")]
    assert calls[0] == ("XBTUSD", "partial", [], [], {})


def test_a_partial_of_trades_is_history_and_a_side_may_be_missing() -> None:
    trade = {"timestamp": TIME, "symbol": "XBTUSD", "side": "Buy", "size": 8000, "price": 77454.5, "trdMatchID": "0-1"}
    blank = {key: value for key, value in trade.items() if key not in ("side", "trdMatchID")}
    rows = [trade, {**trade, "side": ""}, blank, {**trade, "side": "Sell", "price": 1e-7}]
    calls = heard(
        Bitmex(),
        {"table": "trade", "action": "partial", "data": [trade]},
        {"table": "trade", "action": "insert", "data": rows},
    ).calls
    assert calls == [
        ("XBTUSD", "trade", "buy", "77454.5", "8000", "0-1", TIME),
        ("XBTUSD", "trade", None, "77454.5", "8000", "0-1", TIME),
        ("XBTUSD", "trade", None, "77454.5", "8000", None, TIME),
        ("XBTUSD", "trade", "sell", "0.0000001", "8000", "0-1", TIME),
    ]


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(
        Bitmex(), {"table": "quote", "data": []}, {"table": "funding", "data": []}, {"info": "soon"}, {"hello": 1}
    )
    assert markets.unknowns == ["quote", "funding", "soon", "a message without table"]
    for bad in (book("update", {**ROW, "id": "x"}), book("explode", ROW), {"table": "trade", "action": "insert"}):
        with pytest.raises(msgspec.ValidationError):
            heard(Bitmex(), bad)
    with pytest.raises(ValueError, match="expected a number"):
        heard(Bitmex(), book("update", {**ROW, "size": [1]}))
    with pytest.raises(msgspec.DecodeError):
        heard(Bitmex(), "{")


def instruments(*rows: dict[str, Any]) -> list[Instrument]:
    base = {"state": "Open", "typ": "FFWCSX", "underlying": "XBT", "quoteCurrency": "USDT", "settlCurrency": "USDt"}
    return Bitmex.parse_instruments([json.dumps([{"symbol": "S", **base, **row} for row in rows]).encode()])


def test_contracts_of_every_type() -> None:
    spot, linear, inverse, dated_inverse, quanto, odd = instruments(
        {"typ": "IFXXXP", "underlyingToPositionMultiplier": 100000000, "settlCurrency": None, "tickSize": 0.5},
        {"underlyingToPositionMultiplier": 1000000, "lotSize": 100},
        {"quoteCurrency": "USD", "settlCurrency": "XBt", "isInverse": True},
        {
            "quoteCurrency": "USD",
            "settlCurrency": "XBt",
            "isInverse": True,
            "typ": "FFCCSX",
            "expiry": "2026-12-25T12:00:00.000Z",
        },
        {
            "underlying": "ETH",
            "quoteCurrency": "USD",
            "settlCurrency": "XBt",
            "isQuanto": True,
            "multiplier": 100,
            "underlyingToPositionMultiplier": 1,
        },
        {"underlying": "AIXBT", "state": "Unlisted"},
    )
    assert (spot.symbol, spot.type, spot.settle, spot.contract_size) == (
        "BTC/USDT",
        MarketType.SPOT,
        None,
        "0.00000001",
    )
    assert (linear.symbol, linear.type, linear.contract_size, linear.lot) == (
        "BTC/USDT:USDT",
        MarketType.PERP,
        "0.000001",
        "100",
    )
    assert (inverse.symbol, inverse.type, inverse.contract_size) == ("BTC/USD:BTC", MarketType.INVERSE, "1")
    assert (dated_inverse.symbol, dated_inverse.type) == ("BTC/USD:BTC-261225", MarketType.INVERSE)
    assert (quanto.symbol, quanto.type, quanto.settle) == ("ETH/USD:BTC", MarketType.PERP, "BTC")
    assert (quanto.size_unit, quanto.contract_size) == ("contracts", None), "it stands for no fixed amount"
    assert (odd.symbol, odd.active) == ("AIXBT/USDT:USDT", False)
    assert instruments({"typ": "MRCXXX"}, {"typ": "FFICSX"}) == []


def test_recorded_contracts(recordings: Path) -> None:
    listed = {i.native_symbol: i for i in Bitmex.parse_instruments(listings(recordings / "BITMEX.MIXED"))}
    assert listed["XRPU21"] == Instrument(
        exchange="BITMEX", type=MarketType.FUTURE, symbol="XRP/BTC:BTC-210924", native_symbol="XRPU21", base="XRP",
        quote="BTC", settle="BTC", expiry="2021-09-24", tick="0.00000001", lot="1", contract_size="1",
        size_unit="contracts",
    )  # fmt: skip
    assert listed["ADAUSDT"] == Instrument(
        exchange="BITMEX", type=MarketType.PERP, symbol="ADA/USDT:BTC", native_symbol="ADAUSDT", base="ADA",
        quote="USDT", settle="BTC", tick="0.00001", lot="1", size_unit="contracts",
    )  # fmt: skip
    assert (listed["XBTUSD"].symbol, listed["XBTUSD"].type) == ("BTC/USD:BTC", MarketType.INVERSE)
