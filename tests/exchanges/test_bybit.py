"""Bybit v5: one translation for four categories, their different acks, and the chain of numbers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from heard import heard, sent

from level4.book import Verdict
from level4.book.rules import bybit, next_or_old
from level4.exchanges import PROTOCOLS, venue
from level4.exchanges.bybit import BybitInverse, BybitLinear, BybitOption, BybitSpot, BybitV5
from level4.exchanges.scheme import Channel
from level4.model import ConfigError, Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
CALL, PUT = "BTC-27MAR26-70000-C-USDT", "BTC-27MAR26-70000-P-USDT"


def book(kind: str, u: int, topic: str = "orderbook.200.BTCUSDT", **more: Any) -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": [["1.0", "2"]], "a": [["1.5", "0"]], "u": u, "seq": 5}
    return {"topic": topic, "type": kind, "ts": 9, "data": data, **more}


def listing(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": {"list": rows, "nextPageCursor": ""}}).encode()


def test_each_market_has_its_own_request_so_that_a_bad_name_spoils_nothing_else() -> None:
    one = BybitLinear()
    asked = sent(one.subscribe(BOTH, ["BTCUSDT", "ETHUSDT"]))
    assert [request["args"] for request in asked] == [
        ["orderbook.200.BTCUSDT", "publicTrade.BTCUSDT"],
        ["orderbook.200.ETHUSDT", "publicTrade.ETHUSDT"],
    ]
    assert {request["op"] for request in asked} == {"subscribe"}
    good = {"success": True, "ret_msg": "", "conn_id": "x", "req_id": asked[0]["req_id"], "op": "subscribe"}
    bad = {**good, "success": False, "ret_msg": "error:handler not found", "req_id": asked[1]["req_id"]}
    assert heard(one, good, bad).calls == [
        ("BTCUSDT", "subscribed", "book"),
        ("BTCUSDT", "subscribed", "trades"),
        ("ETHUSDT", "refused", "error:handler not found"),
    ]
    (farewell,) = sent(one.unsubscribe([Channel.BOOK], ["BTCUSDT"]))
    assert farewell == {"op": "unsubscribe", "args": ["orderbook.200.BTCUSDT"]}


def test_an_answer_that_names_no_request_is_about_the_oldest() -> None:
    one = BybitLinear()
    one.subscribe([Channel.BOOK], ["A", "B"])
    answer = {"success": True, "ret_msg": "", "req_id": "", "op": "subscribe"}
    assert heard(one, answer, answer).calls == [("A", "subscribed", "book"), ("B", "subscribed", "book")]
    assert heard(one, {"success": False, "ret_msg": "invalid op"}).calls == [(None, "refused", "invalid op")]


def test_the_trades_of_all_strikes_share_a_topic() -> None:
    one = BybitOption()
    first, second = sent(one.subscribe(BOTH, [CALL, PUT]))
    assert first["args"] == [f"orderbook.100.{CALL}", "publicTrade.BTC"]
    assert second["args"] == [f"orderbook.100.{PUT}"]
    topics = {"successTopics": [f"orderbook.100.{CALL}", "publicTrade.BTC"], "failTopics": [f"orderbook.100.{PUT}"]}
    assert heard(one, {"success": True, "conn_id": "x", "data": topics, "type": "COMMAND_RESP"}).calls == [
        (CALL, "subscribed", "book"),
        (CALL, "subscribed", "trades"),
        (PUT, "subscribed", "trades"),
        (PUT, "refused", "among failTopics"),
    ]
    assert sent(one.unsubscribe(BOTH, [CALL]))[0]["args"] == [f"orderbook.100.{CALL}"]
    assert sent(one.unsubscribe([Channel.TRADES], [PUT]))[0]["args"] == ["publicTrade.BTC"]
    assert one.unsubscribe([Channel.TRADES], [PUT]) == []


@pytest.mark.parametrize(
    "pong",
    [
        {"success": True, "ret_msg": "pong", "conn_id": "x", "op": "ping"},
        {"args": ["1672916271846"], "op": "pong"},
        {"success": True, "ret_msg": "", "conn_id": "x", "req_id": "3", "op": "unsubscribe"},
    ],
)
def test_pongs_and_farewells_say_nothing(pong: dict[str, Any]) -> None:
    markets = heard(BybitSpot(), pong)
    assert not markets.calls
    assert not markets.unknowns
    assert json.loads(BybitSpot().ping()) == {"op": "ping"}


def test_snapshots_and_deltas() -> None:
    levels = [("1.0", "2")], [("1.5", "0")]
    assert heard(
        BybitV5(),
        book("snapshot", 7, cts=8),
        book("delta", 8),
        book("delta", 1, cts="8"),  # a restart of the service
        book("snapshot", 1, topic="orderbook.1.BTCUSDT"),
    ).calls == [
        ("BTCUSDT", "snapshot", *levels, {"last": 7, "time": 8}),
        ("BTCUSDT", "delta", *levels, {"last": 8, "time": 9}),
        ("BTCUSDT", "snapshot", *levels, {"last": 1, "time": "8"}),
        ("BTCUSDT", "snapshot", *levels, {"last": 1, "time": 9}),
    ]


def test_trades_are_no_history_though_they_say_snapshot() -> None:
    rows = [
        {"T": 1, "s": CALL, "S": "Buy", "v": "0.1", "p": "2", "i": "a-b", "BT": True},
        {"T": 2, "s": PUT, "S": "Sell", "v": "0.2", "p": "3", "i": "7", "BT": False},
    ]
    assert heard(BybitOption(), {"topic": "publicTrade.BTC", "type": "snapshot", "ts": 3, "data": rows}).calls == [
        (CALL, "trade", "buy", "2", "0.1", "a-b", 1),
        (PUT, "trade", "sell", "3", "0.2", "7", 2),
    ]


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(BybitV5(), {"topic": "tickers.X", "type": "snapshot", "ts": 1, "data": {}}, {"op": "auth"}, [1])
    assert markets.unknowns == ["tickers", "auth", "a message without topic and op"]
    for wrong in (book("change", 1), {**book("delta", 1), "data": {"s": "X"}}, {**book("delta", 1), "ts": None}):
        with pytest.raises(msgspec.DecodeError):
            heard(BybitV5(), wrong)
    with pytest.raises(msgspec.DecodeError):
        heard(BybitV5(), "pong")


def test_numbers_rise_by_one_and_any_number_follows_an_empty_book() -> None:
    assert bybit(0, None, 17, None) is Verdict.APPLY
    assert bybit(24641, None, 24642, None) is next_or_old(24641, None, 24642, None) is Verdict.APPLY
    assert bybit(24641, None, 24643, None) is next_or_old(24641, None, 24643, None) is Verdict.GAP
    assert bybit(24641, None, 24641, None) is next_or_old(24641, None, 24641, None) is Verdict.OLD
    assert next_or_old(0, None, 17, None) is Verdict.GAP
    with pytest.raises(ValueError, match="number"):
        bybit(0, None, None, None)


def test_instruments_of_all_categories() -> None:
    linear = {
        "symbol": "BTCPERP", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
        "quoteCoin": "USDC", "settleCoin": "USDC", "deliveryTime": "1774598400000",
        "priceFilter": {"minPrice": "0.10", "tickSize": "0.10"}, "lotSizeFilter": {"qtyStep": "0.001"},
    }  # fmt: skip
    dated = {**linear, "symbol": "BTC-27MAR26", "contractType": "LinearFutures"}
    body = listing(linear, dated)
    perpetual, future = BybitLinear.parse_instruments([body])
    assert perpetual == Instrument(
        exchange="BYBIT", type=MarketType.PERP, symbol="BTC/USDC:USDC", native_symbol="BTCPERP", base="BTC",
        quote="USDC", settle="USDC", tick="0.10", lot="0.001",
    )  # fmt: skip
    assert (future.type, future.symbol, future.expiry) == (MarketType.FUTURE, "BTC/USDC:USDC-260327", "2026-03-27")

    inverse = {
        "symbol": "BTCUSDH26", "contractType": "InverseFutures", "status": "PreLaunch", "baseCoin": "BTC",
        "quoteCoin": "USD", "settleCoin": "BTC", "deliveryTime": "1774598400000",
        "priceFilter": {"tickSize": "0.50"}, "lotSizeFilter": {"qtyStep": "1"},
    }  # fmt: skip
    (coin,) = BybitInverse.parse_instruments([listing(inverse)])
    assert coin == Instrument(
        exchange="BYBIT", type=MarketType.INVERSE, symbol="BTC/USD:BTC-260327", native_symbol="BTCUSDH26", base="BTC",
        quote="USD", settle="BTC", expiry="2026-03-27", tick="0.50", lot="1", contract_size="1",
        size_unit="contracts", active=False,
    )  # fmt: skip

    spot = {
        "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading",
        "lotSizeFilter": {"basePrecision": "0.000001"}, "priceFilter": {"tickSize": "0.1"},
    }  # fmt: skip
    assert BybitSpot.parse_instruments([listing(spot)]) == [
        Instrument(
            exchange="BYBIT", type=MarketType.SPOT, symbol="BTC/USDT", native_symbol="BTCUSDT", base="BTC",
            quote="USDT", tick="0.1", lot="0.000001",
        )
    ]  # fmt: skip

    option = {
        "symbol": PUT, "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT",
        "optionsType": "Put", "deliveryTime": "1774598400000", "priceFilter": {"tickSize": "5"},
        "lotSizeFilter": {"qtyStep": "0.01"},
    }  # fmt: skip
    nothing = json.dumps({"retCode": 10001, "retMsg": "no such coin", "result": {}}).encode()
    coins = b'{"result":{"list":[{"baseCoin":"BTC"}]}}'
    assert BybitOption.parse_instruments([coins, listing(option), nothing, listing()]) == [
        Instrument(
            exchange="BYBIT", type=MarketType.OPTION, symbol="BTC/USDT:USDT-260327-70000-P", native_symbol=PUT,
            base="BTC", quote="USDT", settle="USDT", expiry="2026-03-27", strike="70000", right="P", tick="5",
            lot="0.01",
        )
    ]  # fmt: skip


def test_a_list_may_have_pages_and_options_are_listed_by_coin() -> None:
    (path,) = BybitLinear.instruments_paths
    page = json.dumps({"result": {"list": [], "nextPageCursor": "first=A&last=B"}}).encode()
    (second,) = BybitLinear.further_instruments(path, page)
    assert second == f"{path}&cursor=first%3DA%26last%3DB"
    assert BybitLinear.further_instruments(second, page) == [second]
    assert BybitLinear.further_instruments(second, listing()) == []

    rows = [{"baseCoin": coin, "hasSymbol": has} for coin, has in (("XRP", 1), ("BTC", 1), ("NVDA", 0))]
    (path,) = BybitOption.instruments_paths
    lists = BybitOption.further_instruments(path, json.dumps({"result": {"list": rows}}).encode())
    assert [each.rpartition("=")[2] for each in lists] == ["BTC", "XRP"]
    assert BybitOption.further_instruments(lists[0], page) == [f"{lists[0]}&cursor=first%3DA%26last%3DB"]


def test_the_translation_without_an_address_serves_recordings_only() -> None:
    assert PROTOCOLS["bybit.v5"] is BybitV5
    assert venue("bybit", MarketType.OPTION).book is BybitOption
    with pytest.raises(ConfigError, match=r"known are bybit\.v5\.inverse, "):
        venue("BYBIT", MarketType.PERP, {"BYBIT.PERP": "bybit.v5"})
