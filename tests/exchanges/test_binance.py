"""Binance: translation of the four market families, and the sequence rule of futures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import Heard, heard, listings, sent
from hypothesis import given
from hypothesis import strategies as st

from level4.book import Verdict
from level4.book.rules import binance_futures, binance_futures_joins
from level4.exchanges.binance import BinanceSpot
from level4.exchanges.binance_derivatives import BinanceCoinm, BinanceOptions, BinanceUsdm
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType, Notice

BOTH = (Channel.BOOK, Channel.TRADES)
DIFF = {
    "e": "depthUpdate", "E": 7, "T": 6, "s": "BTCUSDT", "U": 150, "u": 160, "pu": 100, "b": [["64000.10", "0"]], "a": []
}  # fmt: skip


def wrapped(stream: str, data: Any) -> dict[str, Any]:
    return {"stream": stream, "data": data}


@pytest.mark.parametrize(
    ("scheme", "streams"),
    [
        (BinanceSpot, ["btcusdt@depth@100ms", "btcusdt@trade"]),
        (BinanceUsdm, ["btcusdt@depth@100ms", "btcusdt@aggTrade"]),
        (BinanceCoinm, ["btcusdt@depth@100ms", "btcusdt@aggTrade"]),
        (BinanceOptions, ["btcusdt@depth@100ms", "btcusdt@optionTrade"]),
    ],
)
def test_streams_are_lower_case_and_acks_name_what_was_asked(scheme: type[BinanceSpot], streams: list[str]) -> None:
    one = scheme()
    assert sent(one.subscribe(BOTH, ["BTCUSDT"])) == [{"method": "SUBSCRIBE", "params": streams, "id": 1}]
    assert sent(one.unsubscribe(BOTH, ["BTCUSDT"])) == [{"method": "UNSUBSCRIBE", "params": streams, "id": 2}]
    assert heard(one, {"result": None, "id": 2}).calls == []
    assert heard(one, {"result": None, "id": 1}).calls == [
        ("BTCUSDT", "subscribed", "book"),
        ("BTCUSDT", "subscribed", "trades"),
    ]


@pytest.mark.parametrize("answer", [{"code": 2, "msg": "bad"}, {"error": {"code": 2, "msg": "bad"}}])
def test_a_refusal_names_the_symbols_of_its_request(answer: dict[str, Any]) -> None:
    one = BinanceUsdm()
    one.subscribe(BOTH, ["AUSDT", "BUSDT"])
    assert heard(one, {**answer, "id": 1}).calls == [("AUSDT", "refused", "bad"), ("BUSDT", "refused", "bad")]
    assert heard(one, answer).calls == [(None, "refused", "bad")]


def test_the_routes_of_usdm_are_two_connections_and_those_of_options_one() -> None:
    assert BinanceUsdm.websocket[Channel.BOOK].endswith("/public/stream")
    assert BinanceUsdm.websocket[Channel.TRADES].endswith("/market/stream")
    assert len(set(BinanceOptions.websocket.values())) == len(set(BinanceCoinm.websocket.values())) == 1


def test_ping_frames_prove_connections_of_idle_markets() -> None:
    for scheme in (BinanceSpot, BinanceUsdm, BinanceCoinm, BinanceOptions):
        assert scheme().ping() is None
        assert scheme.ping_seconds is not None


def test_futures_diffs_carry_the_number_before() -> None:
    numbers = {"first": 150, "last": 160, "previous": 100, "time": 7}
    expected: Any = ("BTCUSDT", "delta", [("64000.10", "0")], [], numbers)
    assert heard(BinanceUsdm(), wrapped("btcusdt@depth@100ms", DIFF)).calls == [expected]
    assert heard(BinanceUsdm(), wrapped("btcusdt@depth", DIFF)).calls == [expected]
    assert heard(BinanceUsdm(), DIFF).calls == [expected]


def test_a_partial_depth_stream_is_a_whole_book() -> None:
    (call,) = heard(BinanceOptions(), wrapped("btcusdt@depth20@100ms", DIFF)).calls
    assert call == ("BTCUSDT", "snapshot", [("64000.10", "0")], [], {"last": 160, "time": 7})


def test_a_buyer_who_made_the_price_means_that_the_taker_sold() -> None:
    trade = {"e": "aggTrade", "E": 9, "a": 5, "s": "X", "p": "2.0", "q": "1", "nq": "1", "f": 1, "T": 8, "m": True}
    raw = {"e": "trade", "E": 9, "T": 8, "s": "X", "t": 6, "p": "2.0", "q": "1", "X": "MARKET", "m": False}
    assert heard(BinanceUsdm(), wrapped("x@aggTrade", trade), wrapped("x@trade", raw)).calls == [
        ("X", "trade", "sell", "2.0", "1", "5", 8),
        ("X", "trade", "buy", "2.0", "1", "6", 8),
    ]


@pytest.mark.parametrize("kind", ["INSURANCE_FUND", "ADL", "NA", "BLOCK"])
def test_prints_beside_the_book_are_dropped(kind: str) -> None:
    raw = {"e": "trade", "E": 9, "T": 8, "s": "X", "t": 6, "p": "0", "q": "0", "X": kind, "m": False}
    assert heard(BinanceOptions(), wrapped("x@optionTrade", raw)).calls == []


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(
        BinanceUsdm(),
        wrapped("btcusdt@bookTicker", {"e": "bookTicker", "s": "BTCUSDT"}),
        wrapped("xrpusdt@optionMarkPrice", [{"e": "markPrice"}]),
        {"hello": 1},
    )
    assert markets.unknowns == ["bookTicker", "optionMarkPrice", "a message without stream and event"]
    assert markets.calls == []
    with pytest.raises(msgspec.DecodeError):
        heard(BinanceUsdm(), wrapped("btcusdt@depth", {**DIFF, "b": 1}))
    with pytest.raises(msgspec.DecodeError):
        heard(BinanceUsdm(), "{")


def test_an_announced_restart_is_a_wish_to_reconnect() -> None:
    restart = {"e": "serverShutdown", "E": 1}
    expected = [(None, "notice", Notice.RECONNECT)]
    assert heard(BinanceSpot(), restart).calls == heard(BinanceUsdm(), wrapped("!s", restart)).calls == expected


@pytest.mark.parametrize(
    ("scheme", "path", "time"),
    [
        (BinanceSpot, "/api/v3/depth?symbol=%E5%B8%81USDT&limit=1000", {}),
        (BinanceUsdm, "/fapi/v1/depth?symbol=%E5%B8%81USDT&limit=1000", {"E": 5, "T": 4}),
        (BinanceCoinm, "/dapi/v1/depth?symbol=%E5%B8%81USDT&limit=1000", {"E": 5, "T": 4, "pair": "X"}),
        (BinanceOptions, "/eapi/v1/depth?symbol=%E5%B8%81USDT&limit=1000", {"T": 5}),
    ],
)
def test_snapshots(scheme: type[BinanceSpot], path: str, time: dict[str, Any]) -> None:
    assert scheme().snapshot_path("币USDT") == path
    markets = Heard()
    body = {"lastUpdateId": 100, "bids": [["4.0", "1"]], "asks": [], **time}
    scheme().decode_snapshot("X", json.dumps(body), markets)
    given_numbers = {"last": 100, **({"time": 5} if time else {})}
    assert markets.calls == [("X", "snapshot", [("4.0", "1")], [], given_numbers)]


def test_the_join_of_futures_follows_both_the_documentation_and_the_wire() -> None:
    assert binance_futures_joins(100, 80, 99, 79) is Verdict.OLD
    assert binance_futures_joins(100, 150, 160, 100) is Verdict.APPLY  # seen: U above L, pu == L
    assert binance_futures_joins(100, 95, 100, 90) is Verdict.APPLY  # contained, anchors the chain
    assert binance_futures_joins(100, 150, 160, 101) is Verdict.GAP  # the snapshot is too old
    assert binance_futures_joins(-1, 150, 160, 149) is Verdict.APPLY  # a new, empty symbol


def test_futures_follow_by_the_number_before_alone() -> None:
    assert binance_futures(160, 192, 200, 160) is Verdict.APPLY
    assert binance_futures(160, 161, 200, 159) is Verdict.GAP
    assert binance_futures(160, 150, 160, 100) is Verdict.OLD


@given(st.lists(st.integers(1, 50), min_size=2, max_size=30), st.data())
def test_a_lost_update_of_futures_is_always_seen(steps: list[int], data: st.DataObject) -> None:
    numbers = [sum(steps[: i + 1]) for i in range(len(steps))]
    lost = data.draw(st.integers(1, len(numbers) - 1))
    at, verdicts = numbers[0], []
    for i in range(1, len(numbers)):
        if i != lost:
            verdicts.append(binance_futures(at, numbers[i - 1] + 1, numbers[i], numbers[i - 1]))
            if verdicts[-1] is not Verdict.APPLY:
                break
            at = numbers[i]
    if lost == len(numbers) - 1:
        assert set(verdicts) <= {Verdict.APPLY}
    else:
        assert verdicts[-1] is Verdict.GAP


def test_recorded_contracts(recordings: Path) -> None:
    linear = {i.native_symbol: i for i in BinanceUsdm.parse_instruments(listings(recordings / "BINANCE_FUTURES.PERP"))}
    assert linear["ETHUSDT"] == Instrument(
        exchange="BINANCE", type=MarketType.PERP, symbol="ETH/USDT:USDT", native_symbol="ETHUSDT", base="ETH",
        quote="USDT", settle="USDT", tick="0.01", lot="0.001", trade_kind="aggregate",
    )  # fmt: skip
    coins = {
        i.native_symbol: i for i in BinanceCoinm.parse_instruments(listings(recordings / "BINANCE_DELIVERY.MIXED"))
    }
    assert coins["LINKUSD_211231"] == Instrument(
        exchange="BINANCE", type=MarketType.INVERSE, symbol="LINK/USD:LINK-211231", native_symbol="LINKUSD_211231",
        base="LINK", quote="USD", settle="LINK", expiry="2021-12-31", tick="0.001", lot="1", contract_size="10",
        size_unit="contracts", trade_kind="aggregate",
    )  # fmt: skip
    assert coins["ETHUSD_PERP"].symbol == "ETH/USD:ETH"


def test_dated_linear_contracts_are_futures_and_delisted_perpetuals_are_not() -> None:
    row = {
        "symbol": "BTCUSDT_260626", "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT",
        "deliveryDate": 1782460800000, "contractType": "CURRENT_QUARTER", "status": "SETTLING", "filters": [],
    }  # fmt: skip
    body = json.dumps({"symbols": [row, {**row, "contractType": "PERPETUAL", "symbol": "BTCUSDT"}]}).encode()
    dated, perpetual = BinanceUsdm.parse_instruments([body])
    assert (dated.type, dated.symbol, dated.expiry) == (MarketType.FUTURE, "BTC/USDT:USDT-260626", "2026-06-26")
    assert not dated.active
    assert (perpetual.type, perpetual.symbol, perpetual.expiry) == (MarketType.PERP, "BTC/USDT:USDT", None)


def test_options_get_base_and_settlement_from_their_underlying() -> None:
    option = {
        "symbol": "BTC-220815-50000-C", "side": "CALL", "strikePrice": "50000.00", "underlying": "BTCUSDT",
        "expiryDate": 1660521600000, "unit": 1, "quoteAsset": "USDT", "status": "TRADING",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "stepSize": "0.01"},
        ],
    }  # fmt: skip
    contracts = [{"baseAsset": "BTC", "quoteAsset": "USDT", "underlying": "BTCUSDT", "settleAsset": "USDT"}]
    orphan = {**option, "underlying": "FOOUSDT"}
    body = json.dumps({"optionContracts": contracts, "optionSymbols": [option, orphan]}).encode()
    assert BinanceOptions.parse_instruments([body]) == [
        Instrument(
            exchange="BINANCE", type=MarketType.OPTION, symbol="BTC/USDT:USDT-220815-50000-C",
            native_symbol="BTC-220815-50000-C", base="BTC", quote="USDT", settle="USDT", expiry="2022-08-15",
            strike="50000", right="C", tick="0.01", lot="0.01", contract_size="1", size_unit="contracts",
        )
    ]  # fmt: skip
