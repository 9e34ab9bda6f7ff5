"""Instrument lists in many answers, and contracts that differ only by their terms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from fake_exchange import FakeScheme
from trio.testing import MockClock

from level4.feeds import AddressBook, Instruments, Rest
from level4.model import ConfigError, ExchangeError, Instrument, MarketRequest, MarketType


class Paged(FakeScheme):
    """Answers point at the next one by number; instruments are calls on AAA whose strike is the page's number."""

    @classmethod
    def further_instruments(cls, path: str, body: bytes) -> list[str]:
        following = json.loads(body)["next"]
        return [] if following is None else [f"/list?page={following}"]

    @classmethod
    def parse_instruments(cls, bodies: Sequence[bytes]) -> list[Instrument]:
        strikes = [str(json.loads(body)["strike"]) for body in bodies]
        return [option(strike, expiry, right) for strike in strikes for expiry in EXPIRIES for right in "CP"]


EXPIRIES = ("2026-12-25", "2027-03-26")


def option(strike: str, expiry: str, right: str) -> Instrument:
    name = f"AAA-{expiry}-{strike}-{right}"
    return Instrument(
        "FAKE", MarketType.OPTION, name, name, "AAA", "USD", settle="AAA", expiry=expiry, strike=strike, right=right
    )


def exchange(pages: int, broken: int | None = None) -> tuple[httpx.MockTransport, list[str]]:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        page = int(request.url.params.get("page", 0))
        following = page + 1 if page + 1 < pages else None
        return httpx.Response(200, json=[] if page == broken else {"next": following, "strike": 100 + page})

    return httpx.MockTransport(answer), asked


def want(strike: str | None, expiry: str | None = EXPIRIES[0], right: str | None = "C") -> MarketRequest:
    return MarketRequest(1, "FAKE", MarketType.OPTION, "AAA", "USD", expiry, strike, right)


async def test_all_pages_are_one_list_and_survive_on_disk(tmp_path: Path) -> None:
    transport, asked = exchange(3)
    async with Rest(transport=transport) as rest:
        instruments = Instruments(rest, AddressBook(), tmp_path)
        assert (await instruments.resolve(want("102"), Paged)).strike == "102"
    assert asked == ["/list", "/list?page=1", "/list?page=2"]
    away = httpx.MockTransport(lambda request: httpx.Response(503))
    async with Rest(transport=away) as rest:
        instruments = Instruments(rest, AddressBook(), tmp_path)
        assert (await instruments.resolve(want("102"), Paged)).strike == "102"


async def test_a_broken_page_fails_the_whole_list() -> None:
    async with Rest(transport=exchange(3, broken=1)[0]) as rest:
        with pytest.raises(ExchangeError, match="expected the documented form"):
            await Instruments(rest, AddressBook()).resolve(want("100"), Paged)


async def test_a_list_without_end_is_given_up(autojump_clock: MockClock) -> None:
    async with Rest(transport=exchange(10**6)[0]) as rest:
        with pytest.raises(ExchangeError, match="at most 200 answers"):
            await Instruments(rest, AddressBook()).resolve(want("100"), Paged)


async def test_expiry_strike_and_right_tell_contracts_apart() -> None:
    transport, _ = exchange(2)
    async with Rest(transport=transport) as rest:
        instruments = Instruments(rest, AddressBook())
        found = await instruments.resolve(want("101.0", EXPIRIES[1], "P"), Paged)
        assert (found.strike, found.expiry, found.right) == ("101", EXPIRIES[1], "P")
        for unknown in (want("999"), want("100", "2020-01-01")):
            with pytest.raises(ConfigError):
                await instruments.resolve(unknown, Paged)
        with pytest.raises(ConfigError, match="4 instruments match"):
            await instruments.resolve(want("100", None, None), Paged)
