"""The synthetic bitFlyer: an independent client begins with a whole book, applies changes, checks the middle."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import trio
from consumer import Consumer, agrees, consume, having, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, texts

from level4.simulator import Channel, Fault, FaultKind, Simulator, bitflyer
from level4.simulator.synthetic import number

WS = "ws.lightstream.bitflyer.com/json-rpc"
REST = "api.bitflyer.com/v1"
CHANNELS = ("lightning_board_snapshot_", "lightning_board_", "lightning_executions_")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitflyer, "SNAPSHOT_SECONDS", 0.1)


def call(channel: str, number: object = 1, method: str = "subscribe") -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": {"channel": channel}, "id": number}


class BitflyerConsumer(Consumer):
    def __init__(self, tick: Decimal) -> None:
        super().__init__()
        self.tick = tick
        self.healed = 0
        """Whole books that were not the one that changes had led to."""

    def take(self, message: Json) -> None:
        if "params" not in message:
            return
        channel, content = message["params"]["channel"], message["params"]["message"]
        if channel.startswith(CHANNELS[2]):
            for each in content:
                self.trade(each["side"].lower(), each["price"], each["size"])
            return
        sides = [[(level["price"], level["size"]) for level in content[side]] for side in ("bids", "asks")]
        if channel.startswith(CHANNELS[0]):
            before = self.book.sides()
            self.snapshot(*sides)
            self.healed += self.snapshots > 1 and before != self.book.sides()
        else:
            self.update(*sides)
            if self.whole:
                self.wrong += Decimal(content["mid_price"]) != self.middle()

    def middle(self) -> Decimal:
        bid, ask = self.book.best()
        assert bid is not None
        assert ask is not None
        return (Decimal(bid[0]) + Decimal(ask[0])) / 2 // self.tick * self.tick


@pytest.mark.parametrize(("symbol", "tick"), [("BTC_JPY", "1"), ("FX_BTC_JPY", "1"), ("XRP_JPY", "0.001")])
async def test_every_middle_price_is_right_and_the_counts_agree(symbol: str, tick: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        for channel in CHANNELS:
            await send(socket, call(channel + symbol))
        consumer = BitflyerConsumer(Decimal(tick))
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "BITFLYER", symbol)
        assert consumer.snapshots > 2
        assert consumer.healed == 0


async def test_a_lost_frame_is_healed_by_the_next_whole_book() -> None:
    simulator = Simulator(rate=500, levels=60)  # a change that is lost far down is not soon made good by another
    async with running(simulator) as client, client.socket(WS) as socket:
        for channel in CHANNELS:
            await send(socket, call(f"{channel}BTC_JPY"))
        consumer = BitflyerConsumer(Decimal(1))
        await consume(socket, consumer, 10)
        consumer.unharmed = False
        simulator.inject(Fault(FaultKind.DROP, count=30, market="BTC_JPY", channel=Channel.BOOK))
        while not consumer.healed:
            consumer.take(texts(await socket.get_message()))


async def test_acks_and_errors() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, call("lightning_board_FOO_BAR", 7))
        assert await reply(socket, having(id=7)) == {"jsonrpc": "2.0", "id": 7, "result": True}
        with trio.move_on_after(0.2):
            raise AssertionError(await socket.get_message())
        await send(socket, call("lightning_boards_BTC_JPY", 8))
        assert (await reply(socket, having(id=8)))["error"] == {"code": -32602, "message": "invalid channel"}
        await socket.send_message("no json")
        assert (await reply(socket, having(id=None)))["error"]["code"] == -32700
        await send(socket, [call("lightning_board_BTC_JPY", 9), call("lightning_board_BTC_JPY", 10), call("x", None)])
        first, second, third = await reply(socket, lambda message: isinstance(message, list))
        assert first["result"] is True
        assert (second["error"]["code"], third["error"]["code"]) == (-32009, -32602)
        await send(socket, call("lightning_board_BTC_JPY", 11, "unsubscribe"))
        await reply(socket, having(id=11))
        with trio.move_on_after(0.2):
            raise AssertionError(await socket.get_message())
        await send(socket, call("lightning_executions_BTC_JPY", None))  # without a number there is no answer
        assert "id" not in await reply(socket, lambda message: True)


def test_whole_numbers_end_in_a_zero() -> None:
    cases = {"5860832": "5860832.0", "0.0100": "0.01", "1E+3": "1000.0", "0": "0.0", "0.00000001": "0.00000001"}
    assert {text: number(Decimal(text)) for text in cases} == cases


async def test_lists() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC", "BTC/EUR"))) as client:
        assert await client.get(f"{REST}/getmarkets") == [
            {"product_code": "BTC_JPY", "market_type": "Spot"},
            {"product_code": "FX_BTC_JPY", "market_type": "FX"},
            {"product_code": "ETH_BTC", "market_type": "Spot"},
        ]
        assert await client.get(f"{REST}/getmarkets/usa") == []
        assert await client.get(f"{REST}/getmarkets/eu") == [{"product_code": "BTC_EUR", "market_type": "Spot"}]
        assert len((await client.get(f"{REST}/getboard?product_code=ETH_BTC"))["bids"]) > 10
        assert (await client.http(f"{REST}/getboard?product_code=eth_btc")).status == 404


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        for channel in CHANNELS:
            await send(socket, call(f"{channel}FX_BTC_JPY"))
        for channel in CHANNELS:

            def wanted(message: Json, name: str = f"{channel}FX_BTC_JPY") -> bool:
                params = message.get("params", {})
                content = params.get("message")
                return params.get("channel") == name and (isinstance(content, list) or all(content.values()))

            shapes_agree(await reply(socket, wanted), recorded(recordings, "BITFLYER.MIXED/ws-1", wanted))
        made = await client.get(f"{REST}/getmarkets")
        shapes_agree(made, listing(recordings, "BITFLYER.MIXED", "/getmarkets"))
