"""Kraken spot, both versions: number literals keep their text, depths come from acks, the old vocabulary is renamed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from heard import heard, listings, sent

from level4.exchanges.kraken import KrakenSpotV2
from level4.exchanges.kraken_v1 import KrakenSpotV1
from level4.exchanges.scheme import Channel
from level4.model import Notice

BOTH = (Channel.BOOK, Channel.TRADES)
ACK = (
    '{"method":"subscribe","result":{"channel":"book","depth":1000,"snapshot":true,"symbol":"BTC/USD"},'
    '"success":true,"time_in":"2026-11-22T09:04:31.742599Z","time_out":"2026-11-22T09:04:31.742648Z"}'
)
REFUSAL = (
    '{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD",'
    '"time_in":"2026-11-22T09:04:31.742599Z"}'
)
BOOK = (
    '{"channel":"book","type":"%s","data":[{"symbol":"BTC/USD","bids":[{"price":45283.50,"qty":0.10000000},'
    '{"price":45283,"qty":1}],"asks":[{"price":45285.2,"qty":0.00000000}],"checksum":3310070434,'
    '"timestamp":"2026-11-22T10:00:00.123456Z"}]}'
)
TRADE = (
    '{"channel":"trade","type":"%s","data":[{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,'
    '"ord_type":"limit","trade_id":10218208,"timestamp":"2026-11-22T17:35:55.440295Z"}]}'
)
BIDS = [("45283.50", "0.10000000"), ("45283", "1")]
ASKS = [("45285.2", "0.00000000")]


def test_v2_subscribes_a_deep_book_and_no_old_trades() -> None:
    book, trade = sent(KrakenSpotV2().subscribe(BOTH, ["BTC/USD", "ETH/USD"]))
    symbols = ["BTC/USD", "ETH/USD"]
    params = {"channel": "book", "symbol": symbols, "depth": 1000, "snapshot": True}
    assert book == {"method": "subscribe", "params": params}
    assert trade == {"method": "subscribe", "params": {"channel": "trade", "symbol": symbols, "snapshot": False}}
    (goodbye,) = sent(KrakenSpotV2().unsubscribe((Channel.BOOK,), ["BTC/USD"]))
    assert goodbye["params"] == {"channel": "book", "symbol": ["BTC/USD"], "depth": 1000}
    many = [f"A{i}/USD" for i in range(60)]
    assert [len(m["params"]["symbol"]) for m in sent(KrakenSpotV2().subscribe((Channel.BOOK,), many))] == [50, 10]


def test_v2_keeps_the_text_of_numbers_and_the_depth_of_the_ack() -> None:
    markets = heard(KrakenSpotV2(), BOOK % "snapshot", ACK, BOOK % "snapshot", BOOK % "update", TRADE % "update")
    numbers = {"checksum": 3310070434, "time": "2026-11-22T10:00:00.123456Z"}
    assert markets.calls == [
        ("BTC/USD", "snapshot", BIDS, ASKS, {**numbers, "depth": 10}),
        ("BTC/USD", "subscribed", "book"),
        ("BTC/USD", "snapshot", BIDS, ASKS, {**numbers, "depth": 1000}),
        ("BTC/USD", "delta", BIDS, ASKS, numbers),
        ("BTC/USD", "trade", "buy", "105944.20", "0.00027625", "10218208", "2026-11-22T17:35:55.440295Z"),
    ]


def test_v2_refusals_notices_history_and_what_is_unknown() -> None:
    markets = heard(
        KrakenSpotV2(),
        REFUSAL,
        '{"error":"Exceeded msg rate","method":"subscribe","success":false}',
        ACK.replace('"book"', '"trade"'),
        TRADE % "snapshot",
        '{"channel":"heartbeat"}',
        '{"method":"pong","time_in":"x","time_out":"y"}',
        '{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}',
        '{"channel":"status","type":"update","data":[{"system":"maintenance"}]}',
        '{"channel":"status","type":"update","data":[{"system":"post_only"}]}',
        '{"channel":"ticker","type":"update","data":[]}',
        '{"hello":1}',
    )
    assert markets.calls == [
        ("XBT/USD", "refused", "Currency pair not supported XBT/USD"),
        (None, "refused", "Exceeded msg rate"),
        ("BTC/USD", "subscribed", "trades"),
        (None, "notice", Notice.ONLINE),
        (None, "notice", Notice.MAINTENANCE),
    ]
    assert markets.unknowns == ["ticker", "a message without channel and method"]


@pytest.mark.parametrize(
    "bad",
    [
        (BOOK % "update").replace('"checksum":3310070434,', ""),
        (BOOK % "update").replace('"symbol":"BTC/USD"', '"symbol":7'),
        (BOOK % "explode"),
        (TRADE % "update").replace('"buy"', '"bought"'),
        (BOOK % "update")[:60],
        "no JSON",
    ],
)
def test_v2_wrong_shapes_raise(bad: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        heard(KrakenSpotV2(), bad)


def test_v1_translation() -> None:
    ack = {"channelID": 1, "channelName": "trade", "event": "subscriptionStatus", "pair": "SC/EUR",
           "status": "subscribed", "subscription": {"name": "trade"}}  # fmt: skip
    refusal = {"errorMessage": "Currency pair not supported", "event": "subscriptionStatus", "pair": "XX/YY",
               "status": "error"}  # fmt: skip
    level = ["0.042990", "364630.28272081", "1618678145.920470"]
    gone = ["0.042990", "0.00000000", "1618678145.920708", "r"]
    markets = heard(
        KrakenSpotV1(),
        refusal,
        [1360, {"as": [level], "bs": []}, "book-1000", "ADA/XBT"],
        [992, {"b": [level], "c": "2583817756"}, "book-100", "XMR/USD"],
        [1920, {"a": [level]}, {"b": [gone], "c": "4105471083"}, "book-1000", "SC/EUR"],
        [1921, [["0.043", "20000.0", "1618678158.135041", "b", "l", ""]], "trade", "SC/EUR"],
        ack,
        [1921, [["0.043", "20000.0", "1618678158.135041", "s", "l", ""]], "trade", "SC/EUR"],
        [1921, [["0.043", "1.0", "1618678158.135041", "s", "l", ""]], "trade", "SC/EUR"],
        {"event": "heartbeat"},
        [7, {"a": []}, "ticker", "SC/EUR"],
        {"event": "explode"},
        received_ns=1_700_000_000_000_000_000,
    )
    pair, gone_pair = ("0.042990", "364630.28272081"), ("0.042990", "0.00000000")
    assert markets.calls == [
        ("XX/YY", "refused", "Currency pair not supported"),
        ("ADA/XBT", "snapshot", [], [pair], {"depth": 1000}),
        ("XMR/USD", "delta", [pair], [], {"checksum": 2583817756, "time": "1618678145.920470"}),
        ("SC/EUR", "delta", [gone_pair], [pair], {"checksum": 4105471083, "time": "1618678145.920708"}),
        ("SC/EUR", "trade", "buy", "0.043", "20000.0", None, "1618678158.135041"),
        ("SC/EUR", "subscribed", "trades"),
        # the first array after the ack is older than it: history
        ("SC/EUR", "trade", "sell", "0.043", "1.0", None, "1618678158.135041"),
    ]
    assert markets.unknowns == ["ticker", "explode"]
    assert KrakenSpotV1.exchange_us("1618678158.135041") == 1618678158135041


@pytest.mark.parametrize("bad", [[1, {"b": 7}, "book-10", "X/Y"], [1, [["1"]], "trade", "X/Y"], "[1,"])
def test_v1_wrong_shapes_raise(bad: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        heard(KrakenSpotV1(), bad)  # type: ignore[arg-type]  # lists and texts alike


def test_the_old_vocabulary_is_renamed_leg_by_leg(recordings: Path) -> None:
    bodies = listings(recordings / "KRAKEN.SPOT")
    v2 = {i.native_symbol: i for i in KrakenSpotV2.parse_instruments(bodies)}
    v1 = {i.native_symbol: i for i in KrakenSpotV1.parse_instruments(bodies)}
    assert {i.symbol for i in v2.values()} == {i.symbol for i in v1.values()}
    assert v1["XBT/CHF"].symbol == v2["BTC/CHF"].symbol == "BTC/CHF"
    assert (v2["ADA/BTC"].base, v2["ADA/BTC"].quote, v2["ADA/BTC"].lot) == ("ADA", "BTC", "0.00000001")


def test_dark_pools_and_pairs_without_a_name_are_not_listed() -> None:
    pair = '"altname":"A","pair_decimals":1,"lot_decimals":8,"tick_size":"0.1","status":"%s"'
    online, halted = pair % "online", pair % "cancel_only"
    body = (
        f'{{"error":[],"result":{{"XXBTZUSD":{{{online},"wsname":"XBT/USD"}},"XXBTZUSD.d":{{{online},"wsname":"XBT/USD"}},'
        f'"NONAME":{{{online}}},"XDGUSD":{{{halted},"wsname":"XDG/USD"}}}}}}'
    )
    listed = KrakenSpotV2.parse_instruments([body.encode()])
    assert [(i.symbol, i.tick, i.active) for i in listed] == [("BTC/USD", "0.1", True), ("DOGE/USD", "0.1", False)]
