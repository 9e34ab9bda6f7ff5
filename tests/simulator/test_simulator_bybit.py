"""The synthetic Bybit: every number follows, snapshots come unasked, and what is refused is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from consumer import Consumer, agrees, consume, recorded, reply, shapes_agree
from simulated import Json, running, send, texts, until

from level4.simulator import Channel, Fault, FaultKind, Simulator, bybit_topics

WS = "stream.bybit.com/v5/public/"
INFO = "api.bybit.com/v5/market/instruments-info?category="
SPOT, LINEAR, INVERSE, OPTION = "spot", "linear", "inverse", "option"


class BybitConsumer(Consumer):
    def __init__(self, symbol: str, depth: int = 200) -> None:
        super().__init__()
        self.symbol = symbol
        self.u = 0
        self.restarts = 0
        self.deep = depth > 1

    def take(self, message: Json) -> None:
        topic = message.get("topic", "")
        if topic.startswith("publicTrade."):
            assert message["type"] == "snapshot"
            for each in message["data"]:
                if each["s"] == self.symbol:
                    self.trade(each["S"].lower(), each["p"], each["v"])
        elif topic.startswith("orderbook."):
            self.level(message["type"], message["data"])

    def trade(self, side: str, price: str, size: str) -> None:
        if self.deep:
            super().trade(side, price, size)
        else:  # one level does not show where the second trade of a taker is
            self.trades.append((side, Decimal(price), Decimal(size)))

    def level(self, kind: str, data: Json) -> None:
        assert data["s"] == self.symbol
        u = int(data["u"])
        if kind == "delta":
            self.wrong += u != self.u + 1
            self.u = u
            self.update(data["b"], data["a"])
            return
        self.restarts += self.whole and u == 1
        self.wrong += self.whole and u not in (1, self.u + 1)
        before, first, self.u = self.book.best(), not self.whole, u
        self.snapshot(data["b"], data["a"])
        if not first:
            self.changed(before)


def topics(*args: str, op: str = "subscribe") -> Json:
    return {"req_id": "7", "op": op, "args": list(args)}


def native(simulator: Simulator, category: str, beginning: str) -> str:
    found = next(each for each in simulator._synthetic if each.exchange == f"BYBIT_{category.upper()}")
    return next(name for name in found.markets if name.startswith(beginning))


@pytest.mark.parametrize(
    ("category", "beginning", "depth"),
    [
        (SPOT, "BTCUSDT", 200),
        (LINEAR, "BTCUSDT", 50),
        (LINEAR, "BTCUSDT-", 1000),
        (INVERSE, "BTCUSD", 200),
        (INVERSE, "ETHUSD", 1),
        (OPTION, "BTC-", 100),
        (OPTION, "ETH-", 25),
    ],
)
async def test_books_trades_and_counts(
    category: str, beginning: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bybit_topics, "SNAPSHOT_EVERY", 40)
    monkeypatch.setattr(bybit_topics, "RESTART_EVERY", 130)
    simulator = Simulator(rate=900, trade_rate=90, levels=70, gather=0)
    symbol = native(simulator, category, beginning)
    trades = symbol.partition("-")[0] if category == OPTION else symbol
    async with running(simulator) as client, client.socket(WS + category) as socket:
        await send(socket, topics(f"orderbook.{depth}.{symbol}", f"publicTrade.{trades}"))
        consumer = BybitConsumer(symbol, depth)
        await consume(socket, consumer, 300)
        await agrees(simulator, socket, consumer, f"BYBIT_{category.upper()}", symbol, depth)
    assert consumer.restarts > 0
    assert consumer.snapshots > 5 or depth == 1


async def test_changes_are_gathered() -> None:
    simulator = Simulator(rate=900, levels=70, gather=0.5)
    async with running(simulator) as client, client.socket(WS + LINEAR) as socket:
        await send(socket, topics("orderbook.200.BTCUSDT"))
        levels: list[int] = []
        while len(levels) < 10:
            message = await until(socket, lambda m: m.get("type") == "delta")
            levels.append(len(message["data"]["b"]) + len(message["data"]["a"]))
        assert sum(levels) > 100


@pytest.mark.parametrize(
    ("category", "answer"),
    [
        (SPOT, {"success": True, "ret_msg": "pong", "op": "ping"}),
        (INVERSE, {"success": True, "ret_msg": "pong", "op": "ping", "req_id": "9"}),
        (OPTION, {"op": "pong"}),
    ],
)
async def test_pings(category: str, answer: Json) -> None:
    async with running(Simulator()) as client, client.socket(WS + category) as socket:
        await send(socket, {"op": "ping", "req_id": "9"})
        told = json.loads(await socket.get_message())
        assert {name: told.get(name) for name in answer} == answer
        assert ("req_id" in told) is (category == INVERSE)


@pytest.mark.parametrize(
    ("category", "args", "said"),
    [
        (LINEAR, ["orderbook.200.btcusdt"], "error:handler not found,topic:orderbook.200.btcusdt"),
        (LINEAR, ["orderbook.500.BTCUSDT"], "error:handler not found,topic:orderbook.500.BTCUSDT"),
        (INVERSE, ["publicTrade.BTCUSDT"], "error:handler not found,topic:publicTrade.BTCUSDT"),
        (SPOT, [f"publicTrade.X{number}" for number in range(11)], "args size >10"),
        (LINEAR, ["publicTrade.BTCUSDT", "x" * 21_000], "error:args length exceeds 21000"),
    ],
)
async def test_what_is_refused(category: str, args: list[str], said: str) -> None:
    async with running(Simulator()) as client, client.socket(WS + category) as socket:
        await send(socket, topics(*args))
        answer = json.loads(await socket.get_message())
        assert (answer["success"], answer["ret_msg"], answer["req_id"]) == (False, said, "7")
        await send(socket, {"op": "sing"})
        assert json.loads(await socket.get_message())["ret_msg"] == "error:invalid op"


async def test_a_second_subscription_is_refused_and_brings_no_snapshot() -> None:
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS + LINEAR) as socket:
        topic = "orderbook.50.ETHUSDT"
        await send(socket, topics(topic))
        assert (await until(socket, lambda m: m.get("type") == "snapshot"))["topic"] == topic
        await send(socket, topics(topic))
        assert "already subscribed" in json.loads(await socket.get_message())["ret_msg"]
        await send(socket, topics(topic, op="unsubscribe"))
        assert json.loads(await socket.get_message())["op"] == "unsubscribe"
        await send(socket, topics(topic))
        assert json.loads(await socket.get_message())["success"]
        assert json.loads(await socket.get_message())["type"] == "snapshot"


async def test_options_tell_good_and_bad_topics_apart() -> None:
    simulator = Simulator()
    good = [f"orderbook.100.{native(simulator, OPTION, 'BTC-')}", "publicTrade.BTC"]
    bad = ["orderbook.200.BTC-1JAN20-1-C-USDT", "publicTrade.BTC-1JAN20-1-C-USDT"]
    async with running(simulator) as client, client.socket(WS + OPTION) as socket:
        await send(socket, topics(*good, *bad))
        answer = json.loads(await socket.get_message())
        assert answer["type"] == "COMMAND_RESP"
        assert answer["data"] == {"failTopics": bad, "successTopics": good}
        assert "op" not in answer
        assert "req_id" not in answer


async def test_a_best_level_that_stays_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bybit_topics, "REPEAT_SECONDS", 0.1)
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS + SPOT) as socket:
        await send(socket, topics("orderbook.1.BTCUSDT"))
        await until(socket, lambda m: "topic" in m)
        first = await until(socket, lambda m: "topic" in m)
        again = await until(socket, lambda m: "topic" in m)
        assert first["data"]["u"] == again["data"]["u"]
        assert len(again["data"]["b"]) == 1


async def test_the_lists_have_pages() -> None:
    async with running(Simulator(markets=9)) as client:
        names, cursor = [], ""
        for _ in range(9):
            page = (await client.get(f"{INFO}linear&limit=5&cursor={cursor}"))["result"]
            names += [row["symbol"] for row in page["list"]]
            cursor = page["nextPageCursor"]
            if not cursor:
                break
        assert len(names) == len(set(names)) == 20
        assert {"BTCUSDT", "BTCPERP", "SIM3USDT"} <= set(names)
        spot = (await client.get(f"{INFO}spot"))["result"]["list"]
        assert spot[0]["lotSizeFilter"]["basePrecision"] == "0.00001"
        inverse = (await client.get(f"{INFO}inverse"))["result"]["list"]
        assert [row["settleCoin"] for row in inverse if row["contractType"] == "InverseFutures"] == ["BTC", "ETH"]
        coins = await client.get("api.bybit.com/v5/market/option-base-coins")
        assert [row["baseCoin"] for row in coins["result"]["list"]] == ["BTC", "ETH"]
        options = (await client.get(f"{INFO}option&baseCoin=ETH"))["result"]["list"]
        assert {row["optionsType"] for row in options} == {"Call", "Put"}
        assert all(row["symbol"].startswith("ETH-") for row in options)
        assert len((await client.get(f"{INFO}option"))["result"]["list"]) == 4
        assert (await client.get(f"{INFO}futures"))["retCode"] == 10001


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.REORDER, FaultKind.DUPLICATE])
async def test_a_fault_breaks_the_numbers(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, gather=0)
    async with running(simulator) as client, client.socket(WS + LINEAR) as socket:
        await send(socket, topics("orderbook.200.BTCUSDT"))
        consumer = BybitConsumer("BTCUSDT")
        await consume(socket, consumer, 10)
        simulator.inject(Fault(kind, exchange="BYBIT_LINEAR", market="BTCUSDT", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


@pytest.mark.parametrize(
    ("recording", "category", "topic", "kind"),
    [
        ("BYBIT.SPOT/v5-book200", SPOT, "orderbook.200.BTCUSDT", "snapshot"),
        ("BYBIT.PERP/v5-example", LINEAR, "orderbook.1.BTCUSDT", "snapshot"),
        ("BYBIT.SPOT/v5-book200", SPOT, "publicTrade.BTCUSDT", "snapshot"),
        ("BYBIT.OPTION/v5-option", OPTION, "publicTrade.BTC", "snapshot"),
        ("BYBIT.OPTION/v5-option", OPTION, "orderbook.25.", "snapshot"),
        ("BYBIT.OPTION/v5-option", OPTION, "orderbook.25.", "delta"),
    ],
)
async def test_frames_have_the_recorded_keys_and_types(
    recordings: Path, recording: str, category: str, topic: str, kind: str
) -> None:
    def wanted(message: Json) -> bool:
        matches = message.get("type") == kind and str(message.get("topic")).startswith(topic)
        return matches and not (isinstance(message["data"], dict) and message["data"]["a"] == [])

    simulator = Simulator(rate=500, trade_rate=100, gather=0)
    asked = topic + native(simulator, OPTION, "BTC-") if topic.endswith(".") else topic
    real = recorded(recordings, recording, wanted)
    async with running(simulator) as client, client.socket(WS + category) as socket:
        await send(socket, topics(asked))
        made = await reply(socket, lambda m: wanted(m) and not (kind == "delta" and m["data"]["b"] == []))
    if kind == "delta":
        made["data"]["b"] = []  # the recorded one has only asks
    newer = frozenset({"seq", "cts", "RPI", "mP", "iP", "mIv", "iv"})
    shapes_agree(made, real, newer)
