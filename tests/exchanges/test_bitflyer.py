"""bitFlyer: books sent again and again, prices of zero, acks for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.exchanges.bitflyer import Bitflyer
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
BIDS, ASKS = '[{"price":5860832.0,"size":0.10},{"price":0,"size":3}]', '[{"price":2e-5,"size":0.0}]'
BOARD = f'{{"mid_price":5.5,"bids":{BIDS},"asks":{ASKS}}}'
TRADE = {"id": 2652079303, "side": "SELL", "price": 13633748, "size": 3, "exec_date": "2026-09-23T03:31:27.0873222Z"}


def board(channel: str, body: str = BOARD) -> str:
    return f'{{"jsonrpc":"2.0","method":"channelMessage","params":{{"channel":"{channel}","message":{body}}}}}'


def message(channel: str, body: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "channelMessage", "params": {"channel": channel, "message": body}}


def test_a_book_is_two_channels() -> None:
    one = Bitflyer()
    names = ["lightning_board_snapshot_BTC_JPY", "lightning_board_BTC_JPY", "lightning_executions_BTC_JPY"]
    assert sent(one.subscribe(BOTH, ["BTC_JPY"])) == [
        {"jsonrpc": "2.0", "method": "subscribe", "params": {"channel": name}, "id": i + 1}
        for i, name in enumerate(names)
    ]
    assert [each["method"] for each in sent(one.unsubscribe((Channel.BOOK,), ["BTC_JPY"]))] == ["unsubscribe"] * 2
    markets = heard(
        one,
        {"jsonrpc": "2.0", "id": 1, "result": True},
        {"jsonrpc": "2.0", "id": 4, "result": True},
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -32009, "message": "already subscribed"}},
        {"jsonrpc": "2.0", "id": 3, "error": {"code": -32602, "message": "invalid channel"}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}},
    )
    assert markets.calls == [
        ("BTC_JPY", "subscribed", "book"),
        ("BTC_JPY", "subscribed", "book"),
        ("BTC_JPY", "refused", "invalid channel (code -32602)"),
        (None, "refused", "parse error (code -32700)"),
    ]


def test_the_longer_prefix_is_the_whole_book_and_price_zero_is_no_level() -> None:
    bids, asks = [("5860832.0", "0.10")], [("0.00002", "0.0")]
    assert heard(
        Bitflyer(), board("lightning_board_snapshot_FX_BTC_JPY"), board("lightning_board_FX_BTC_JPY")
    ).calls == [
        ("FX_BTC_JPY", "snapshot", bids, asks, {}),
        ("FX_BTC_JPY", "delta", bids, asks, {}),
    ]


def test_an_auction_has_no_taker() -> None:
    rows = [TRADE, {**TRADE, "side": ""}, {**TRADE, "side": "BUY"}]
    calls = heard(Bitflyer(), message("lightning_executions_BTC_JPY", rows)).calls
    assert [call[2] for call in calls] == ["sell", None, "buy"]
    assert calls[0] == ("BTC_JPY", "trade", "sell", "13633748", "3", "2652079303", "2026-09-23T03:31:27.0873222Z")
    assert Bitflyer.exchange_us("2026-09-23T03:31:27.0873222Z") == 1790134287087322


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(
        Bitflyer(), message("lightning_ticker_BTC_JPY", {"state": "RUNNING"}), {"method": "x"}, {"hello": 1}
    )
    assert markets.unknowns == ["lightning_ticker", "x", "a message without method"]
    for bad in (
        message("lightning_board_BTC_JPY", {"bids": []}),
        message("lightning_executions_BTC_JPY", [{**TRADE, "side": "sideways"}]),
    ):
        with pytest.raises(msgspec.ValidationError):
            heard(Bitflyer(), bad)
    for bad in (
        message("lightning_board_BTC_JPY", [TRADE]),
        message("lightning_executions_BTC_JPY", {"bids": [], "asks": []}),
        message("lightning_board_BTC_JPY", {"bids": [{"price": None, "size": 1}], "asks": []}),
    ):
        with pytest.raises(ValueError, match="expected"):
            heard(Bitflyer(), bad)


def test_recorded_products(recordings: Path) -> None:
    listed = Bitflyer.parse_instruments(listings(recordings / "BITFLYER.MIXED"))
    assert sorted(i.symbol for i in listed) == ["BCH/BTC", "BTC/EUR", "BTC/JPY:JPY", "XRP/JPY"]
    assert next(i for i in listed if i.settle) == Instrument(
        exchange="BITFLYER", type=MarketType.PERP, symbol="BTC/JPY:JPY", native_symbol="FX_BTC_JPY", base="BTC",
        quote="JPY", settle="JPY",
    )  # fmt: skip
