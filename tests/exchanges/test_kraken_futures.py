"""Kraken derivatives: single levels, negative sizes, history, and contracts of both kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from heard import heard, listings, sent

from level4.exchanges.kraken_futures import KrakenFuturesV1
from level4.exchanges.scheme import Channel
from level4.model import Instrument, MarketType

BOTH = (Channel.BOOK, Channel.TRADES)


def update(**more: Any) -> dict[str, Any]:
    return {"feed": "book", "product_id": "PI_XBTUSD", "side": "sell", "seq": 3, "price": 34981, "qty": 0, **more}


def test_subscriptions_name_feed_and_products() -> None:
    one = KrakenFuturesV1()
    assert sent(one.greeting()) == [{"event": "subscribe", "feed": "heartbeat"}]
    assert sent(one.subscribe(BOTH, ["PF_XBTUSD", "PI_XBTUSD"])) == [
        {"event": "subscribe", "feed": "book", "product_ids": ["PF_XBTUSD", "PI_XBTUSD"]},
        {"event": "subscribe", "feed": "trade", "product_ids": ["PF_XBTUSD", "PI_XBTUSD"]},
    ]
    assert sent(one.unsubscribe([Channel.BOOK], ["PF_XBTUSD"])) == [
        {"event": "unsubscribe", "feed": "book", "product_ids": ["PF_XBTUSD"]}
    ]
    assert one.ping() is None, "the exchange wants ping frames"


def test_acks_and_refusals() -> None:
    markets = heard(
        KrakenFuturesV1(),
        {"event": "info", "version": 1},
        {"event": "subscribed", "feed": "heartbeat"},
        {"event": "subscribed", "feed": "trade", "product_ids": ["PF_XBTUSD"]},
        {"event": "subscribed_failed", "feed": "book", "product_ids": ["PF_FOOUSD"]},
        {"event": "unsubscribed", "feed": "book", "product_ids": ["PF_XBTUSD"]},
        {"event": "error", "message": "Invalid product id"},
        {"event": "alert", "message": "Bad request"},
        {"feed": "heartbeat", "time": 1700000000000},
    )
    assert markets.calls == [
        ("PF_XBTUSD", "subscribed", "trades"),
        ("PF_FOOUSD", "refused", "subscribed_failed"),
        (None, "refused", "Invalid product id"),
        (None, "refused", "Bad request"),
    ]
    assert markets.unknowns == []


def test_a_level_a_frame_with_the_texts_of_the_numbers() -> None:
    assert heard(
        KrakenFuturesV1(),
        json.dumps(update(timestamp=1612269953629)),
        '{"feed":"book","product_id":"PF_PEPEUSD","side":"buy","seq":4,"price":1.50e-7,"qty":1000.0}',
        '{"feed":"book","product_id":"PF_PEPEUSD","side":"buy","seq":5,"price":0.10,"qty":0E-8}',
        '{"feed":"book","product_id":"PF_PEPEUSD","side":"buy","seq":6,"price":0.10,"qty":-5.0}',
    ).calls == [
        ("PI_XBTUSD", "delta", [], [("34981", "0")], {"last": 3, "time": 1612269953629}),
        ("PF_PEPEUSD", "delta", [("0.00000015", "1000.0")], [], {"last": 4}),
        ("PF_PEPEUSD", "delta", [("0.10", "0")], [], {"last": 5}),
        ("PF_PEPEUSD", "delta", [("0.10", "-5.0")], [], {"last": 6}),
    ]


def test_a_snapshot_and_its_number() -> None:
    frame = (
        '{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":5,"seq":326072249,"tickSize":null,'
        '"bids":[{"price":34892.5,"qty":6385}],"asks":[]}'
    )
    assert heard(KrakenFuturesV1(), frame).calls == [
        ("PI_XBTUSD", "snapshot", [("34892.5", "6385")], [], {"last": 326072249, "time": 5})
    ]


def test_trades_are_the_takers_and_the_last_hundred_are_history() -> None:
    trade = {"feed": "trade", "product_id": "PI_XBTUSD", "side": "sell", "type": "liquidation", "seq": 6, "time": 7}
    assert heard(
        KrakenFuturesV1(),
        {"feed": "trade_snapshot", "product_id": "PI_XBTUSD", "trades": [{**trade, "qty": 1, "price": 2}]},
        {**trade, "qty": 15000, "price": 34969.5, "uid": "05af78ac"},
        {**trade, "qty": 3.0, "price": 4088.5},
    ).calls == [
        ("PI_XBTUSD", "trade", "sell", "34969.5", "15000", "05af78ac", 7),
        ("PI_XBTUSD", "trade", "sell", "4088.5", "3.0", None, 7),
    ]


def test_unknown_kinds_are_counted_and_wrong_shapes_raise() -> None:
    markets = heard(KrakenFuturesV1(), {"feed": "ticker", "product_id": "X"}, {"event": "challenge"}, {"x": 1})
    assert markets.unknowns == ["ticker", "challenge", "a message without feed and event"]
    with pytest.raises(msgspec.DecodeError):
        heard(KrakenFuturesV1(), update(side="both"))
    for wrong in (update(qty=None), update(price=[1])):
        with pytest.raises(ValueError, match="expected a number"):
            heard(KrakenFuturesV1(), wrong)


def test_recorded_contracts_of_a_time_without_base_and_quote(recordings: Path) -> None:
    found = {
        i.native_symbol: i for i in KrakenFuturesV1.parse_instruments(listings(recordings / "KRAKEN_FUTURES.MIXED"))
    }
    assert found["FI_XBTUSD_210730"] == Instrument(
        exchange="KRAKEN", type=MarketType.INVERSE, symbol="BTC/USD:BTC-210730", native_symbol="FI_XBTUSD_210730",
        base="BTC", quote="USD", settle="BTC", expiry="2021-07-30", tick="0.5", lot="1", contract_size="1",
        size_unit="contracts",
    )  # fmt: skip
    assert found["PI_ETHUSD"].symbol == "ETH/USD:ETH"
    assert found["PI_ETHUSD"].tick == "0.05"


def test_linear_contracts_and_odd_steps() -> None:
    rows = (
        '{"symbol":"PF_PEPEUSD","type":"flexible_futures","tickSize":1e-10,"contractSize":1,"tradeable":true,'
        '"contractValueTradePrecision":-3,"base":"PEPE","quote":"USD"},'
        '{"symbol":"FF_XBTUSD_261225","type":"flexible_futures","tickSize":0.50,"contractSize":1,"tradeable":false,'
        '"contractValueTradePrecision":4,"base":"BTC","quote":"USD","lastTradingTime":"2026-12-25T15:00:00.000Z"},'
        '{"symbol":"PF_AAPLxUSD","type":"flexible_futures","tradeable":true,"base":"AAPLx","quote":"USD"},'
        '{"symbol":"in_xbtusd","type":"spot index","tradeable":false}'
    )
    pepe, dated, apple = KrakenFuturesV1.parse_instruments([f'{{"instruments":[{rows}]}}'.encode()])
    assert (pepe.type, pepe.symbol, pepe.tick, pepe.lot) == (MarketType.PERP, "PEPE/USD:USD", "0.0000000001", "1000")
    assert (pepe.size_unit, pepe.contract_size) == ("base", None)
    assert dated == Instrument(
        exchange="KRAKEN", type=MarketType.FUTURE, symbol="BTC/USD:USD-261225", native_symbol="FF_XBTUSD_261225",
        base="BTC", quote="USD", settle="USD", expiry="2026-12-25", tick="0.5", lot="0.0001", active=False,
    )  # fmt: skip
    assert (apple.native_symbol, apple.tick) == ("PF_AAPLxUSD", None)
