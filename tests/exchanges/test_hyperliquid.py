"""Hyperliquid: whole books and the touch of each block on top of them, old trades told after subscribing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from heard import Heard, heard, sent

from level4.exchanges.hyperliquid import Hyperliquid
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
TIME = 1790232236546


def levels(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"px": price, "sz": size, "n": 7} for price, size in pairs]


BIDS, ASKS = [("84143.0", "10.25923"), ("84142.0", "1.65875")], [("84144.0", "50.66449"), ("84150.0", "0.00711")]


def book(time: int = TIME, coin: str = "BTC", bids: Any = BIDS, asks: Any = ASKS) -> dict[str, Any]:
    data = {"coin": coin, "time": time, "levels": [levels(*bids), levels(*asks)]}
    return {"channel": "l2Book", "data": data}


def bbo(time: int, bid: Any, ask: Any, coin: str = "BTC") -> dict[str, Any]:
    touch = [level and levels(level)[0] for level in (bid, ask)]
    return {"channel": "bbo", "data": {"coin": coin, "time": time, "bbo": touch}}


def trades(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"channel": "trades", "data": list(rows)}


def trade(time: int, **other: Any) -> dict[str, Any]:
    row = {"coin": "BTC", "side": "A", "px": "84143.0", "sz": "0.00036", "time": time, "hash": "0x7a", "tid": 1045359}
    return row | {"users": ["0x9a", "0x82"]} | other


def told(markets: Heard) -> list[tuple[Any, ...]]:
    """Time, bids and asks of every snapshot."""
    return [(call[4]["time"], call[2], call[3]) for call in markets.calls if call[1] == "snapshot"]


def test_one_subscription_a_message_and_three_make_a_market() -> None:
    one = Hyperliquid()
    assert sent(one.subscribe(BOTH, ["kPEPE"])) == [
        {"method": "subscribe", "subscription": {"type": "l2Book", "fast": True, "coin": "kPEPE"}},
        {"method": "subscribe", "subscription": {"type": "bbo", "coin": "kPEPE"}},
        {"method": "subscribe", "subscription": {"type": "trades", "coin": "kPEPE"}},
    ]
    assert sent(one.unsubscribe((Channel.TRADES,), ["xyz:SP500", "@107"])) == [
        {"method": "unsubscribe", "subscription": {"type": "trades", "coin": "xyz:SP500"}},
        {"method": "unsubscribe", "subscription": {"type": "trades", "coin": "@107"}},
    ]
    assert one.ping() == '{"method":"ping"}'


def test_translation() -> None:
    def answer(method: str, **asked: object) -> dict[str, Any]:
        return {"channel": "subscriptionResponse", "data": {"method": method, "subscription": asked}}

    repeated = '{"type":"l2Book","coin":"SOL","nSigFigs":null,"mantissa":null,"fast":true}'
    unread = '{"method":"subscribe","subscription":{"type":"l2Book","fast":true,"coin":"ETH"}}'
    markets = heard(
        Hyperliquid(),
        "Websocket connection established.",
        answer("subscribe", type="l2Book", coin="BTC", nSigFigs=None, mantissa=None, fast=True),
        answer("subscribe", type="bbo", coin="BTC"),
        answer("subscribe", type="trades", coin="BTC"),
        answer("unsubscribe", type="trades", coin="BTC"),
        {"channel": "pong"},
        trades(trade(TIME), trade(TIME, side="B", tid=7)),
        {"channel": "error", "data": f"Already subscribed: {repeated}"},
        {"channel": "error", "data": f"Already unsubscribed: {repeated}"},
        {"channel": "error", "data": f"Error parsing JSON into valid websocket request: {unread}"},
        {"channel": "error", "data": "no more"},
        {"channel": "allMids", "data": {}},
        {"hello": 1},
    )
    assert markets.calls == [
        ("BTC", "subscribed", "book"),
        ("BTC", "subscribed", "trades"),
        ("BTC", "trade", "sell", "84143.0", "0.00036", "1045359", TIME),
        ("BTC", "trade", "buy", "84143.0", "0.00036", "7", TIME),
        ("SOL", "subscribed", "book"),
        ("ETH", "refused", f"Error parsing JSON into valid websocket request: {unread}"),
        (None, "refused", "no more"),
    ]
    assert markets.unknowns == ["allMids", "a message without channel"]
    assert Hyperliquid.exchange_us(TIME) == TIME * 1000


@pytest.mark.parametrize(
    "bad",
    [
        {"channel": "l2Book", "data": {"coin": "BTC", "time": TIME, "levels": [[]]}},
        {"channel": "l2Book", "data": {"coin": "BTC", "time": "now", "levels": [[], []]}},
        {"channel": "l2Book", "data": {"coin": "BTC", "time": TIME, "levels": [[["1", "2"]], []]}},
        {"channel": "bbo", "data": {"coin": "BTC", "time": TIME, "bbo": [None]}},
        trades(trade(TIME, side="S")),
        trades(trade(TIME, tid="x")),
    ],
)
def test_wrong_shapes_raise(bad: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        heard(Hyperliquid(), bad)


@pytest.mark.parametrize("text", ["", "{", "Websocket connection lost.", '"x"'])
def test_only_the_greeting_may_be_no_json(text: str) -> None:
    if text == '"x"':
        assert heard(Hyperliquid(), text).unknowns == ["a message without channel"]
        return
    with pytest.raises(msgspec.DecodeError):
        heard(Hyperliquid(), text)


def test_a_touch_lies_on_what_it_has_not_passed() -> None:
    one = Hyperliquid()
    frames = [
        book(),
        bbo(TIME + 70, ("84143.5", "1.0"), ("84145.0", "2.0")),  # improved; the best ask is gone
        bbo(TIME + 140, ("84142.0", "3.0"), ("84150.0", "0.1")),  # back to the next levels
        bbo(TIME + 210, None, ("84150.0", "0.1")),  # a side is empty
        book(TIME + 540, bids=BIDS[1:]),
    ]
    assert told(heard(one, *frames)) == [
        (TIME, BIDS, ASKS),
        (TIME + 70, [("84143.5", "1.0"), *BIDS], [("84145.0", "2.0"), ASKS[1]]),
        (TIME + 140, [("84142.0", "3.0")], [("84150.0", "0.1")]),
        (TIME + 210, [], [("84150.0", "0.1")]),
        (TIME + 540, BIDS[1:], ASKS),
    ]


def test_a_book_that_a_touch_has_overtaken_only_fills_what_lies_below() -> None:
    touch = bbo(TIME + 70, ("84142.5", "1.0"), ("84143.0", "2.0"))
    later = book(TIME + 20, asks=[ASKS[0], ("84149.0", "1.0")])
    assert told(heard(Hyperliquid(), book(), touch, later))[-1] == (
        TIME + 70,
        [("84142.5", "1.0"), BIDS[1]],
        [("84143.0", "2.0"), ASKS[0], ("84149.0", "1.0")],
    )


def test_what_is_older_is_left_out_and_is_no_evidence() -> None:
    one = Hyperliquid()
    heard(one, book(), bbo(TIME + 70, BIDS[0], ASKS[0]))
    old = [book(TIME - 1), bbo(TIME - 70, BIDS[1], ASKS[1]), bbo(TIME + 70, BIDS[1], ASKS[1])]
    assert heard(one, *old).calls == []
    assert told(heard(one, book(TIME)))[0][0] == TIME + 70  # a repeated book is evidence
    assert heard(one, book(TIME + 540), bbo(TIME + 140, BIDS[1], ASKS[1])).calls[1:] == []  # the book has overtaken it
    assert told(heard(one, bbo(TIME, BIDS[1], ASKS[1], coin="ETH"), book(TIME, coin="ETH")))[0][0] == TIME


def test_a_touch_alone_is_no_book() -> None:
    one = Hyperliquid()
    assert heard(one, bbo(TIME, BIDS[0], ASKS[0])).calls == []
    assert told(heard(one, book(TIME - 5)))[0] == (TIME, BIDS, ASKS)
    one.sent(one.unsubscribe((Channel.BOOK,), ["BTC"])[0], TIME * 1_000_000)
    assert heard(one, bbo(TIME + 5, BIDS[1], ASKS[0])).calls == []
    assert told(heard(one, book(TIME - 10), book(TIME + 10)))[0] == (TIME + 10, BIDS, ASKS)


def test_only_the_first_frame_after_subscribing_tells_history() -> None:
    one = Hyperliquid()
    for text in one.subscribe(BOTH, ["BTC"]):
        one.sent(text, TIME * 1_000_000 + 999_999)
    first = trades(trade(TIME - 20_000, tid=1), trade(TIME - 1, tid=2), trade(TIME, tid=3))
    assert [call[5] for call in heard(one, first).calls] == ["3"]
    assert [call[5] for call in heard(one, trades(trade(TIME - 500, tid=4))).calls] == ["4"]  # clocks differ
    one.sent(one.subscribe((Channel.TRADES,), ["BTC"])[0], TIME * 1_000_000)
    assert heard(one, trades(), first).calls == heard(one, trades(trade(TIME, tid=3))).calls


def test_listed_markets() -> None:
    def token(name: str, index: int, decimals: int) -> dict[str, Any]:
        return {"name": name, "szDecimals": decimals, "weiDecimals": 8, "index": index, "isCanonical": True}

    def dex(collateral: int, *rows: dict[str, Any]) -> dict[str, Any]:
        return {"universe": list(rows), "marginTables": [], "collateralToken": collateral}

    spot = {
        "universe": [
            {"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True},
            {"name": "@107", "tokens": [150, 0], "index": 107, "isCanonical": False},
            {"name": "@108", "tokens": [151, 0], "index": 108, "isCanonical": False},
        ],
        "tokens": [token("USDC", 0, 8), token("PURR", 1, 0), token("HYPE", 150, 2), token("USDE", 235, 2)],
    }
    perpetuals = [
        dex(
            0,
            {"name": "BTC", "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56},
            {"name": "kPEPE", "szDecimals": 0, "maxLeverage": 10, "marginTableId": 52},
            {"name": "MATIC", "szDecimals": 1, "maxLeverage": 20, "marginTableId": 20, "isDelisted": True},
        ),
        dex(235, {"name": "hyna:BTC", "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56}),
        dex(999, {"name": "what:BTC", "szDecimals": 5, "maxLeverage": 40, "marginTableId": 56}),
    ]
    found = Hyperliquid.parse_instruments([json.dumps(body).encode() for body in (spot, perpetuals)])
    assert [(each.symbol, each.native_symbol, each.tick, each.lot, each.active) for each in found] == [
        ("PURR/USDC", "PURR/USDC", "0.00000001", "1", True),
        ("HYPE/USDC", "@107", "0.000001", "0.01", True),
        ("BTC/USDC:USDC", "BTC", "0.1", "0.00001", True),
        ("KPEPE/USDC:USDC", "kPEPE", "0.000001", "1", True),
        ("MATIC/USDC:USDC", "MATIC", "0.00001", "0.1", False),
        ("HYNA-BTC/USDE:USDE", "hyna:BTC", "0.1", "0.00001", True),
    ]
    assert found[-1] == Instrument(
        exchange="HYPERLIQUID", type=MarketType.PERP, symbol="HYNA-BTC/USDE:USDE", native_symbol="hyna:BTC",
        base="HYNA-BTC", quote="USDE", settle="USDE", tick="0.1", lot="0.00001",
    )  # fmt: skip
    assert (found[0].type, found[0].base, found[0].quote, found[0].settle) == (MarketType.SPOT, "PURR", "USDC", None)
