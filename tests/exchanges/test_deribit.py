"""Deribit: what makes a book whole, what is missing from an answer, and instruments of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.book import Verdict
from level4.book.rules import names_previous
from level4.exchanges.deribit import Deribit
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)
NAME = "BTC-25DEC26-100000-C"


def note(channel: str, data: str) -> str:
    return f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}'


def book(**more: Any) -> str:
    data = {"timestamp": 5, "instrument_name": NAME, "change_id": 90, "bids": [], "asks": [], **more}
    return note(f"book.{NAME}.100ms", json.dumps(data))


def test_what_the_result_does_not_name_is_refused() -> None:
    one = Deribit()
    (request,) = sent(one.subscribe(BOTH, [NAME, "FOO"]))
    assert request["method"] == "public/subscribe"
    assert request["params"]["channels"] == [
        f"book.{NAME}.100ms", f"trades.{NAME}.100ms", "book.FOO.100ms", "trades.FOO.100ms"
    ]  # fmt: skip
    result = [f"trades.{NAME}.100ms", f"book.{NAME}.100ms"]
    answer = {"jsonrpc": "2.0", "id": request["id"], "result": result, "usIn": 1, "usOut": 2, "testnet": False}
    calls = heard(one, answer, answer).calls
    assert calls[:2] == [(NAME, "subscribed", "book"), (NAME, "subscribed", "trades")]
    assert [call[:2] for call in calls[2:]] == [("FOO", "refused"), ("FOO", "refused")]


def test_a_refused_request_concerns_its_markets() -> None:
    one = Deribit()
    (request,) = sent(one.subscribe(BOTH, [NAME]))
    error = {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"}
    reason = "raw_subscriptions_not_available_for_unauthorized (13778)"
    answer = {"jsonrpc": "2.0", "id": request["id"], "error": error}
    assert heard(one, answer, answer).calls == [(NAME, "refused", reason), (None, "refused", reason)]


def test_answers_to_our_own_calls_say_nothing() -> None:
    one = Deribit()
    (farewell,) = sent(one.unsubscribe([Channel.BOOK], [NAME]))
    assert farewell["method"] == "public/unsubscribe"
    assert farewell["params"] == {"channels": [f"book.{NAME}.100ms"]}
    ping = json.loads(one.ping())
    assert ping["method"] == "public/test"
    assert ping["id"] != farewell["id"]
    markets = heard(
        one,
        {"jsonrpc": "2.0", "id": farewell["id"], "result": [f"book.{NAME}.100ms"]},
        {"jsonrpc": "2.0", "id": ping["id"], "result": {"version": "2.1.1"}},
        {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}},
    )
    assert not markets.calls
    assert not markets.unknowns


@pytest.mark.parametrize(
    "numbers",
    [
        {"type": "snapshot"},
        {"type": "snapshot", "prev_change_id": 20},
        {"type": "change", "prev_change_id": 0},
        {"prev_change_id": None},
    ],
)
def test_whole_books(numbers: dict[str, Any]) -> None:
    assert heard(Deribit(), book(**numbers)).calls == [(NAME, "snapshot", [], [], {"last": 90, "time": 5})]


@pytest.mark.parametrize("numbers", [{"type": "change"}, {}])
def test_changes_name_the_one_before(numbers: dict[str, Any]) -> None:
    (call,) = heard(Deribit(), book(prev_change_id=80, **numbers)).calls
    assert call == (NAME, "delta", [], [], {"last": 90, "previous": 80, "time": 5})
    assert names_previous(80, None, 90, 80) is Verdict.APPLY
    assert names_previous(81, None, 90, 80) is Verdict.GAP


def test_levels_keep_their_texts_whatever_the_action_says() -> None:
    rows = '"bids":[["delete",20987,0.0],["change",5.0e-4,1]],"asks":[["new",20999.0,92.10],["delete",1,0e0]]'
    data = f'{{"timestamp":5,"instrument_name":"X","change_id":90,"prev_change_id":80,"type":"change",{rows}}}'
    assert heard(Deribit(), note("book.X.100ms", data)).calls == [
        ("X", "delta", [("20987", "0.0"), ("0.0005", "1")], [("20999.0", "92.10"), ("1", "0")],
         {"last": 90, "previous": 80, "time": 5})
    ]  # fmt: skip


def test_a_grouped_book_has_rows_of_two() -> None:
    data = '{"timestamp":5,"instrument_name":"X","change_id":90,"bids":[[0.011,15.4]],"asks":[]}'
    assert heard(Deribit(), note("book.X.none.20.100ms", data)).calls == [
        ("X", "snapshot", [("0.011", "15.4")], [], {"last": 90, "time": 5})
    ]


def test_legs_are_no_trades() -> None:
    leg = {"instrument_name": "LEG", "price": 1, "amount": 2, "direction": "buy", "trade_id": "8", "timestamp": 4}
    trade = {**leg, "instrument_name": NAME, "direction": "sell", "trade_id": "ETH-7", "legs": [leg]}
    assert heard(Deribit(), note("trades.option.any.100ms", json.dumps([trade]))).calls == [
        (NAME, "trade", "sell", "1", "2", "ETH-7", 4)
    ]


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(Deribit(), note("quote.X", '{"timestamp":1}'), {"method": "news"}, {"x": 1})
    assert markets.unknowns == ["quote", "news", "a message without id and method"]
    with pytest.raises(msgspec.DecodeError):
        heard(Deribit(), book(change_id="90"))
    with pytest.raises(ValueError, match="expected a number"):
        heard(Deribit(), book(bids=[["new", None, 1]]))


def test_recorded_options_of_a_time_without_counter_currency(recordings: Path) -> None:
    found = {i.native_symbol: i for i in Deribit.parse_instruments(listings(recordings / "DERIBIT.OPTION"))}
    assert found["BTC-24SEP21-8000-P"] == Instrument(
        exchange="DERIBIT", type=MarketType.OPTION, symbol="BTC/USD:BTC-210924-8000-P",
        native_symbol="BTC-24SEP21-8000-P", base="BTC", quote="USD", settle="BTC", expiry="2021-09-24", strike="8000",
        right="P", tick="0.0005", lot="0.1", contract_size="1",
    )  # fmt: skip


def listed(**more: Any) -> dict[str, Any]:
    return {
        "kind": "future", "instrument_name": "X", "instrument_type": "linear", "base_currency": "BTC",
        "quote_currency": "USDC", "counter_currency": "USDC", "settlement_currency": "USDC",
        "settlement_period": "perpetual", "contract_size": 0.001, "min_trade_amount": 0.001, "tick_size": 5e-1,
        "expiration_timestamp": 1798185600000, "is_active": True, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "kind", "symbol", "unit"),
    [
        ({}, MarketType.PERP, "BTC/USDC:USDC", "base"),
        ({"settlement_period": "month"}, MarketType.FUTURE, "BTC/USDC:USDC-261225", "base"),
        (
            {"instrument_type": "reversed", "quote_currency": "USD", "counter_currency": "USD",
             "settlement_currency": "BTC", "settlement_period": "month"},
            MarketType.INVERSE, "BTC/USD:BTC-261225", "quote",
        ),
        (
            {"instrument_type": "reversed", "quote_currency": "USD", "counter_currency": "USD",
             "settlement_currency": "BTC"},
            MarketType.INVERSE, "BTC/USD:BTC", "quote",
        ),
        (
            {"kind": "option", "settlement_period": "week", "strike": 1.02, "option_type": "call"},
            MarketType.OPTION, "BTC/USDC:USDC-261225-1.02-C", "base",
        ),
        (
            {"kind": "option", "instrument_type": "reversed", "quote_currency": "BTC", "counter_currency": "USD",
             "settlement_currency": "BTC", "settlement_period": "week", "strike": 100000.0, "option_type": "put"},
            MarketType.OPTION, "BTC/USD:BTC-261225-100000-P", "base",
        ),
        (
            {"kind": "spot", "settlement_period": None, "settlement_currency": None},
            MarketType.SPOT, "BTC/USDC", "base",
        ),
    ],
)  # fmt: skip
def test_kinds_of_instruments(row: dict[str, Any], kind: MarketType, symbol: str, unit: str) -> None:
    combo = listed(kind="option_combo")
    (found,) = Deribit.parse_instruments([json.dumps({"result": [listed(**row), combo]}).encode()])
    assert (found.type, found.symbol, found.size_unit) == (kind, symbol, unit)
    assert (found.tick, found.lot) == ("0.5", "0.001")
    assert (found.expiry is not None) == ("2612" in symbol)
