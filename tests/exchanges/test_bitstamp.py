"""Bitstamp: two ways to keep a book, joined with REST by time."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from heard import Heard, heard, sent

from level4.book import Verdict
from level4.book.rules import newer, unproven
from level4.exchanges.bitstamp import BitstampDiff, BitstampTop
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType, Notice

BOTH = (Channel.BOOK, Channel.TRADES)
TIME = 1641343691355099
BOOK = {
    "timestamp": "1641343691", "microtimestamp": str(TIME), "bids": [],
    "asks": [["0.00002921", "3213.71284910"], ["0.00002922", "0.00000000"]],
}  # fmt: skip
TRADE = {
    "id": 216000477, "timestamp": "1641343699", "amount": 0.0792, "amount_str": "0.07920000", "price": 3805.44,
    "price_str": "3805.44", "type": 0, "microtimestamp": "1641343699596000", "buy_order_id": 2, "sell_order_id": 1,
}  # fmt: skip
LEVELS = [("0.00002921", "3213.71284910"), ("0.00002922", "0.00000000")]


def frame(channel: str, data: Any, event: str = "data") -> dict[str, Any]:
    return {"data": data, "channel": channel, "event": event}


def test_one_channel_a_message() -> None:
    assert sent(BitstampDiff().subscribe(BOTH, ["ethusd"])) == [
        {"event": "bts:subscribe", "data": {"channel": "diff_order_book_ethusd"}},
        {"event": "bts:subscribe", "data": {"channel": "live_trades_ethusd"}},
    ]
    assert sent(BitstampTop().unsubscribe((Channel.BOOK,), ["ethusd"])) == [
        {"event": "bts:unsubscribe", "data": {"channel": "order_book_ethusd"}}
    ]
    assert BitstampDiff().ping() == '{"event":"bts:heartbeat"}'


def test_translation() -> None:
    markets = heard(
        BitstampDiff(),
        {"event": "bts:subscription_succeeded", "channel": "diff_order_book_ethusd", "data": {}},
        {"event": "bts:subscription_succeeded", "channel": "live_trades_ethusd", "data": {}},
        {"event": "bts:unsubscription_succeeded", "channel": "live_trades_ethusd", "data": {}},
        {"event": "bts:heartbeat", "channel": "", "data": {"status": "success"}},
        frame("diff_order_book_batbtc", BOOK),
        frame("live_trades_ethusd", TRADE, "trade"),
        frame("live_trades_ethusd", {**TRADE, "type": 1}, "trade"),
        frame("order_book_batbtc", BOOK),
        frame("live_orders_ethusd", {"id": 1}, "order_created"),
        {"event": "bts:request_reconnect", "channel": "", "data": ""},
        {"event": "bts:request_reconnect", "channel": "", "data": None},
        {"event": "bts:error", "channel": "", "data": {"code": None, "message": "Bad subscription string."}},
        {"event": "bts:error", "channel": "live_trades_x", "data": None},
        {"hello": 1},
    )
    assert markets.calls == [
        ("ethusd", "subscribed", "book"),
        ("ethusd", "subscribed", "trades"),
        ("batbtc", "delta", [], LEVELS, {"last": TIME, "time": TIME}),
        ("ethusd", "trade", "buy", "3805.44", "0.07920000", "216000477", "1641343699596000"),
        ("ethusd", "trade", "sell", "3805.44", "0.07920000", "216000477", "1641343699596000"),
        (None, "notice", Notice.RECONNECT),
        (None, "notice", Notice.RECONNECT),
        (None, "refused", "Bad subscription string."),
        ("x", "refused", "no reason given"),
    ]
    assert markets.unknowns == [
        "data order_book",
        "order_created live_orders",
        "a message without event and channel",
    ]
    assert BitstampDiff.exchange_us("1641343699596000") == 1641343699596000
    assert BitstampDiff.exchange_us(None) is None


@pytest.mark.parametrize(
    "bad",
    [
        frame("diff_order_book_x", {**BOOK, "bids": {}}),
        frame("diff_order_book_x", {**BOOK, "microtimestamp": ""}),
        frame("live_trades_x", {**TRADE, "type": 2}, "trade"),
        frame("live_trades_x", {}, "trade"),
    ],
)
def test_wrong_shapes_raise(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected|expected|invalid|Invalid"):
        heard(BitstampDiff(), bad)
    with pytest.raises(msgspec.DecodeError):
        heard(BitstampDiff(), "{")


def test_a_snapshot_is_named_by_its_address_and_an_old_one_has_only_seconds() -> None:
    one = BitstampDiff()
    assert one.snapshot_path("ethusd") == "/api/v2/order_book/ethusd/?group=1"
    assert one.snapshot_symbol("https://www.bitstamp.net/api/v2/order_book/ethusd") == "ethusd"
    assert one.snapshot_symbol("http://127.0.0.1:1/www.bitstamp.net/api/v2/order_book/btcusd-perp/?group=1") == (
        "btcusd-perp"
    )
    assert one.snapshot_symbol("https://www.bitstamp.net/api/v2/markets/") is None
    markets = Heard()
    one.decode_snapshot("x", json.dumps(BOOK), markets)
    one.decode_snapshot("x", json.dumps({key: BOOK[key] for key in ("timestamp", "bids", "asks")}), markets)
    assert [call[4]["last"] for call in markets.calls] == [TIME, 1641343691000000]


def test_diffs_join_by_time_and_then_nothing_shows_a_gap() -> None:
    assert newer(TIME, None, TIME, None) is Verdict.OLD
    assert newer(TIME, None, TIME + 1, None) is Verdict.APPLY
    assert unproven(TIME, None, TIME, None) is Verdict.APPLY
    with pytest.raises(ValueError, match="expected"):
        newer(TIME, None, None, None)


def test_every_message_of_the_top_is_a_book_and_older_ones_are_left_out() -> None:
    one, markets = BitstampTop(), Heard()
    book = frame("order_book_x", BOOK)
    one.decode(json.dumps(book), 0, markets)
    one.decode(json.dumps(book), 0, markets)
    one.decode_snapshot("x", json.dumps({**BOOK, "microtimestamp": str(TIME - 1)}), markets)
    assert markets.calls == [("x", "snapshot", [], LEVELS, {"last": TIME, "time": TIME})]
    one.decode_snapshot("x", json.dumps({**BOOK, "microtimestamp": str(TIME + 5)}), markets)
    one.decode(json.dumps(frame("order_book_y", BOOK)), 0, markets)
    assert [(call[0], call[4]["last"]) for call in markets.calls[1:]] == [("x", TIME + 5), ("y", TIME)]
    assert heard(one, frame("diff_order_book_x", BOOK)).unknowns == ["data diff_order_book"]


def test_listed_markets() -> None:
    row = {
        "name": "BTC/USD", "market_symbol": "btcusd", "base_currency": "BTC", "base_decimals": 8,
        "counter_currency": "USD", "counter_decimals": 0, "trading": "Disabled", "market_type": "SPOT",
    }  # fmt: skip
    body = json.dumps([row, {**row, "market_symbol": "btcusd-perp", "market_type": "PERPETUAL"}]).encode()
    assert BitstampDiff.parse_instruments([body]) == [
        Instrument(
            exchange="BITSTAMP", type=MarketType.SPOT, symbol="BTC/USD", native_symbol="btcusd", base="BTC",
            quote="USD", tick="1", lot="0.00000001", active=False,
        )
    ]  # fmt: skip
