"""The table of venues: what it promises is there, and every scheme in it can be lived with."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from level4.exchanges import PROTOCOLS, VENUES, Channel, Scheme, Venue, venue
from level4.model import ConfigError, MarketType

_T = MarketType
REQUIRED = {
    "BINANCE": {_T.SPOT, _T.PERP, _T.FUTURE, _T.INVERSE, _T.OPTION},
    "BYBIT": {_T.SPOT, _T.PERP, _T.FUTURE, _T.INVERSE, _T.OPTION},
    "COINBASE": {_T.SPOT},
    "DERIBIT": {_T.SPOT, _T.PERP, _T.FUTURE, _T.INVERSE, _T.OPTION},
    "KRAKEN": {_T.SPOT, _T.PERP, _T.FUTURE, _T.INVERSE},
    "OKX": {_T.SPOT, _T.PERP, _T.FUTURE, _T.INVERSE, _T.OPTION},
}
LIVE = sorted((scheme for scheme in PROTOCOLS.values() if scheme.websocket), key=lambda scheme: scheme.protocol)


@pytest.mark.parametrize("exchange", REQUIRED)
def test_exchanges_serve_the_types_they_must(exchange: str) -> None:
    assert REQUIRED[exchange] <= {kind for name, kind in VENUES if name == exchange}


@pytest.mark.parametrize("row", VENUES.values(), ids=lambda row: f"{row.exchange}.{row.type}")
def test_a_venues_protocols_are_its_own_and_carry_what_they_are_there_for(row: Venue) -> None:
    assert {row.book.exchange, row.trades.exchange} == {row.exchange}
    assert Channel.BOOK in row.book.websocket
    assert Channel.TRADES in row.trades.websocket
    assert PROTOCOLS[row.book.protocol] is row.book
    assert PROTOCOLS[row.trades.protocol] is row.trades
    assert venue(row.exchange.lower(), row.type) is row


@pytest.mark.parametrize("scheme", LIVE, ids=lambda scheme: scheme.protocol)
def test_a_live_protocol_can_be_lived_with(scheme: type[Scheme]) -> None:
    assert all(urlsplit(address).scheme == "wss" for address in scheme.websocket.values())
    assert urlsplit(scheme.rest).scheme == "https"
    assert not scheme.rest.endswith("/")
    assert scheme.instruments_paths
    assert all(path.startswith("/") for path in scheme.instruments_paths)
    limits = scheme.limits
    assert min(limits.markets_per_connection, limits.symbols_per_message, limits.messages_per_second) > 0
    one = scheme()
    assert one.subscribe(list(scheme.websocket), ["AAA-BBB"])
    assert isinstance(one.unsubscribe(list(scheme.websocket), ["AAA-BBB"]), list)
    if scheme.ping_seconds is not None:
        assert scheme.ping_seconds < limits.silence_seconds, "a ping's answer must come before silence is death"
        assert one.ping() is None or one.ping()
    if scheme.sync.rest:
        path = one.snapshot_path("AAABBB")
        assert path.startswith("/")
        assert scheme.snapshot_symbol("https://x.example" + path) == "AAABBB"
        assert limits.snapshot_weight <= limits.rest_weight_per_minute


def test_who_asks_for_what_is_not_there_learns_what_is() -> None:
    with pytest.raises(ConfigError, match=r"did you mean BINANCE\?"):
        venue("BINANC", MarketType.SPOT)
    with pytest.raises(ConfigError, match="COINBASE has no OPTION markets here: known are SPOT"):
        venue("COINBASE", MarketType.OPTION)
    with pytest.raises(ConfigError, match=r"unknown protocol 'binance\.spot'"):
        venue("OKX", MarketType.SPOT, {"OKX.SPOT": "binance.spot"})
    assert venue("OKX", MarketType.SPOT, {"OKX.SPOT": "okx.v5.rest"}).book.protocol == "okx.v5.rest"
