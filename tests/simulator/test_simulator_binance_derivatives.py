"""The synthetic Binance futures and options: chains of differences, routes, merged trades, the shared budget."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from consumer import Consumer, listing, recorded, shapes_agree
from simulated import Json, running, send, until
from trio_websocket import ConnectionClosed, WebSocketConnection

from level4.simulator import Simulator

PUBLIC, MARKET = "fstream.binance.com/public/stream", "fstream.binance.com/market/stream"
COINM = "dstream.binance.com/stream"
LATER = frozenset({"ps", "st", "nq"})
"""Fields that messages have had since 2026."""


class Chain(Consumer):
    """How to keep a local book: the first update spans the snapshot, every later one names the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.last: int | None = None
        self.before: int | None = None
        self.kept: list[Json] = []
        self.jumps = 0

    def seed(self, snapshot: Json) -> None:
        self.snapshot(snapshot["bids"], snapshot["asks"])
        self.last, self.before = snapshot["lastUpdateId"], None
        for event in self.kept:
            self.take(event)

    def take(self, message: Json) -> None:
        if self.last is None:
            self.kept.append(message)
            return
        if message["u"] < self.last:
            return
        assert message["pu"] < message["U"] <= message["u"]
        self.wrong += message["pu"] > self.last if self.before is None else message["pu"] != self.before
        self.before = message["u"]
        self.jumps += message["U"] > message["pu"] + 1
        self.update(message["b"], message["a"])


async def data(socket: WebSocketConnection) -> Json:
    return (await until(socket, lambda m: "stream" in m, read=json.loads))["data"]


def native(simulator: Simulator, exchange: str, beginning: str) -> str:
    """The first market whose name begins like this."""
    found = next(each for each in simulator._synthetic if each.exchange == exchange)
    return next(name for name in found.markets if name.startswith(beginning))


MARKETS = [
    ("BINANCE_FUTURES", "BTCUSDT", PUBLIC, "fapi.binance.com/fapi/v1/depth"),
    ("BINANCE_FUTURES", "BTCUSDT_", PUBLIC, "fapi.binance.com/fapi/v1/depth"),
    ("BINANCE_FUTURES", "ETH-", PUBLIC, "eapi.binance.com/eapi/v1/depth"),
    ("BINANCE_DELIVERY", "BTCUSD_", COINM, "dapi.binance.com/dapi/v1/depth"),
]


@pytest.mark.parametrize(("exchange", "beginning", "address", "depth"), MARKETS)
async def test_snapshot_and_differences_lead_to_the_simulators_book(
    exchange: str, beginning: str, address: str, depth: str
) -> None:
    simulator = Simulator(rate=600, trade_rate=100, levels=40, gather=0.02)
    symbol = native(simulator, exchange, beginning)
    async with running(simulator) as client, client.socket(address) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": [f"{symbol.lower()}@depth@100ms"], "id": 1})
        assert json.loads(await socket.get_message()) == {"result": None, "id": 1}
        consumer = Chain()
        consumer.take(await data(socket))
        simulator.pause()
        consumer.seed(await client.get(f"{depth}?symbol={symbol}&limit=1000"))
        simulator.resume()
        while consumer.frames < 60:
            consumer.take(await data(socket))
        simulator.pause()
        last = (await client.get(f"{depth}?symbol={symbol}&limit=10"))["lastUpdateId"]
        while consumer.before != last:
            consumer.take(await data(socket))
        counts = (await client.stats())["exchanges"][exchange][symbol]
        whole = await client.get(f"_level4/book?exchange={exchange}&symbol={symbol}")
    assert consumer.wrong == 0
    assert consumer.jumps > 0
    assert consumer.book.equals(whole)
    assert counts["snapshots"] == 1
    assert counts["best_changes"] >= consumer.best_changes > 0


@pytest.mark.parametrize("route", ["", "/public"])
async def test_a_stream_on_the_wrong_route_is_acknowledged_and_silent(route: str) -> None:
    params = ["btcusdt@aggTrade", "ETHUSDT@depth@100ms", "foousdt@depth@100ms", "ethusdt@depth@100ms"]
    simulator = Simulator(rate=300, trade_rate=300, gather=0.02)
    async with running(simulator) as client, client.socket(f"fstream.binance.com{route}/stream") as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": params, "id": 1})
        assert json.loads(await socket.get_message()) == {"result": None, "id": 1}
        for _ in range(20):
            assert (await data(socket))["e"] == "depthUpdate"
        assert list((await client.stats())["exchanges"]["BINANCE_FUTURES"]) == ["ETHUSDT"]
    async with running(Simulator(rate=300, gather=0.02)) as client, client.socket(MARKET) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1})
        with trio.move_on_after(0.2):
            await data(socket)
            raise AssertionError("a book came on the route of trades")


@pytest.mark.parametrize(
    ("exchange", "symbol", "address"),
    [("BINANCE_FUTURES", "BTCUSDT", MARKET), ("BINANCE_DELIVERY", "BTCUSD_PERP", COINM)],
)
async def test_trades_at_one_price_are_merged(exchange: str, symbol: str, address: str) -> None:
    simulator = Simulator(rate=900, trade_rate=900, levels=20, gather=0.5)
    whole: Any = simulator.book(exchange, symbol)
    first = whole["trade_id"] + 1
    simulator.pause()
    async with running(simulator) as client, client.socket(address) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": [f"{symbol.lower()}@aggTrade"], "id": 1})
        await socket.get_message()
        simulator.resume()
        merged = [await data(socket) for _ in range(60)]
        simulator.pause()
        told = await client.get(f"_level4/trades?exchange={exchange}&symbol={symbol}")
    assert [each["a"] for each in merged] == list(range(merged[0]["a"], merged[0]["a"] + 60))
    fills = {int(each["id"]): each for each in told}
    assert any(each["l"] > each["f"] for each in merged)
    for each in merged:
        assert each["f"] == first
        first = each["l"] + 1
        parts = [fills[number] for number in range(each["f"], each["l"] + 1)]
        assert sum(Decimal(part["size"]) for part in parts) == Decimal(each["q"])
        assert {(Decimal(part["price"]), part["taker"]) for part in parts} == {
            (Decimal(each["p"]), "sell" if each["m"] else "buy")
        }


async def test_one_stream_for_all_options_of_an_underlying() -> None:
    async with running(Simulator(rate=200, trade_rate=200, gather=0.02)) as client, client.socket(PUBLIC) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@optionTrade"], "id": 1})
        seen: Counter[str] = Counter()
        while len(seen) < 4:
            trade = await data(socket)
            assert (trade["e"], trade["X"]) == ("trade", "MARKET")
            assert trade["m"] == (trade["S"] == "SELL")
            seen[trade["s"]] += 1
        assert all(name.startswith("BTC-") for name in seen)


async def test_more_than_ten_messages_a_second_end_the_connection() -> None:
    async with running(Simulator()) as client, client.socket(PUBLIC) as socket:
        for number in range(11):
            await send(socket, {"method": "LIST_SUBSCRIPTIONS", "id": number})
        with pytest.raises(ConnectionClosed):
            await until(socket, lambda _: False)


async def test_requests_are_numbered_by_unsigned_integers_and_streams_are_few() -> None:
    async with running(Simulator()) as client, client.socket(PUBLIC) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": "a"})
        assert json.loads(await socket.get_message())["code"] == 2
        await send(socket, {"method": "SUBSCRIBE", "params": [f"x{n}@depth" for n in range(201)], "id": 1})
        assert "too many" in json.loads(await socket.get_message())["msg"]


async def test_contracts_share_a_budget_and_options_have_their_own() -> None:
    async with running(Simulator()) as client:
        one = await client.http("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        two = await client.http("dapi.binance.com/dapi/v1/depth?symbol=BTCUSD_PERP&limit=100")
        three = await client.http("eapi.binance.com/eapi/v1/exchangeInfo")
        used = [reply.headers["x-mbx-used-weight-1m"] for reply in (one, two, three)]
        assert used == ["20", "25", "1"]
        statuses = [(await client.http("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=7")).status]
        statuses += [(await client.http("fapi.binance.com/fapi/v1/depth?symbol=FOO")).status]
        assert statuses == [400, 400]


async def test_the_lists() -> None:
    async with running(Simulator()) as client:
        usdm = (await client.get("fapi.binance.com/fapi/v1/exchangeInfo"))["symbols"]
        coinm = (await client.get("dapi.binance.com/dapi/v1/exchangeInfo"))["symbols"]
        options = await client.get("eapi.binance.com/eapi/v1/exchangeInfo")
    kinds = Counter(row["contractType"] for row in usdm)
    assert kinds == {"PERPETUAL": 6, "CURRENT_QUARTER": 2}
    assert {row["symbol"]: row["contractSize"] for row in coinm if row["symbol"].endswith("_PERP")} == {
        "BTCUSD_PERP": 100, "ETHUSD_PERP": 10, "SOLUSD_PERP": 10, "XRPUSD_PERP": 10, "ADAUSD_PERP": 10,
        "DOGEUSD_PERP": 10,
    }  # fmt: skip
    assert len(options["optionSymbols"]) == 8
    assert {row["underlying"] for row in options["optionContracts"]} == {"BTCUSDT", "ETHUSDT"}


CASES: list[Any] = [
    ("BINANCE_FUTURES.PERP/ws-1", PUBLIC, "ethusdt", "@depth@100ms"),
    ("BINANCE_FUTURES.PERP/ws-1", MARKET, "ethusdt", "@aggTrade"),
    ("BINANCE_DELIVERY.MIXED/ws-1", COINM, "ethusd_perp", "@depth@100ms"),
    ("BINANCE_DELIVERY.MIXED/ws-1", COINM, "ethusd_perp", "@aggTrade"),
    ("BINANCE.OPTION/option-2025", PUBLIC, "btc-", "@optionTrade"),
    ("BINANCE.OPTION/option-2025", PUBLIC, "btc-", "@depth20@100ms"),
]


@pytest.mark.parametrize(("recording", "address", "market", "ending"), CASES)
async def test_frames_have_the_recorded_keys_and_types(
    recordings: Path, recording: str, address: str, market: str, ending: str
) -> None:
    def wanted(message: Json) -> bool:
        told = message.get("data") or {}
        sides = (told.get("b"), told.get("a")) if isinstance(told, dict) else ()
        return str(message.get("stream")).endswith(ending) and [] not in sides

    real = recorded(recordings, recording, wanted)
    simulator = Simulator(rate=300, trade_rate=100, gather=0.1)
    name = native(simulator, "BINANCE_FUTURES", "BTC-").lower() if market == "btc-" else market
    stream = name + ending.replace("depth20", "depth")
    async with running(simulator) as client, client.socket(f"{address}?streams={stream}") as socket:
        while [] in ((made := json.loads(await socket.get_message()))["data"].get("b"), made["data"].get("a")):
            pass
    shapes_agree(made, real, LATER)


@pytest.mark.parametrize(
    ("recording", "path"),
    [
        ("BINANCE_FUTURES.PERP", "fapi.binance.com/fapi/v1/depth?symbol=ETHUSDT"),
        ("BINANCE_DELIVERY.MIXED", "dapi.binance.com/dapi/v1/depth?symbol=ETHUSD_PERP"),
    ],
)
async def test_snapshots_and_lists_have_the_recorded_keys_and_types(
    recordings: Path, recording: str, path: str
) -> None:
    host, _, rest = path.partition("/")
    info = rest.partition("/depth")[0] + "/exchangeInfo"
    async with running(Simulator()) as client:
        shapes_agree(await client.get(path), recorded(recordings, f"{recording}/ws-1", lambda m: "lastUpdateId" in m))
        made = (await client.get(f"{host}/{info}"))["symbols"][0]
    real = listing(recordings, recording, "exchangeInfo")["symbols"][0]
    assert made.keys() <= real.keys()
    real = {name: real[name] for name in made} | {"filters": real["filters"][:1]}
    shapes_agree(made | {"filters": made["filters"][:1]}, real)
