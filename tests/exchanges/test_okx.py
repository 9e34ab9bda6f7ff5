"""OKX v5: history by the time of subscription, the chain of numbers, dead checksums, the REST seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import Heard, heard, listings, sent

from level4.book import BatchBook, Verdict
from level4.book.rules import okx, okx_joins
from level4.exchanges.okx import Okx, OkxRest
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType, Notice
from level4.recording import Replay

BOTH = (Channel.BOOK, Channel.TRADES)


def books(action: str, **more: Any) -> dict[str, Any]:
    entry = {"asks": [["67500.2", "1.20", "0", "3"]], "bids": [["67500.1", "0", "0", "0"]], "ts": "9", **more}
    return {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [entry]}


def trade(ts: str, trade_id: str = "7", symbol: str = "BTC-USDT") -> dict[str, Any]:
    row = {"instId": symbol, "tradeId": trade_id, "px": "30236", "sz": "0.10", "side": "sell", "ts": ts, "count": "1"}
    return {"arg": {"channel": "trades", "instId": symbol}, "data": [row]}


def test_topics_acks_and_refusals() -> None:
    one = Okx()
    (request,) = sent(one.subscribe(BOTH, ["BTC-USDT", "BTC-FOO"]))
    assert request == {
        "op": "subscribe",
        "args": [
            {"channel": "books", "instId": "BTC-USDT"},
            {"channel": "trades", "instId": "BTC-USDT"},
            {"channel": "books", "instId": "BTC-FOO"},
            {"channel": "trades", "instId": "BTC-FOO"},
        ],
    }
    assert sent(one.unsubscribe([Channel.BOOK], ["BTC-USDT"])) == [
        {"op": "unsubscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}
    ]
    markets = heard(
        one,
        "pong",
        {"event": "subscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}, "connId": "a"},
        {"event": "subscribe", "arg": {"channel": "tickers", "instId": "BTC-USDT"}},
        {"event": "channel-conn-count", "channel": "books", "connCount": "2"},
        {"event": "unsubscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}},
        {"event": "error", "code": "60018", "msg": "channel:books,instId:BTC-FOO doesn't exist"},
        {"event": "error", "code": "60012", "msg": "illegal request"},
        {"event": "notice", "code": "64008", "msg": "upgrade"},
    )
    assert markets.calls == [
        ("BTC-USDT", "subscribed", "book"),
        ("BTC-FOO", "refused", "channel:books,instId:BTC-FOO doesn't exist (60018)"),
        (None, "refused", "illegal request (60012)"),
        (None, "notice", Notice.RECONNECT),
    ]
    assert markets.unknowns == []
    assert one.ping() == "ping"


def test_books_with_numbers_and_without() -> None:
    bids, asks = [("67500.1", "0")], [("67500.2", "1.20")]
    assert heard(
        Okx(),
        books("snapshot", checksum=0, prevSeqId=-1, seqId=450001),
        books("update", checksum=0, prevSeqId=450001, seqId=450019),
        books("update", checksum=-855196043),
    ).calls == [
        ("BTC-USDT", "snapshot", bids, asks, {"last": 450001, "time": "9"}),
        ("BTC-USDT", "delta", bids, asks, {"last": 450019, "previous": 450001, "time": "9"}),
        ("BTC-USDT", "delta", bids, asks, {"checksum": -855196043, "time": "9"}),
    ]


def test_numbers_jump_stay_and_fall_but_never_break() -> None:
    assert [okx(450001, None, last, 450001) for last in (450019, 450001, 3)] == [Verdict.APPLY] * 3
    assert okx(450001, None, 450030, 450019) is Verdict.GAP
    assert okx(0, None, None, None) is Verdict.APPLY
    assert okx_joins(450010, None, 450010, 450001) is Verdict.OLD
    assert okx_joins(450010, None, 450019, 450001) is Verdict.APPLY
    assert okx_joins(450010, None, 450030, 450019) is Verdict.GAP
    with pytest.raises(ValueError, match="prevSeqId"):
        okx_joins(1, None, None, None)


def test_trades_older_than_the_subscription_are_history() -> None:
    one = Okx()
    assert len(heard(one, trade("1")).calls) == 1, "no subscription was sent: nothing is history"
    (subscription,) = one.subscribe([Channel.TRADES], ["BTC-USDT"])
    (farewell,) = one.unsubscribe([Channel.TRADES], ["BTC-USDT"])
    one.sent(subscription, 1_000_999_999)
    one.sent(subscription, 5_000_000_000)  # a second one: the first counts
    assert heard(one, trade("999"), trade("1000", "8"), trade("999", symbol="X")).calls == [
        ("BTC-USDT", "trade", "sell", "30236", "0.10", "8", "1000"),
        ("X", "trade", "sell", "30236", "0.10", "7", "999"),
    ]
    one.sent(farewell, 6_000_000_000)
    one.sent(subscription, 7_000_000_000)
    one.sent("ping", 8_000_000_000)
    assert heard(one, trade("6999")).calls == []
    assert len(heard(one, trade("7000")).calls) == 1


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    other = {**books("snapshot"), "arg": {"channel": "books50-l2-tbt", "instId": "X"}}
    ticker = {"arg": {"channel": "tickers", "instId": "X"}, "data": [{"last": "1"}]}
    markets = heard(Okx(), other, ticker, {"event": "login"}, {"x": 1})
    assert markets.unknowns == ["books50-l2-tbt", "tickers", "login", "a message without event and arg"]
    for wrong in (books("partial"), books("update", bids=1), trade("1") | {"data": [{"px": 1}]}):
        with pytest.raises(msgspec.DecodeError):
            heard(Okx(), wrong)


def test_the_rest_seed_ignores_snapshots_in_the_stream() -> None:
    one = OkxRest()
    assert one.snapshot_path("BTC-USDT") == "/api/v5/market/books?instId=BTC-USDT&sz=400"
    assert one.snapshot_symbol("https://x/api/v5/market/books?instId=BTC-USDT&sz=400") == "BTC-USDT"
    assert one.snapshot_symbol("https://x/api/v5/public/time") is None
    calls = heard(one, books("snapshot", seqId=1), books("update", prevSeqId=1, seqId=2)).calls
    assert [call[1] for call in calls] == ["delta"]
    markets = Heard()
    entry = {"asks": [["2", "1", "0", "3"]], "bids": [], "ts": "9", "seqId": 450010}
    one.decode_snapshot("BTC-USDT", json.dumps({"code": "0", "data": [entry]}), markets)
    assert markets.calls == [("BTC-USDT", "snapshot", [], [("2", "1")], {"last": 450010, "time": "9"})]


def test_all_recorded_checksums_verify(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: list[bool] = []
    verify = BatchBook.verify

    def counted(book: BatchBook, checksum: int) -> bool:
        verdicts.append(verify(book, checksum))
        return verdicts[-1]

    monkeypatch.setattr(BatchBook, "verify", counted)
    for _ in Replay().run([recordings / "OKX.MIXED" / "ws-1.jsonl.gz"]):
        pass
    assert len(verdicts) == 191
    assert all(verdicts)


def test_recorded_instruments(recordings: Path) -> None:
    spot, swap = Okx.parse_instruments(listings(recordings / "OKX.MIXED"))
    assert spot == Instrument(
        exchange="OKX", type=MarketType.SPOT, symbol="BTC/USDT", native_symbol="BTC-USDT", base="BTC", quote="USDT",
        tick="0.1", lot="0.00000001", trade_kind="aggregate",
    )  # fmt: skip
    assert swap == Instrument(
        exchange="OKX", type=MarketType.INVERSE, symbol="UNI/USD:UNI", native_symbol="UNI-USD-SWAP", base="UNI",
        quote="USD", settle="UNI", tick="0.001", lot="1", contract_size="10", size_unit="contracts",
        trade_kind="aggregate",
    )  # fmt: skip


def test_dated_linear_and_optional() -> None:
    swap = {
        "instType": "SWAP", "instId": "BTC-USDT-SWAP", "uly": "BTC-USDT", "baseCcy": "", "quoteCcy": "",
        "settleCcy": "USDT", "ctType": "linear", "ctVal": "0.01", "ctMult": "1", "tickSz": "0.1", "lotSz": "0.01",
        "expTime": "", "stk": "", "optType": "", "state": "live",
    }  # fmt: skip
    future = {**swap, "instType": "FUTURES", "instId": "BTC-USDT-261225", "expTime": "1798185600000"}
    option = {
        **swap, "instType": "OPTION", "instId": "BTC-USD-261225-92000-C", "uly": "BTC-USD", "settleCcy": "BTC",
        "ctType": "", "ctVal": "1", "ctMult": "0.01", "expTime": "1798185600000", "stk": "92000", "optType": "C",
        "state": "preopen",
    }  # fmt: skip
    unborn = {**future, "expTime": ""}
    body = json.dumps({"code": "0", "data": [swap, future, option, unborn, {**swap, "uly": ""}]}).encode()
    error = json.dumps({"code": "51000", "msg": "no such underlying"}).encode()
    perpetual, dated, call = Okx.parse_instruments([body, error])
    assert (perpetual.type, perpetual.symbol) == (MarketType.PERP, "BTC/USDT:USDT")
    assert (perpetual.contract_size, perpetual.size_unit, perpetual.lot) == ("0.01", "contracts", "0.01")
    assert (dated.type, dated.symbol, dated.expiry) == (MarketType.FUTURE, "BTC/USDT:USDT-261225", "2026-12-25")
    assert (call.type, call.symbol) == (MarketType.OPTION, "BTC/USD:BTC-261225-92000-C")
    assert (call.strike, call.right, call.contract_size, call.active) == ("92000", "C", "0.01", False)
