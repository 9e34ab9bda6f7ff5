"""Instrument lists: resolution by fields, helpful refusals, one fetch for all, age, and the copy on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from fake_exchange import FakeScheme, scheme_with
from trio.testing import MockClock

from level4.feeds import AddressBook, Instruments, Rest, RestUnavailableError
from level4.model import ConfigError, ExchangeError, MarketRequest, MarketType


class Exchange:
    """Answers the instrument list; counts how often."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.asked = 0
        self.body: bytes | None = None
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, content=self.body or json.dumps(self.entries).encode())

    def instruments(self, cache: Path | None = None) -> tuple[Rest, Instruments]:
        rest = Rest(transport=httpx.MockTransport(self))
        return rest, Instruments(rest, AddressBook(), cache)


def entry(base: str, quote: str, **more: Any) -> dict[str, Any]:
    return {"s": f"{base}{quote}{more.get('expiry', '')}", "b": base, "q": quote, **more}


def want(base: str, quote: str = "USD", kind: MarketType = MarketType.SPOT) -> MarketRequest:
    return MarketRequest(1, "FAKE", kind, base, quote)


async def test_a_request_is_matched_by_fields_not_by_its_spelling() -> None:
    # Glued together both are AAABUSD.
    rest, instruments = Exchange(entry("AAA", "BUSD"), entry("AAAB", "USD")).instruments()
    async with rest:
        assert (await instruments.resolve(want("AAAB"), FakeScheme)).quote == "USD"
        assert (await instruments.resolve(want("AAA", "BUSD"), FakeScheme)).base == "AAA"


async def test_one_fetch_serves_all() -> None:
    exchange = Exchange(entry("BTC", "USD"))
    rest, instruments = exchange.instruments()
    async with rest, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(instruments.resolve, want("BTC"), FakeScheme)
    assert exchange.asked == 1


async def test_an_unknown_market_is_refused_with_the_nearest(autojump_clock: MockClock) -> None:
    exchange = Exchange(entry("BTC", "USD"), entry("BTC", "EUR"), entry("DOGE", "USD"), entry("ETH", "USD"))
    rest, instruments = exchange.instruments()
    async with rest:
        with pytest.raises(ConfigError, match=r"1=FAKE:SPOT:BTC/USDT.*BTC is traded against EUR, USD.*BTC/USD"):
            await instruments.resolve(want("BTC", "USDT"), FakeScheme)
        with pytest.raises(ConfigError, match=r"base DOG is not listed; nearest: DOGE"):
            await instruments.resolve(want("DOG"), FakeScheme)
        with pytest.raises(ConfigError, match="lists no PERP here, only SPOT"):
            await instruments.resolve(want("BTC", kind=MarketType.PERP), FakeScheme)
        assert exchange.asked == 1  # the list was fresh
        exchange.entries.append(entry("NEW", "USD"))
        await trio.sleep(301)
        assert (await instruments.resolve(want("NEW"), FakeScheme)).base == "NEW"
        assert exchange.asked == 2


async def test_an_inactive_instrument_is_named_as_such() -> None:
    rest, instruments = Exchange(entry("BTC", "USD", active=False)).instruments()
    async with rest:
        with pytest.raises(ConfigError, match="lists BTC/USD but does not trade it now"):
            await instruments.resolve(want("BTC"), FakeScheme)


async def test_perpetual_and_settlement_are_preferred_and_doubt_is_refused() -> None:
    exchange = Exchange(
        entry("BTC", "USD", type="INVERSE", settle="BTC"),
        entry("BTC", "USD", type="INVERSE", settle="BTC", expiry="2027-03-26"),
        entry("BTC", "USD", type="PERP", settle="USD"),
        entry("BTC", "USD", type="PERP", settle="ETH"),
        entry("BTC", "USD", type="FUTURE", settle="USD", expiry="2027-03-26"),
        entry("BTC", "USD", type="FUTURE", settle="USD", expiry="2027-06-25"),
    )
    rest, instruments = exchange.instruments()
    async with rest:
        assert (await instruments.resolve(want("BTC", kind=MarketType.INVERSE), FakeScheme)).expiry is None
        assert (await instruments.resolve(want("BTC", kind=MarketType.PERP), FakeScheme)).settle == "USD"
        with pytest.raises(ConfigError, match="2 instruments match"):
            await instruments.resolve(want("BTC", kind=MarketType.FUTURE), FakeScheme)


async def test_the_disk_stands_in_while_the_exchange_is_away(tmp_path: Path) -> None:
    exchange = Exchange(entry("BTC", "USD"))
    rest, instruments = exchange.instruments(tmp_path / "cache")
    async with rest:
        await instruments.resolve(want("BTC"), FakeScheme)
    exchange.status = 503
    rest, instruments = exchange.instruments(tmp_path / "cache")
    async with rest:
        assert (await instruments.resolve(want("BTC"), FakeScheme)).native_symbol == "BTCUSD"
        other = scheme_with(instruments_paths=("/another",))
        with pytest.raises(RestUnavailableError):  # another list is not taken for this one
            await Instruments(rest, AddressBook(), tmp_path / "cache").resolve(want("BTC"), other)
    rest, instruments = exchange.instruments(tmp_path / "empty")
    async with rest:
        with pytest.raises(RestUnavailableError):
            await instruments.resolve(want("BTC"), FakeScheme)


async def test_a_damaged_copy_is_not_believed(tmp_path: Path) -> None:
    exchange = Exchange(entry("BTC", "USD"))
    rest, instruments = exchange.instruments(tmp_path)
    async with rest:
        await instruments.resolve(want("BTC"), FakeScheme)
    (copy,) = list(await trio.Path(tmp_path).iterdir())
    await copy.write_bytes((await copy.read_bytes())[:-5])
    exchange.status = 503
    rest, instruments = exchange.instruments(tmp_path)
    async with rest:
        with pytest.raises(RestUnavailableError):
            await instruments.resolve(want("BTC"), FakeScheme)


async def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").write_text("in the way")
    rest, instruments = Exchange(entry("BTC", "USD")).instruments(tmp_path / "file" / "cache")
    async with rest:
        assert (await instruments.resolve(want("BTC"), FakeScheme)).base == "BTC"


async def test_a_list_of_another_form_is_the_exchanges_fault_and_asked_again() -> None:
    exchange = Exchange(entry("BTC", "USD"))
    exchange.body = b"<html>"
    rest, instruments = exchange.instruments()
    async with rest:
        with pytest.raises(ExchangeError, match=r"instrument list of fake\.v1"):
            await instruments.resolve(want("BTC"), FakeScheme)
        exchange.body = None
        assert (await instruments.resolve(want("BTC"), FakeScheme)).base == "BTC"


async def test_a_failed_renewal_keeps_the_list_and_is_not_repeated_at_once(autojump_clock: MockClock) -> None:
    exchange = Exchange(entry("BTC", "USD"))
    rest, instruments = exchange.instruments()
    async with rest:
        await instruments.resolve(want("BTC"), FakeScheme)
        exchange.status = 500
        await trio.sleep(4000)
        for _ in range(5):
            with pytest.raises(ConfigError, match="NEW is not listed"):
                await instruments.resolve(want("NEW"), FakeScheme)
            assert (await instruments.resolve(want("BTC"), FakeScheme)).base == "BTC"
        assert exchange.asked == 2
        exchange.status = 200
        exchange.entries = [entry("BTC", "EUR")]
        await trio.sleep(61)
        assert (await instruments.resolve(want("BTC", "EUR"), FakeScheme)).quote == "EUR"
