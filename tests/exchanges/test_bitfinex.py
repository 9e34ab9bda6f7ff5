"""Bitfinex: arrays by channel, numbers in their tail, checksums from the texts on the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import Heard, heard, listings, sent

from level4.book import BitfinexChecksum, RankedBook
from level4.exchanges.bitfinex import CHECKSUM, SEQUENCE, TIMESTAMP, Bitfinex
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType, Notice

BOTH = (Channel.BOOK, Channel.TRADES)
BOOK = {"event": "subscribed", "channel": "book", "chanId": 5, "symbol": "tBTCUSD", "prec": "P0", "len": "250"}
TRADES = {"event": "subscribed", "channel": "trades", "chanId": 6, "symbol": "tBTCUSD"}


def conf(flags: int) -> dict[str, Any]:
    return {"event": "conf", "status": "OK", "flags": flags}


def after_acks(*frames: Any, flags: int = 0) -> Heard:
    markets = heard(Bitfinex(), conf(flags), BOOK, TRADES, *frames)
    assert markets.calls[:2] == [("tBTCUSD", "subscribed", "book"), ("tBTCUSD", "subscribed", "trades")]
    del markets.calls[:2]
    return markets


def test_requests_are_one_for_each_channel_and_flags_go_first() -> None:
    one = Bitfinex()
    assert sent(one.greeting()) == [{"event": "conf", "flags": 229376}]
    book = {"event": "subscribe", "symbol": "tBTCUSD", "channel": "book", "prec": "P0", "freq": "F0", "len": "250"}
    trades = {"event": "subscribe", "symbol": "tBTCUSD", "channel": "trades"}
    assert sent(one.subscribe(BOTH, ["tBTCUSD"])) == [book, trades]


def test_an_unsubscription_needs_the_number_of_the_ack() -> None:
    one = Bitfinex()
    assert one.unsubscribe(BOTH, ["tBTCUSD"]) == []
    heard(one, BOOK, TRADES)
    assert sent(one.unsubscribe(BOTH, ["tBTCUSD"])) == [
        {"event": "unsubscribe", "chanId": 5},
        {"event": "unsubscribe", "chanId": 6},
    ]
    assert len(one.unsubscribe((Channel.BOOK,), ["tBTCUSD", "tETHUSD"])) == 1
    markets = heard(one, {"event": "unsubscribed", "status": "OK", "chanId": 5}, [5, [1, 1, 1]])
    assert markets.unknowns == ["an array of an unknown channel"]
    assert len(one.unsubscribe(BOTH, ["tBTCUSD"])) == 1


def test_a_list_of_rows_is_a_snapshot_and_a_row_a_change() -> None:
    assert after_acks(
        "[5,[[0.0010262,1,8],[5.6e-7,2,9.50],[0.0010273,2,-14.20],[2,0,1]]]",
        "[5,[]]",
        "[5,[279380,1,0.0089]]",
        "[5,[283460,0,-1]]",
        "[5,[283460,0,1]]",
        "[5,[7,1,-3]]",
        '[5,"hb"]',
    ).calls == [
        ("tBTCUSD", "snapshot", [("0.0010262", "8"), ("5.6e-7", "9.50"), ("2", "0")], [("0.0010273", "14.20")], {}),
        ("tBTCUSD", "snapshot", [], [], {}),
        ("tBTCUSD", "delta", [("279380", "0.0089")], [], {}),
        ("tBTCUSD", "delta", [], [("283460", "0")], {}),
        ("tBTCUSD", "delta", [("283460", "0")], [], {}),
        ("tBTCUSD", "delta", [], [("7", "3")], {}),
        ("tBTCUSD", "heartbeat"),
    ]


def test_what_stands_in_the_tail_is_what_conf_answered() -> None:
    change, cs = [5, [7, 1, 3], 18, 1564617600784], [5, "cs", -99, 19, 1564617600785]
    plain: tuple[Any, ...] = ("tBTCUSD", "delta", [("7", "3")], [], {})
    timed: tuple[Any, ...] = ("tBTCUSD", "delta", [("7", "3")], [], {"time": 1564617600784})
    assert after_acks(change, cs).calls == [plain]
    assert after_acks(change, flags=TIMESTAMP).calls == [timed]
    assert after_acks(change, flags=SEQUENCE | TIMESTAMP).calls == [(None, "sequence", 18), timed]
    assert after_acks(change[:3], flags=SEQUENCE).calls == [(None, "sequence", 18), plain]
    assert after_acks(cs, flags=SEQUENCE | TIMESTAMP | CHECKSUM).calls == [
        (None, "sequence", 19),
        ("tBTCUSD", "delta", [], [], {"checksum": -99, "time": 1564617600785}),
    ]
    assert heard(Bitfinex(), {"event": "conf", "status": "FAILED", "flags": 65536}, [9, "hb", 3]).calls == []


def test_every_array_is_numbered_known_or_not() -> None:
    markets = after_acks([6, "hb", 1], [99, [1, 2], 2], [6, [], 3], flags=SEQUENCE)
    assert markets.calls == [(None, "sequence", 1), (None, "sequence", 2), (None, "sequence", 3)]
    assert markets.unknowns == ["an array of an unknown channel"]


def test_the_first_of_te_and_tu_counts_and_the_list_is_history() -> None:
    trade = "[382489563,1564617600709,0.00705845,10087.98]"
    sold = "[382489564,1564617600709,-2,1e-7]"
    assert after_acks(
        f"[6,[{trade}]]", f'[6,"te",{trade}]', f'[6,"tu",{trade}]', f'[6,"tu",{sold}]', f'[6,"te",{sold}]'
    ).calls == [
        ("tBTCUSD", "trade", "buy", "10087.98", "0.00705845", "382489563", 1564617600709),
        ("tBTCUSD", "trade", "sell", "1e-7", "2", "382489564", 1564617600709),
    ]


def test_only_so_many_trade_ids_are_kept() -> None:
    trades = [[6, "te", [number, 1, 1, 1]] for number in (*range(1200), 1199, 1)]
    assert len(after_acks(*trades).calls) == 1201


def test_notices_refusals_and_unknowns() -> None:
    markets = heard(
        Bitfinex(),
        {"event": "info", "version": 2, "serverId": "x", "platform": {"status": 1}},
        {"event": "info", "version": 2, "serverId": "x", "platform": {"status": 0}},
        {"event": "info", "code": 20051, "msg": "restart"},
        {"event": "info", "code": 20060, "msg": "m"},
        {"event": "info", "code": 20061, "msg": "m"},
        {"event": "error", "channel": "book", "symbol": "tNOPE", "msg": "symbol: invalid", "code": 10300},
        {"event": "error", "msg": "subscribe: dup", "code": 10301, "symbol": "tBTCUSD"},
        {"event": "info", "code": 7},
        {"event": "auth"},
        {**BOOK, "prec": "R0", "chanId": 8},
        [8, [1, 2, 3]],
        {"hello": 1},
    )
    assert markets.calls == [
        (None, "notice", Notice.MAINTENANCE),
        (None, "notice", Notice.RECONNECT),
        (None, "notice", Notice.MAINTENANCE),
        (None, "notice", Notice.ONLINE),
        ("tNOPE", "refused", "symbol: invalid (code 10300)"),
    ]
    assert markets.unknowns == ["info 7", "auth", "book of another kind", "a message without event"]


@pytest.mark.parametrize(
    "frame",
    [
        "[5]",
        "[5,[1,2]]",
        "[5,[1,1,null]]",
        '[6,"te",[1,2,3]]',
        "[5,[[1,1,{}]]]",
        '[6,"te"]',
        '[6,"te",[{},1,1,1]]',
        "[[],1]",
        "[5,[1,1,true]]",
        '[5,[1,1,""]]',
    ],
)
def test_wrong_shapes_raise(frame: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unpack"):
        after_acks(frame)
    with pytest.raises(msgspec.DecodeError):
        heard(Bitfinex(), "[")


def test_checksums_of_the_exchanges_own_vectors() -> None:
    book = RankedBook(BitfinexChecksum())
    book.load([("5900", "2"), ("6000", "1")], [("6200", "4"), ("6100", "3")])
    assert book.verify(1756193398)
    book.apply([], [("6100", "3.1")])
    assert not book.verify(1756193398)
    book.load([("5.6e-7", "60712.4250231")], [("5.7e-7", "100.5")])
    assert book.verify(557639607)
    book.apply([("5.5e-7", "1"), ("5.4e-7", "2")], [])
    assert not book.verify(557639607), "one side may go on alone"
    book.check()


def test_listed_pairs_by_the_exchanges_map() -> None:
    bodies = [
        [["BTCUSD", "AVAX:UST", "AAABBB", "TESTBTC:TESTUSD", "DOGUSD", "1INCH:USD"]],
        [["ALGF0:USTF0", "ETHF0:BTCF0", "TESTBTCF0:TESTUSDTF0"]],
        [[["UST", "USDt"], ["ALG", "ALGO"]]],
    ]
    listed = Bitfinex.parse_instruments([json.dumps(body).encode() for body in bodies])
    assert [i.symbol for i in listed] == [
        "BTC/USD",
        "AVAX/USDT",
        "MDOGE/USD",
        "1INCH/USD",
        "ALGO/USDT:USDT",
        "ETH/BTC:BTC",
    ]
    assert listed[4] == Instrument(
        exchange="BITFINEX", type=MarketType.PERP, symbol="ALGO/USDT:USDT", native_symbol="tALGF0:USTF0", base="ALGO",
        quote="USDT", settle="USDT", lot="0.00000001",
    )  # fmt: skip


def test_recorded_pairs(recordings: Path) -> None:
    spot, _, futures = listings(recordings / "BITFINEX.SPOT")
    listed = {i.native_symbol: i for i in Bitfinex.parse_instruments([spot, futures, b"[[]]"])}
    assert listed["tIOTETH"].symbol == "IOTA/ETH"
    assert listed["tBTCF0:USTF0"].symbol == "BTC/USDT:USDT"
    assert "tTESTBTC:TESTUSD" not in listed
    assert len(listed) > 250
