"""What all exchanges share that are connected to first and then asked: pausing, refusals on demand, the last trades,
the window of best levels."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import trio
from consumer import reply
from simulated import Json, running, send

from level4.simulator import Fault, FaultKind, Simulator
from level4.simulator.book import Book, Side
from level4.simulator.window import Window

EXCHANGES: dict[str, tuple[str, str, Json]] = {
    "BINANCE_DELIVERY": (
        "dstream.binance.com/stream",
        "BTCUSD_PERP",
        {"method": "SUBSCRIBE", "params": ["btcusd_perp@depth@100ms"], "id": 1},
    ),
    "BINANCE_FUTURES": (
        "fstream.binance.com/public/stream",
        "BTCUSDT",
        {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1},
    ),
    "BITFINEX": (
        "api-pub.bitfinex.com/ws/2", "tBTCUSD", {"event": "subscribe", "channel": "book", "symbol": "tBTCUSD"},
    ),
    "BITFLYER": (
        "ws.lightstream.bitflyer.com/json-rpc",
        "BTC_JPY",
        {"method": "subscribe", "params": {"channel": "lightning_board_BTC_JPY"}, "id": 1},
    ),
    "BITMEX": ("ws.bitmex.com/realtime", "XBTUSD", {"op": "subscribe", "args": ["orderBookL2:XBTUSD"]}),
    "BITSTAMP": (
        "ws.bitstamp.net", "btcusd", {"event": "bts:subscribe", "data": {"channel": "diff_order_book_btcusd"}},
    ),
    "BYBIT_LINEAR": (
        "stream.bybit.com/v5/public/linear", "BTCUSDT", {"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]},
    ),
    "DERIBIT": (
        "www.deribit.com/ws/api/v2",
        "BTC-PERPETUAL",
        {
            "jsonrpc": "2.0", "method": "public/subscribe", "id": 1,
            "params": {"channels": ["book.BTC-PERPETUAL.100ms"]},
        },
    ),
    "GEMINI": (
        "ws.gemini.com?snapshot=-1", "btcusd", {"id": 1, "method": "subscribe", "params": ["btcusd@depth@100ms"]},
    ),
    "HITBTC": (
        "api.hitbtc.com/api/3/ws/public",
        "BTCUSDT",
        {"method": "subscribe", "ch": "orderbook/full", "params": {"symbols": ["BTCUSDT"]}, "id": 1},
    ),
    "HYPERLIQUID": (
        "api.hyperliquid.xyz/ws", "BTC", {"method": "subscribe", "subscription": {"type": "bbo", "coin": "BTC"}},
    ),
    "KRAKEN_FUTURES": (
        "futures.kraken.com/ws/v1",
        "PF_XBTUSD",
        {"event": "subscribe", "feed": "book", "product_ids": ["PF_XBTUSD"]},
    ),
    "OKX": (
        "ws.okx.com/ws/v5/public",
        "BTC-USDT",
        {"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]},
    ),
    "POLONIEX": (
        "ws.poloniex.com/ws/public",
        "BTC_USDT",
        {"event": "subscribe", "channel": ["book_lv2"], "symbols": ["BTC_USDT"]},
    ),
}  # fmt: skip
"""By exchange: address, symbol, and a subscription to its book."""


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_pausing_stops_and_resuming_goes_on(exchange: str) -> None:
    address, native, request = EXCHANGES[exchange]
    simulator = Simulator(rate=500, levels=20, gather=0)
    async with running(simulator) as client, client.socket(address) as socket:
        await send(socket, request)
        for _ in range(20):
            await socket.get_message()
        simulator.pause()
        with trio.move_on_after(0.2):
            while True:
                await socket.get_message()
        still = simulator.book(exchange, native)
        with trio.move_on_after(0.1):
            raise AssertionError(await socket.get_message())
        simulator.resume()
        await socket.get_message()
        assert simulator.book(exchange, native) != still


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_a_subscription_is_refused_on_demand_and_nothing_comes(exchange: str) -> None:
    address, native, request = EXCHANGES[exchange]
    simulator = Simulator(rate=500, levels=20, gather=0)
    simulator.inject(Fault(FaultKind.REFUSE_SUBSCRIPTION, exchange=exchange, market=native))
    async with running(simulator) as client, client.socket(address) as socket:
        await send(socket, request)

        def refusal(message: Json) -> bool:
            result = message.get("result")
            # HitBTC and Deribit tell what is subscribed, and leave out what is not
            empty = result == [] or (isinstance(result, dict) and result["subscriptions"] == [])
            failed = message.get("success") is False or message.get("code") == 2 or message.get("channel") == "error"
            return "error" in message or empty or failed or str(message.get("event")).endswith(("error", "failed"))

        await reply(socket, refusal)
        with trio.move_on_after(0.1):
            raise AssertionError(await socket.get_message())
        await send(socket, request)
        for _ in range(5):
            await socket.get_message()
        assert (await client.stats())["faults"] == {"refuse_subscription": 1}


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_a_client_that_goes_leaves_nothing(exchange: str) -> None:
    """A market nobody listens to stands still."""
    address, native, request = EXCHANGES[exchange]
    simulator = Simulator(rate=500, levels=20, gather=0)
    async with running(simulator) as client:
        async with client.socket(address) as socket:
            await send(socket, request)
            for _ in range(5):
                await socket.get_message()
        while (await client.stats())["sessions"]:  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)
        still = simulator.book(exchange, native)
        await trio.sleep(0.05)
        assert simulator.book(exchange, native) == still


ODD: list[Any] = [None, True, -1, 10**30, "x", "é" * 50, [], {}, [[]], [None], {"a": [1]}]


def odd_messages(request: Json) -> list[str]:
    """A good request with one odd value in the place of each that it has."""
    found = ["", "{", "\x00", *map(json.dumps, ODD)]
    for name, value in request.items():
        found += [json.dumps(request | {name: odd}) for odd in (*ODD, *([odd] for odd in ODD))]
        if isinstance(value, dict):
            found += [json.dumps(request | {name: value | {key: odd}}) for key in value for odd in ODD]
    return found


@pytest.mark.parametrize(
    "exchange", ["BITFINEX", "BITFLYER", "BITMEX", "BITSTAMP", "GEMINI", "GEMINI V2", "HITBTC", "POLONIEX"]
)
async def test_an_exchange_survives_what_clients_say(exchange: str) -> None:
    v2 = {"type": "subscribe", "subscriptions": [{"name": "l2", "symbols": ["BTCUSD"]}]}
    address, _, request = EXCHANGES.get(exchange, ("api.gemini.com/v2/marketdata", "", v2))
    async with running(Simulator(rate=20)) as client:
        left = odd_messages(request)
        while left:
            said, left = left[:9], left[9:]  # few enough for every exchange's limits
            async with client.socket(address) as socket:
                for text in said:
                    await socket.send_message(text)
                await send(socket, request)
                while len(await socket.get_message()) < 500:  # until the book, or a change of it, comes
                    if exchange in ("BITFLYER", "BITSTAMP"):
                        break
        assert (await client.stats())["connections"] >= 1


async def test_the_control_port_tells_the_last_trades() -> None:
    address, native, request = EXCHANGES["HITBTC"]
    async with running(Simulator(rate=500, trade_rate=400)) as client, client.socket(address) as socket:
        where = f"_level4/trades?exchange=hitbtc&symbol={native}"
        before = await client.get(where)
        await send(socket, request)
        while len(after := await client.get(where)) < len(before) + 5:
            await socket.get_message()
        assert after[: len(before)] == before
        assert [int(trade["id"]) for trade in after] == list(range(int(after[0]["id"]), int(after[-1]["id"]) + 1))
        assert {trade["taker"] for trade in after} == {"buy", "sell"}
        assert (await client.http("_level4/trades?exchange=hitbtc&symbol=btcusdt")).status == 404


def test_a_window_shows_the_best_levels_and_nothing_else() -> None:
    random, book = Random(7), Book()
    for off in range(1, 40):
        book.bids.set(Decimal(100 - off), Decimal(1))
        book.asks.set(Decimal(100 + off), Decimal(1))
    window, shown = Window(book, 10), {side: dict(book[side].top(10)) for side in Side}
    for _ in range(500):
        side = random.choice(list(Side))
        away = random.randint(1, 30) * (-1 if side is Side.BID else 1)
        book[side].set(Decimal(100 + away), Decimal(random.choice((0, 0, 1, 2))))
        for side, price, size in window.changes(book):
            assert shown[side].get(price, Decimal(0)) != size
            if size:
                shown[side][price] = size
            else:
                del shown[side][price]
        for side in Side:
            best: Any = dict(book[side].top(10))
            assert shown[side] == best == dict(window.shown[side])
