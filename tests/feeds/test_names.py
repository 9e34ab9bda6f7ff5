"""What people call markets: every way of writing, and what is said about a name that means none or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from level4.exchanges import Scheme, venue
from level4.feeds import Instruments, RestRefusedError, RestUnavailableError
from level4.feeds.names import Names
from level4.model import ConfigError, Instrument, Level4Error, MarketRequest, MarketType, UnavailableError
from level4.model.naming import UnknownMarketError, market_name

T = MarketType


def instrument(exchange: str, kind: T, symbol: str, native: str, **terms: Any) -> Instrument:
    pair, _, rest = symbol.partition(":")
    base, _, quote = pair.partition("/")
    return Instrument(exchange, kind, symbol, native, base, quote, rest.partition("-")[0] or None, **terms)


LISTS: dict[str, list[Instrument] | Level4Error] = {
    "kraken.v2": [
        instrument("KRAKEN", T.SPOT, "BTC/USD", "BTC/USD"),
        instrument("KRAKEN", T.SPOT, "BTC/EUR", "BTC/EUR"),
    ],
    "kraken.v1": [instrument("KRAKEN", T.SPOT, "BTC/USD", "XBT/USD")],
    "kraken_futures.v1": [instrument("KRAKEN", T.INVERSE, "BTC/USD:BTC", "PI_XBTUSD")],
    "binance.spot": [instrument("BINANCE", T.SPOT, "BTC/USDT", "BTCUSDT")],
    "binance.usdm": [
        instrument("BINANCE", T.PERP, "BTC/USDT:USDT", "BTCUSDT"),
        instrument("BINANCE", T.FUTURE, "BTC/USDT:USDT-261225", "BTCUSDT_261225", expiry="2026-12-25"),
    ],
    "binance.coinm": RestRefusedError("GET …: HTTP 404"),
    "binance.options": RestRefusedError("GET …: HTTP 404"),
    "deribit.v2": [
        instrument("DERIBIT", T.INVERSE, "BTC/USD:BTC", "BTC-PERPETUAL"),
        instrument(
            "DERIBIT", T.OPTION, "BTC/USD:BTC-261225-60000-C", "BTC-25DEC26-60000-C",
            expiry="2026-12-25", strike="60000", right="C",
        ),
        instrument("DERIBIT", T.PERP, "BTC/USD:USDC", "BTC_USDC-PERPETUAL"),
        instrument("DERIBIT", T.PERP, "BTC/USD:USD", "BTC_USD-PERPETUAL"),
    ],
}  # fmt: skip


class Lists(Instruments):
    """The real resolution, with lists that are given."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def listed(self, scheme: type[Scheme], max_age: float = 0.0) -> tuple[Instrument, ...]:
        self.asked.append(scheme.protocol)
        there = LISTS.get(scheme.protocol, RestUnavailableError("GET …: HTTP 503"))
        if isinstance(there, Level4Error):
            raise there
        return tuple(there)

    async def resolve(self, request: MarketRequest, scheme: type[Scheme]) -> Instrument:
        self._fresh_seconds = 0.0
        return await super().resolve(request, scheme)


async def find(text: str) -> tuple[Instrument, Sequence[str]]:
    lists = Lists()
    named = await Names(cast("Instruments", lists), venue).find(text)
    assert named.request.id == 0
    return named.instrument, lists.asked


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("kraken:BTC/USD", "BTC/USD"),
        ("kraken:btc/usd", "BTC/USD"),
        ("kraken:XBT/USD", "BTC/USD"),
        ("KRAKEN.SPOT:BTC-USD", "BTC/USD"),
        ("kraken.spot:BTC/EUR", "BTC/EUR"),
        ("kraken:SPOT:BTC/EUR", "BTC/EUR"),
        ("kraken:BTC/USD:BTC", "BTC/USD:BTC"),
        ("kraken:PI_XBTUSD", "BTC/USD:BTC"),
        ("kraken.inverse:BTC-USD", "BTC/USD:BTC"),
        ("binance:BTC/USDT", "BTC/USDT"),
        ("binance:BTC/USDT:USDT", "BTC/USDT:USDT"),
        ("binance.perp:BTCUSDT", "BTC/USDT:USDT"),
        ("binance:BTC/USDT:USDT-261225", "BTC/USDT:USDT-261225"),
        ("binance.futures:BTC-USDT", "BTC/USDT:USDT-261225"),
        ("deribit:BTC/USD:BTC-261225-60000-C", "BTC/USD:BTC-261225-60000-C"),
        ("deribit:BTC-25DEC26-60000-C", "BTC/USD:BTC-261225-60000-C"),
        ("deribit:BTC-PERPETUAL", "BTC/USD:BTC"),
    ],
)
async def test_names_of_markets(text: str, symbol: str) -> None:
    assert (await find(text))[0].symbol == symbol


async def test_a_unified_symbol_needs_no_further_list() -> None:
    assert set((await find("kraken:BTC/USD"))[1]) == {"kraken.v2"}


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("binance:BTCUSDT", ConfigError, "binance:BTC/USDT (SPOT), binance:BTC/USDT:USDT (PERP)"),
        ("kraken:BTC-USD", ConfigError, "kraken:BTC/USD (SPOT), kraken:BTC/USD:BTC (INVERSE)"),
        (
            "deribit:BTC/USD:USDC",
            ConfigError,
            "cannot be asked for: with its type, base and quote BTC/USD:USD is",
        ),
        ("kraken:BTC/UDS", UnknownMarketError, "nearest: kraken:BTC/USD"),
        ("kraken:zzzzzzz", UnknownMarketError, "not among the 3 markets that KRAKEN lists (INVERSE, SPOT)"),
        ("krakn:BTC/USD", ConfigError, "did you mean KRAKEN?"),
        ("kraken.option:BTC/USD", ConfigError, "KRAKEN has no OPTION markets here"),
        ("bitstamp:BTC/USD", UnavailableError, "HTTP 503"),
    ],
)
async def test_names_that_cannot_be_followed(text: str, kind: type[Level4Error], said: str) -> None:
    with pytest.raises(kind) as caught:
        await find(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "BTC/USD", ":BTC/USD", "kraken:", "kraken.:BTC/USD", "kraken.swap:BTC/USD"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError):
        market_name(text)
