"""Gemini: which message is the whole book, in both protocols, and symbols without a separator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.book import Verdict
from level4.book.rules import overlaps
from level4.exchanges.gemini import Gemini
from level4.exchanges.gemini_v2 import GeminiV2
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
DEPTH = {
    "e": "depthUpdate", "E": 1789456740173524809, "s": "btcusd", "U": 10, "u": 12, "b": [["2.50", "0.000"]], "a": [],
}  # fmt: skip
TRADE = {"E": 1783981140085684200, "s": "btcrlusd", "t": 2840141014190422, "p": "62145.38", "q": "0.01625", "m": True}
TICKER = {"u": 7, "E": 1, "s": "xrpgusd", "b": "1.06", "B": "958.6", "a": "", "A": ""}


def test_one_symbol_a_message() -> None:
    one = Gemini()
    assert sent(one.subscribe(BOTH, ["btcusd", "ethusd"])) == [
        {"id": 1, "method": "subscribe", "params": ["btcusd@depth@100ms", "btcusd@trade"]},
        {"id": 2, "method": "subscribe", "params": ["ethusd@depth@100ms", "ethusd@trade"]},
    ]
    assert sent(one.unsubscribe((Channel.BOOK,), ["btcusd"])) == [
        {"id": 3, "method": "unsubscribe", "params": ["btcusd@depth@100ms"]}
    ]
    assert one.ping() == '{"id":0,"method":"ping"}'
    assert Gemini.exchange_us(1789456740173524809) == 1789456740173524


def test_answers() -> None:
    one = Gemini()
    for text in one.subscribe(BOTH, ["btcusd", "nope"]):
        one.sent(text, 0)
    one.sent(one.ping(), 0)
    refusal = {"status": 400, "error": {"code": -1013, "msg": "Invalid stream name: nope@trade"}}
    markets = heard(one, {"id": 1, "status": 200}, {"id": 0, "status": 200}, {"id": 2, **refusal}, refusal)
    reason = "Invalid stream name: nope@trade (code -1013)"
    assert markets.calls == [
        ("btcusd", "subscribed", "book"),
        ("btcusd", "subscribed", "trades"),
        ("nope", "refused", reason),
        (None, "refused", reason),
    ]


def test_the_first_update_of_a_symbol_is_its_book_until_an_unsubscription_is_answered() -> None:
    one = Gemini()
    book: tuple[Any, ...] = ("btcusd", "snapshot", [("2.50", "0.000")], [], {"last": 12, "time": 1789456740173524809})
    change: tuple[Any, ...] = (
        "btcusd",
        "delta",
        [("2.50", "0.000")],
        [],
        {"first": 10, "last": 12, "time": 1789456740173524809},
    )
    other = ("ethusd", "snapshot", *book[2:])
    assert heard(one, DEPTH, DEPTH, {**DEPTH, "s": "ethusd"}).calls == [book, change, other]
    for text in (*one.unsubscribe((Channel.TRADES,), ["btcusd"]), *one.unsubscribe((Channel.BOOK,), ["btcusd"])):
        one.sent(text, 0)
    for text in one.subscribe((Channel.BOOK,), ["btcusd"]):
        one.sent(text, 0)
    assert heard(one, {"id": 1, "status": 200}, DEPTH, {"id": 2, "status": 200}, DEPTH, DEPTH).calls == [
        change,
        book,
        change,
    ]
    assert heard(one, {"id": 3, "status": 200}, DEPTH).calls[1:] == [change]


def test_a_buyer_who_made_the_price_means_that_the_taker_sold() -> None:
    markets = heard(Gemini(), TRADE, {**TRADE, "m": False}, TICKER, {"e": "markPrice", "s": "x"}, {"hello": 1})
    assert [call[2] for call in markets.calls] == ["sell", "buy"]
    assert markets.calls[0] == (
        "btcrlusd", "trade", "sell", "62145.38", "0.01625", "2840141014190422", 1783981140085684200,
    )  # fmt: skip
    assert markets.unknowns == ["bookTicker", "markPrice", "a message without kind"]


@pytest.mark.parametrize("bad", [{**DEPTH, "b": 1}, {**DEPTH, "U": None}, {**DEPTH, "b": "x"}, {**TRADE, "p": 1}])
def test_wrong_shapes_raise(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"[Ee]xpected"):
        heard(Gemini(), bad)


def test_updates_overlap_by_one() -> None:
    assert overlaps(192323, 192323, 192686, None) is Verdict.APPLY
    assert overlaps(192323, 192000, 192323, None) is Verdict.OLD
    assert overlaps(192323, 192324, 192686, None) is Verdict.GAP
    with pytest.raises(ValueError, match="expected"):
        overlaps(1, None, 2, None)


def test_version_2() -> None:
    book = {"type": "l2_updates", "symbol": "BTCUSD", "changes": [["buy", "2", "1"], ["sell", "3", "0"]]}
    trade = {"type": "trade", "symbol": "BTCUSD", "event_id": 5, "timestamp": 9, "price": "2", "quantity": "1"}
    assert sent(GeminiV2().subscribe(BOTH, ["BTCUSD"])) == [
        {"type": "subscribe", "subscriptions": [{"name": "l2", "symbols": ["BTCUSD"]}]}
    ]
    assert sent(GeminiV2().unsubscribe(BOTH, ["BTCUSD"]))[0]["type"] == "unsubscribe"
    markets = heard(
        GeminiV2(),
        {**book, "trades": [{"type": "trade"}], "auction_events": []},
        {**book, "auction_events": []},
        book,
        *({**trade, "side": side} for side in ("buy", "sell", "block")),
        {"type": "heartbeat", "timestamp": 1},
        {"result": "error", "reason": "NoValidTradingPairs"},
        {"type": "auction_indicative"},
        {"hello": 1},
    )
    acks = [("BTCUSD", "subscribed", "book"), ("BTCUSD", "subscribed", "trades")]
    assert markets.calls == [
        *acks,
        ("BTCUSD", "snapshot", [("2", "1")], [("3", "0")], {}),
        *acks,
        ("BTCUSD", "snapshot", [("2", "1")], [("3", "0")], {}),
        ("BTCUSD", "delta", [("2", "1")], [("3", "0")], {}),
        ("BTCUSD", "trade", "buy", "2", "1", "5", 9),
        ("BTCUSD", "trade", "sell", "2", "1", "5", 9),
        ("BTCUSD", "trade", None, "2", "1", "5", 9),
        (None, "refused", "NoValidTradingPairs"),
    ]
    assert markets.unknowns == ["auction_indicative", "a message without type"]
    with pytest.raises(msgspec.ValidationError):
        heard(GeminiV2(), {**book, "changes": [["bid", "2", "1"]]})


def test_names_are_split_at_the_quote_currency() -> None:
    names = ["btcusd", "btcgusd", "btcrlusd", "yggusd", "gusdgbp", "usdtusd", "linketh", "btcgusdperp", "gemi-x", "usd"]
    listed = Gemini.parse_instruments([json.dumps(names).encode()])
    assert [i.symbol for i in listed] == [
        "BTC/USD", "BTC/GUSD", "BTC/RLUSD", "YGG/USD", "GUSD/GBP", "USDT/USD", "LINK/ETH",
    ]  # fmt: skip
    assert GeminiV2.parse_instruments([b'["btcusd"]'])[0].native_symbol == "BTCUSD"


def test_recorded_pairs(recordings: Path) -> None:
    listed = {i.native_symbol: i for i in Gemini.parse_instruments(listings(recordings / "GEMINI.SPOT"))}
    assert listed["linketh"] == Instrument(
        exchange="GEMINI", type=MarketType.SPOT, symbol="LINK/ETH", native_symbol="linketh", base="LINK", quote="ETH",
        tick="0.0000001", lot="0.000001",
    )  # fmt: skip
    assert len(listed) == 7
