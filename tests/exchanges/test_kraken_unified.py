"""Kraken derivatives on the Unified WebSocket: spot's messages, another asset class."""

from __future__ import annotations

import msgspec
import pytest
from heard import heard, sent

from level4.exchanges import venue
from level4.exchanges.kraken import KrakenSpotV2
from level4.exchanges.kraken_futures import KrakenFuturesV1
from level4.exchanges.kraken_unified import KrakenFuturesV2
from level4.exchanges.scheme import Channel
from level4.model import MarketType


def test_subscriptions_name_the_asset_class_and_spots_do_not() -> None:
    one = KrakenFuturesV2()
    book, trade = sent(one.subscribe([Channel.BOOK, Channel.TRADES], ["PF_XBTUSD"]))
    assert book["params"] == {
        "channel": "book", "symbol": ["PF_XBTUSD"], "depth": 1000, "snapshot": True, "asset_class": "derivatives"
    }  # fmt: skip
    assert trade["params"] == {
        "channel": "trade", "symbol": ["PF_XBTUSD"], "snapshot": False, "asset_class": "derivatives"
    }  # fmt: skip
    (farewell,) = sent(one.unsubscribe([Channel.TRADES], ["PF_XBTUSD"]))
    assert farewell["params"]["asset_class"] == "derivatives"
    (spot,) = sent(KrakenSpotV2().subscribe([Channel.BOOK], ["BTC/USD"]))
    assert "asset_class" not in spot["params"]


def test_a_book_without_a_checksum_is_no_book() -> None:
    ack = {"method": "subscribe", "success": True, "result": {"channel": "book", "symbol": "PF_XBTUSD", "depth": 1000}}
    body = '"symbol":"PF_XBTUSD","bids":[{"price":64000.50,"qty":0.0100}],"asks":[]'
    good = f'{{"channel":"book","type":"snapshot","data":[{{{body},"checksum":7}}]}}'
    bad = f'{{"channel":"book","type":"update","data":[{{{body}}}]}}'
    one = KrakenFuturesV2()
    assert heard(one, ack, good).calls == [
        ("PF_XBTUSD", "subscribed", "book"),
        ("PF_XBTUSD", "snapshot", [("64000.50", "0.0100")], [], {"checksum": 7, "depth": 1000}),
    ]
    with pytest.raises(msgspec.DecodeError):
        heard(one, bad)


def test_it_can_be_chosen_and_is_not_the_default() -> None:
    assert venue("KRAKEN", MarketType.PERP).book is KrakenFuturesV1
    chosen = venue("KRAKEN", MarketType.PERP, {"KRAKEN.PERP": "kraken_futures.v2"})
    assert chosen.book is chosen.trades is KrakenFuturesV2
    row = b'{"symbol":"PF_ETHUSD","type":"flexible_futures","tradeable":true,"base":"ETH","quote":"USD"}'
    (eth,) = KrakenFuturesV2.parse_instruments([b'{"instruments":[' + row + b"]}"])
    assert (eth.native_symbol, eth.symbol) == ("PF_ETHUSD", "ETH/USD:USD")
