"""Many markets of one exchange at once: all become LIVE, and again after all connections are lost, without a refusal
and within what the exchange allows of connections, messages and REST weight. In real time, so most of it is slow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from crowd_of_markets import HOLD_SECONDS, crowd, most_within

from level4.exchanges.registry import VENUES
from level4.model import MarketType

QUICK = [("BINANCE", MarketType.SPOT), ("COINBASE", MarketType.SPOT), ("KRAKEN", MarketType.SPOT)]
SLOW = sorted(VENUES)
MANY, SOME = 200, 40
SECONDS = 500.0
"""For the slowest: Bitfinex allows 20 connections a minute, and few of its markets may share one."""


async def comes_and_comes_back(
    exchange: str, type_: MarketType, count: int, say: Callable[[str], None] = print
) -> None:
    async with crowd(exchange, type_, count, say) as them:
        first = await them.all_live("start", SECONDS)
        await trio.sleep(HOLD_SECONDS)
        them.check(disconnects=0)
        struck = await them.cut_all()
        again = await them.all_live(f"after {struck} connections were reset", SECONDS)
        await trio.sleep(HOLD_SECONDS)
        them.check(disconnects=struck)
        figures = (
            f"LIVE in {first:.1f} s, again in {again:.1f} s; {struck} connections, {them.rest.stats.requests} REST"
        )
        say(f"{exchange} {type_}: {them.count} markets {figures}")


@pytest.mark.parametrize(("exchange", "type_"), QUICK)
async def test_some_markets(exchange: str, type_: MarketType) -> None:
    await comes_and_comes_back(exchange, type_, SOME)


@pytest.mark.slow
@pytest.mark.parametrize(("exchange", "type_"), SLOW)
async def test_many_markets(exchange: str, type_: MarketType, capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    await comes_and_comes_back(exchange, type_, MANY, say)


def test_the_most_within_a_window() -> None:
    assert most_within([], 1) == 0
    assert most_within([0.0, 0.5, 1.4, 1.5, 9.0], 1) == 3
