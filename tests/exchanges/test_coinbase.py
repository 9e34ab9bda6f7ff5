"""Coinbase, both feeds: the maker's side turned round, numbers of the connection, history left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.exchanges.coinbase import CoinbaseExchange
from level4.exchanges.coinbase_advanced import CoinbaseAdvanced
from level4.exchanges.scheme import Channel

BOTH = (Channel.BOOK, Channel.TRADES)
MATCH = {
    "type": "match", "trade_id": 280232, "maker_order_id": "a", "taker_order_id": "b", "side": "sell", "size": "985",
    "price": "0.00001305", "product_id": "SKL-BTC", "sequence": 177100030, "time": "2021-04-17T16:43:37.089723Z",
}  # fmt: skip


def test_exchange_asks_for_batches_and_heartbeats() -> None:
    assert sent(CoinbaseExchange().subscribe(BOTH, ["BTC-USD"])) == [
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch", "matches", "heartbeat"]}
    ]
    assert sent(CoinbaseExchange().unsubscribe((Channel.TRADES,), ["BTC-USD"])) == [
        {"type": "unsubscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]}
    ]


def test_exchange_translation() -> None:
    changes = [["sell", "0.00001306", "660.5"], ["buy", "0.000013", "0"], ["buy", "0.000012", "0.-10000"]]
    channels = [{"name": "level2_50", "product_ids": ["A-B"]}, {"name": "matches", "product_ids": ["A-B"]}]
    error = {"type": "error", "message": "Failed to subscribe", "reason": "FOO-USD is not a valid product"}
    markets = heard(
        CoinbaseExchange(),
        {"type": "subscriptions", "channels": channels},
        error,
        {"type": "snapshot", "product_id": "A-B", "asks": [["2", "1"]], "bids": [["1", "3.10"]]},
        {"type": "l2update", "product_id": "A-B", "changes": changes, "time": "0001-01-01T00:00:00Z"},
        {**MATCH, "type": "last_match"},
        MATCH,
        {**MATCH, "side": "buy", "trade_id": 280233},
        {"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "A-B", "time": ""},
        {"type": "received"},
    )
    traded = ("0.00001305", "985")
    assert [call for call in markets.calls if call[1] not in ("heartbeat", "last_trade")] == [
        ("A-B", "subscribed", "book"),
        ("A-B", "subscribed", "trades"),
        ("FOO-USD", "refused", "Failed to subscribe: FOO-USD is not a valid product"),
        ("A-B", "snapshot", [("1", "3.10")], [("2", "1")], {}),
        ("A-B", "delta", [("0.000013", "0")], [("0.00001306", "660.5")], {"time": "0001-01-01T00:00:00Z"}),
        ("SKL-BTC", "trade", "buy", *traded, "280232", MATCH["time"]),
        ("SKL-BTC", "trade", "sell", *traded, "280233", MATCH["time"]),
    ]
    assert markets.unknowns == ["received"]
    assert CoinbaseExchange.exchange_us("0001-01-01T00:00:00Z") is None


@pytest.mark.parametrize("bad", [{**MATCH, "side": "none"}, {"type": "l2update", "product_id": "A-B"}, "{"])
def test_exchange_wrong_shapes_raise(bad: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        heard(CoinbaseExchange(), bad)


def test_advanced_asks_one_channel_a_message() -> None:
    scheme = CoinbaseAdvanced()
    assert sent(scheme.greeting()) == [{"type": "subscribe", "channel": "heartbeats"}]
    assert sent(scheme.subscribe(BOTH, ["BTC-USD"])) == [
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"},
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "market_trades"},
    ]


def test_advanced_translation() -> None:
    def frame(channel: str, number: int, *events: dict[str, Any]) -> dict[str, Any]:
        return {"channel": channel, "client_id": "", "timestamp": "T", "sequence_num": number, "events": list(events)}

    updates = [
        {"side": "bid", "event_time": "x", "price_level": "10.0", "new_quantity": "1.5"},
        {"side": "offer", "event_time": "x", "price_level": "11", "new_quantity": "0"},
    ]
    trade = {"trade_id": "7", "product_id": "A-B", "price": "10", "size": "1", "side": "BUY", "time": "t"}
    later = {**trade, "trade_id": "8", "side": "SELL"}
    markets = heard(
        CoinbaseAdvanced(),
        frame("subscriptions", 0, {"subscriptions": {"level2": ["A-B"], "heartbeats": ["heartbeats"]}}),
        frame("l2_data", 1, {"type": "snapshot", "product_id": "A-B", "updates": updates}),
        frame("l2_data", 2, {"type": "update", "product_id": "A-B", "updates": updates[:1]}),
        frame("heartbeats", 3, {"current_time": "x", "heartbeat_counter": "1"}),
        frame("market_trades", 4, {"type": "snapshot", "trades": [trade]}),
        frame("market_trades", 5, {"type": "update", "trades": [later, trade]}),
        frame("ticker", 6),
        {"type": "error", "message": "authentication failure"},
    )
    bids, asks = [("10.0", "1.5")], [("11", "0")]
    calls = [call for call in markets.calls if call[1] != "last_trade"]
    assert [call[2] for call in calls if call[1] == "sequence"] == [0, 1, 2, 3, 4, 5, 6], "every frame counts"
    assert [call for call in calls if call[1] != "sequence"] == [
        ("A-B", "subscribed", "book"),
        ("A-B", "snapshot", bids, asks, {"time": "T"}),
        ("A-B", "delta", bids, [], {"time": "T"}),
        # newest first on the wire, oldest first here; the maker's side turned round
        ("A-B", "trade", "sell", "10", "1", "7", "t"),
        ("A-B", "trade", "buy", "10", "1", "8", "t"),
        (None, "refused", "authentication failure"),
    ]
    assert markets.unknowns == ["ticker"]


def test_advanced_wrong_shapes_raise() -> None:
    with pytest.raises(msgspec.DecodeError):
        heard(CoinbaseAdvanced(), {"channel": "l2_data", "sequence_num": 1, "events": [{}]})


def test_instruments(recordings: Path) -> None:
    listed = {i.native_symbol: i for i in CoinbaseExchange.parse_instruments(listings(recordings / "COINBASE.SPOT"))}
    nmr = listed["NMR-EUR"]
    assert (nmr.symbol, nmr.tick, nmr.lot, nmr.active) == ("NMR/EUR", "0.0001", "0.001", True)
    product = (
        '{"product_id":"%s","base_currency_id":"BTC","quote_currency_id":"%s","base_increment":"0.00000001",'
        '"quote_increment":"0.01","price_increment":"0.1","status":"online","alias":"%s","view_only":%s}'
    )
    rows = [
        product % ("BTC-USD", "USD", "", "false"),
        product % ("BTC-USDC", "USDC", "BTC-USD", "false"),
        product % ("BTC-EUR", "EUR", "", "true"),
    ]
    advanced = CoinbaseAdvanced.parse_instruments([f'{{"products":[{",".join(rows)}]}}'.encode()])
    assert [(i.symbol, i.tick, i.active) for i in advanced] == [("BTC/USD", "0.1", True), ("BTC/EUR", "0.1", False)]
