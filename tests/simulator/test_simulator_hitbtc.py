"""The synthetic HitBTC: an independent client counts the numbers of every symbol."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
from consumer import Consumer, agrees, consume, having, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, shape, texts

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "api.hitbtc.com/api/3/ws/public"
LIST = "api.hitbtc.com/api/3/public/symbol"


def request(channel: str, *symbols: str, method: str = "subscribe", number: int = 1, **more: object) -> Json:
    return {"method": method, "ch": channel, "params": {"symbols": list(symbols), **more}, "id": number}


class HitbtcConsumer(Consumer):
    last = 0

    def take(self, message: Json) -> None:
        kind = "snapshot" if "snapshot" in message else "update"
        for content in message.get(kind, {}).values():
            if message["ch"] == "trades":
                self.history += len(content) if kind == "snapshot" else 0
                for each in content if kind == "update" else ():
                    self.trade(each["s"], each["p"], each["q"])
            elif kind == "snapshot":
                self.last = int(content["s"])
                self.snapshot(content["b"], content["a"])
            else:
                self.wrong += int(content["s"]) != self.last + 1
                self.last = int(content["s"])
                self.update(content["b"], content["a"])


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT_PERP"])
async def test_numbers_rise_by_one_and_the_counts_agree(symbol: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("orderbook/full", symbol))
        await send(socket, request("trades", symbol, limit=10))
        consumer = HitbtcConsumer()
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "HITBTC", symbol)
        assert consumer.history == 10


async def test_acks_name_what_is_subscribed_and_unknown_symbols_are_missing() -> None:
    async with running(Simulator(rate=0, trade_rate=0)) as client, client.socket(WS) as socket:
        await send(socket, request("orderbook/full", "BTCUSDT", "btcusdt", "FOOUSDT"))
        ack = await reply(socket, lambda message: True)
        assert ack == {"result": {"ch": "orderbook/full", "subscriptions": ["BTCUSDT"]}, "id": 1}
        assert "snapshot" in await reply(socket, lambda message: True)
        await send(socket, request("orderbook/full", "BTCUSDT", "ETHUSDT", number=2))
        ack = await reply(socket, lambda message: True)
        assert set(ack["result"]["subscriptions"]) == {"BTCUSDT", "ETHUSDT"}
        assert list((await reply(socket, lambda message: True))["snapshot"]) == ["ETHUSDT"]  # BTCUSDT had its own
        await send(socket, request("orderbook/full", "BTCUSDT", method="unsubscribe", number=3))
        assert (await reply(socket, having(id=3)))["result"]["subscriptions"] == ["ETHUSDT"]
        await send(socket, request("trades", "BTCUSDT", number=4))
        await reply(socket, having(id=4))
        with trio.move_on_after(0.1):  # without a limit there is no history
            raise AssertionError(await socket.get_message())


@pytest.mark.parametrize(
    ("change", "code"),
    [({"ch": "orderbook/D30/100ms"}, 2003), ({"method": "nope"}, 404), ({"params": {"symbols": "BTCUSDT"}}, 10001)],
)
async def test_it_is_strict(change: Json, code: int) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, request("orderbook/full", "BTCUSDT") | change)
        assert (await reply(socket, having(id=1)))["error"]["code"] == code
        await socket.send_message("no json")
        assert "id" not in await reply(socket, lambda message: True)


async def test_more_than_ten_messages_a_second_are_refused() -> None:
    async with running(Simulator(rate=0, trade_rate=0)) as client, client.socket(WS) as socket:
        for number in range(11):
            await send(socket, request("trades", "BTCUSDT", number=number))
        answers = [await reply(socket, lambda message: True) for _ in range(11)]
        assert [answer.get("error", {}).get("code") for answer in answers] == [None] * 10 + [429]


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER])
async def test_faults_show_in_the_numbers(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, levels=15)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("orderbook/full", "BTCUSDT"))
        consumer = HitbtcConsumer()
        await consume(socket, consumer, 10)
        consumer.unharmed = False
        simulator.inject(Fault(kind, market="BTCUSDT", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


async def test_rest() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC"))) as client:
        rows = await client.get(LIST)
        assert {name: (row["type"], row["base_currency"], row.get("underlying")) for name, row in rows.items()} == {
            "BTCUSDT_PERP": ("futures", None, "BTC"),
            "BTCUSDT": ("spot", "BTC", None),
            "ETHBTC": ("spot", "ETH", None),
        }
        book = await client.get("api.hitbtc.com/api/3/public/orderbook/BTCUSDT?depth=0")
        assert len(book["ask"]) == 200
        assert (await client.http("api.hitbtc.com/api/3/public/orderbook/btcusdt")).status == 404


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    def of(kind: str, message: Json) -> Json:
        """The content of a frame of the book."""
        found = message.get(kind, {}) if message.get("ch") == "orderbook/full" else {}
        return next((each for each in found.values() if each["a"] and each["b"]), None)

    name = "FMFW.SPOT/ws-1"  # the same software
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        await send(socket, request("trades", "BTCUSDT"))
        await send(socket, request("orderbook/full", "BTCUSDT"))
        shapes_agree(
            await reply(socket, lambda message: "result" in message),
            recorded(recordings, name, lambda message: "result" in message),
        )
        for kind in ("snapshot", "update"):
            made = await reply(socket, partial(of, kind))
            real = recorded(recordings, name, partial(of, kind))
            assert made.keys() == real.keys()
            assert shape(of(kind, made)) == shape(of(kind, real))

        def trade(message: Json) -> bool:
            return message.get("ch") == "trades" and "update" in message

        made, real = await reply(socket, trade), recorded(recordings, name, trade)
        assert made.keys() == real.keys()
        assert shape(list(made["update"].values())) == shape(list(real["update"].values()))
        made = (await client.get(LIST))["BTCUSDT"]
        real = listing(recordings, "FMFW.SPOT", "/symbol")["NEOBTC"]
        assert shape({key: made[key] for key in real}) == shape(real)
