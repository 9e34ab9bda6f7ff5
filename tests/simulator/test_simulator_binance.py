"""The synthetic Binance: REST snapshot and differences lead to the simulator's own book."""

from __future__ import annotations

import json

import pytest
from simulated import Client, Json, PlainBook, running, send, until
from trio_websocket import ConnectionClosed, WebSocketConnection

from level4.simulator import Simulator

STREAM = "stream.binance.com:9443/stream"
DEPTH = "api.binance.com/api/v3/depth"


class Consumer:
    """The documented way to keep a local order book."""

    def __init__(self) -> None:
        self.book = PlainBook()
        self.last: int | None = None
        self.before: int | None = None
        self.kept: list[Json] = []
        self.frames = self.best_changes = self.best_price_changes = self.trades = 0
        self.trade_ids: list[int] = []

    def seed(self, snapshot: Json) -> None:
        self.book.apply(snapshot["bids"], snapshot["asks"])
        self.last = snapshot["lastUpdateId"]
        kept, self.kept = self.kept, []
        for event in kept:
            self.apply(event)

    def take(self, event: Json) -> None:
        if event["e"] == "trade":
            self.trades += 1
            self.trade_ids.append(event["t"])
            return
        assert self.before is None or event["U"] == self.before + 1
        assert event["u"] >= event["U"]
        self.before = event["u"]
        self.apply(event)

    def apply(self, event: Json) -> None:
        if self.last is None:
            self.kept.append(event)
        elif event["u"] > self.last:
            assert event["U"] <= self.last + 1
            self.last = event["u"]
            before = self.book.best()
            self.book.apply(event["b"], event["a"])
            after = self.book.best()
            self.frames += 1
            self.best_changes += before != after
            self.best_price_changes += [t and t[0] for t in before] != [t and t[0] for t in after]


async def data(socket: WebSocketConnection) -> Json:
    return (await until(socket, lambda m: "stream" in m, read=json.loads))["data"]


async def finish(client: Client, socket: WebSocketConnection, consumer: Consumer) -> Json:
    await client.http("_level4/pause", "POST")
    last = (await client.get(f"{DEPTH}?symbol=BTCUSDT&limit=1"))["lastUpdateId"]
    while consumer.last is None or consumer.last < last:
        consumer.take(await data(socket))
    return (await client.stats())["exchanges"]["BINANCE"]["BTCUSDT"]


@pytest.mark.parametrize("by_url", [True, False])
async def test_snapshot_and_differences_lead_to_the_simulators_book(by_url: bool) -> None:
    streams = ["btcusdt@depth@100ms", "btcusdt@trade"]
    address = f"{STREAM}?streams={'/'.join(streams)}" if by_url else STREAM
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(address) as socket:
        if not by_url:
            await send(socket, {"method": "SUBSCRIBE", "params": streams, "id": 1})
            assert json.loads(await socket.get_message()) == {"result": None, "id": 1}
        consumer = Consumer()
        while len(consumer.kept) < 2:
            consumer.take(await data(socket))
        consumer.seed(await client.get(f"{DEPTH}?symbol=BTCUSDT&limit=5000"))
        while consumer.frames < 5:
            consumer.take(await data(socket))
        stats = await finish(client, socket, consumer)
        whole = await client.get("_level4/book?exchange=BINANCE&symbol=BTCUSDT")
    assert consumer.book.equals(whole)
    assert stats["trades"] == consumer.trades > 0
    assert consumer.trade_ids == list(range(consumer.trade_ids[0], whole["trade_id"] + 1))
    for name in ("frames", "best_changes", "best_price_changes"):
        assert stats[name] == getattr(consumer, name), name


async def test_an_unknown_stream_is_acknowledged_and_silent_and_subscriptions_are_listed() -> None:
    async with running(Simulator(rate=100)) as client, client.socket(STREAM) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": ["foousdt@depth@100ms", "ethusdt@depth@100ms"], "id": "a"})
        assert json.loads(await socket.get_message()) == {"result": None, "id": "a"}
        assert (await data(socket))["s"] == "ETHUSDT"
        await send(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 2})
        reply = await until(socket, lambda m: m.get("id") == 2, read=json.loads)
        assert reply["result"] == ["foousdt@depth@100ms", "ethusdt@depth@100ms"]
        await send(socket, {"method": "UNSUBSCRIBE", "params": ["ethusdt@depth@100ms"], "id": 3})
        assert (await until(socket, lambda m: m.get("id") == 3, read=json.loads))["result"] is None
        await send(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 4})
        assert json.loads(await socket.get_message())["result"] == ["foousdt@depth@100ms"]


@pytest.mark.parametrize(
    ("message", "code"),
    [("{", 3), ("[]", 2), ('{"method":"SING","id":1}', 2), ('{"method":"SUBSCRIBE","params":"x","id":1}', 1)],
)
async def test_malformed_requests_get_the_documented_codes(message: str, code: int) -> None:
    async with running(Simulator()) as client, client.socket(STREAM) as socket:
        await socket.send_message(message)
        assert json.loads(await socket.get_message())["code"] == code


async def test_raw_streams_come_without_the_wrapper() -> None:
    async with running(Simulator(rate=100)) as client, client.socket("stream.binance.com/ws/btcusdt@depth") as socket:
        assert json.loads(await socket.get_message())["e"] == "depthUpdate"


async def test_more_than_five_messages_a_second_end_the_connection() -> None:
    async with running(Simulator()) as client, client.socket(STREAM) as socket:
        for number in range(6):
            await send(socket, {"method": "LIST_SUBSCRIPTIONS", "id": number})
        with pytest.raises(ConnectionClosed):
            await until(socket, lambda _: False)


async def test_the_weight_budget_slows_down_and_then_bans() -> None:
    async with running(Simulator(binance_weight=300)) as client:
        reply = await client.http(f"{DEPTH}?symbol=BTCUSDT&limit=5000")
        assert (reply.status, reply.headers["x-mbx-used-weight-1m"]) == (200, "250")
        statuses = []
        for _ in range(7):
            reply = await client.http(f"{DEPTH}?symbol=BTCUSDT&limit=5000")
            statuses.append(reply.status)
            assert int(reply.headers["retry-after"]) > 0
        assert statuses == [429] * 5 + [418] * 2


async def test_the_listing() -> None:
    async with running(Simulator()) as client:
        listing = await client.get("api.binance.com/api/v3/exchangeInfo")
        assert [row["symbol"] for row in listing["symbols"]][:2] == ["BTCUSDT", "ETHUSDT"]
        assert listing["symbols"][0]["filters"][0]["tickSize"] == "0.10000000"
        assert (await client.http(f"{DEPTH}?symbol=FOO")).json()["code"] == -1121
