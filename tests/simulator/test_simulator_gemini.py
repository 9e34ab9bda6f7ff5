"""The synthetic Gemini, both protocols: an independent client takes the first message as the book, and checks how the
numbers overlap."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import trio
from consumer import Consumer, agrees, consume, having, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, shape

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "ws.gemini.com?snapshot=-1"
V2 = "api.gemini.com/v2/marketdata"
REST = "api.gemini.com/v1"


def streams(*names: str, number: int = 1, method: str = "subscribe") -> Json:
    return {"id": number, "method": method, "params": list(names)}


def l2(*symbols: str, kind: str = "subscribe") -> Json:
    return {"type": kind, "subscriptions": [{"name": "l2", "symbols": list(symbols)}]}


class GeminiConsumer(Consumer):
    last = 0

    def take(self, message: Json) -> None:
        if message.get("e") == "depthUpdate":
            if self.whole:
                self.wrong += int(message["U"]) != self.last
                assert int(message["u"]) > self.last
                self.update(message["b"], message["a"])
            else:
                assert message["U"] == message["u"]
                self.snapshot(message["b"], message["a"])
            self.last = int(message["u"])
        elif "t" in message:
            self.trade("sell" if message["m"] else "buy", message["p"], message["q"])


class V2Consumer(Consumer):
    def take(self, message: Json) -> None:
        if message["type"] == "trade":
            self.trade(message["side"], message["price"], message["quantity"])
        elif message["type"] == "l2_updates":
            bids, asks = (
                [(price, size) for kind, price, size in message["changes"] if kind == side] for side in ("buy", "sell")
            )
            if "trades" in message:
                self.history += len(message["trades"])
                assert message["trades"][0]["event_id"] > message["trades"][-1]["event_id"]
                self.snapshot(bids, asks)
            else:
                self.update(bids, asks)


async def test_updates_overlap_and_the_counts_agree() -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, streams("btcusd@depth@100ms", "btcusd@trade"))
        consumer = GeminiConsumer()
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "GEMINI", "btcusd")


async def test_v2_and_the_counts_agree() -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(V2) as socket:
        await send(socket, l2("BTCUSD"))
        consumer = V2Consumer()
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "GEMINI", "btcusd")
        assert consumer.history > 10


async def test_the_numbers_of_all_symbols_come_from_one_range() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, streams("btcusd@depth@100ms", "ethusd@depth@100ms"))
        seen: list[int] = []
        while len(seen) < 100:
            message = await reply(socket, having(e="depthUpdate"))
            if message["U"] != message["u"]:
                seen.append(message["u"])
        assert seen == sorted(set(seen))


async def test_the_book_comes_before_the_answer_and_again_after_subscribing_anew() -> None:
    async with running(Simulator(rate=0, trade_rate=0)) as client, client.socket(WS) as socket:
        for number in (1, 3):
            await send(socket, streams("BTCUSD@depth@100ms", number=number))
            book = await reply(socket, lambda message: True)
            assert (book["e"], book["s"], len(book["b"])) == ("depthUpdate", "btcusd", 200)
            assert await reply(socket, lambda message: True) == {"id": number, "status": 200}
            await send(socket, streams("btcusd@depth@100ms", number=2, method="UNSUBSCRIBE"))
            assert await reply(socket, lambda message: True) == {"id": 2, "status": 200}


@pytest.mark.parametrize(("query", "levels"), [("?snapshot=5", 5), ("?snapshot=0", None), ("", None)])
async def test_the_address_says_what_comes_first(query: str, levels: int | None) -> None:
    async with running(Simulator(rate=0, trade_rate=0)) as client, client.socket(f"ws.gemini.com{query}") as socket:
        await send(socket, streams("btcusd@depth@100ms"))
        first = await reply(socket, lambda message: True)
        assert (len(first["b"]) if "b" in first else None) == levels


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (streams("nosuch@depth@100ms", "btcusd@trade", number=4), -1013, "Invalid stream name: nosuch@depth@100ms"),
        (streams("btcusd@trades", number=4), -1013, "Invalid stream name: btcusd@trades"),
        (streams(number=4), -1013, "Invalid parameters"),
        (streams("btcusd@trade", number=4, method="sing"), -1020, "Unsupported method: sing"),
    ],
)
async def test_one_bad_name_refuses_the_whole_request(request_: Json, code: int, text: str) -> None:
    async with running(Simulator(rate=500, trade_rate=400)) as client, client.socket(WS) as socket:
        await send(socket, request_)
        error = await reply(socket, lambda message: True)
        assert error == {"id": 4, "status": 400, "error": {"code": code, "msg": text}}
        with trio.move_on_after(0.2):
            raise AssertionError(await socket.get_message())
        await send(socket, {"id": 5, "method": "ping"})
        assert await reply(socket, lambda message: True) == {"id": 5, "status": 200}


async def test_v2_is_strict() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(V2) as socket:
        await send(socket, l2("btcusd"))
        assert await reply(socket, lambda message: True) == {"reason": "NoValidTradingPairs", "result": "error"}
        await send(socket, l2("FOOUSD", "BTCUSD"))
        assert (await reply(socket, lambda message: True))["symbol"] == "BTCUSD"
        await send(socket, {"type": "sing"})
        assert (await reply(socket, having(result="error")))["reason"] == "InvalidJson"


async def test_a_lost_frame_leaves_a_hole() -> None:
    simulator = Simulator(rate=500, levels=15)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, streams("btcusd@depth@100ms"))
        consumer = GeminiConsumer()
        consumer.unharmed = False
        simulator.inject(Fault(FaultKind.DROP, market="btcusd", channel=Channel.BOOK, after=10))
        while not consumer.wrong:
            consumer.take(await reply(socket, lambda message: True))


async def test_rest() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC"))) as client:
        assert await client.get(f"{REST}/symbols") == ["btcusd", "ethbtc"]
        raw = await client.http(f"{REST}/symbols/details/ethbtc")
        assert b'"tick_size":1E-8' in raw.body  # numbers, and in exponent form
        assert Decimal(str(raw.json()["quote_increment"])) == Decimal("0.0000001")
        assert len((await client.get(f"{REST}/book/btcusd"))["bids"]) > 10
        assert (await client.http(f"{REST}/symbols/details/foo")).status == 404


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    def change(message: Json) -> bool:
        return bool(message.get("e") == "depthUpdate" and message["b"] and not message["a"])

    def trade(message: Json) -> bool:
        return "m" in message

    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        await send(socket, streams("btcusd@depth@100ms", "btcusd@trade"))
        for wanted in (change, trade):
            shapes_agree(await reply(socket, wanted), recorded(recordings, "GEMINI.SPOT/v3-messages", wanted))
        made = await client.get(f"{REST}/symbols/details/btcusd")
        real = listing(recordings, "GEMINI.SPOT", "/details/btcusd")
        assert shape(made) == shape(real) | {"product_type": "str"}
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(V2) as socket:
        await send(socket, l2("BTCUSD"))
        for fields in ({"trades", "auction_events"}, set()):

            def update(message: Json, fields: set[str] = fields) -> bool:
                return bool(message["type"] == "l2_updates" and {"trades", "auction_events"} & message.keys() == fields)

            shapes_agree(await reply(socket, update), recorded(recordings, "GEMINI.SPOT/ws-1", update))
        v2_trade = having(type="trade")
        shapes_agree(await reply(socket, v2_trade), recorded(recordings, "GEMINI.SPOT/ws-1", v2_trade))
