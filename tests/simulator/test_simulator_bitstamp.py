"""The synthetic Bitstamp: an independent client keeps both kinds of book, the one from REST and differences, the other
from whole tops."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from consumer import Consumer, agrees, consume, recorded, reply, shapes_agree
from simulated import Client, Json, running, send, shape
from trio_websocket import ConnectionClosed, WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "ws.bitstamp.net"
REST = "www.bitstamp.net/api/v2"


def subscription(channel: str, event: str = "bts:subscribe") -> Json:
    return {"event": event, "data": {"channel": channel}}


class BitstampConsumer(Consumer):
    """Differences joined with REST."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.times = 0

    def rest(self, body: Json) -> None:
        self.seen = int(body["microtimestamp"])
        self.snapshot(*([tuple(level) for level in body[side]] for side in ("bids", "asks")))

    def take(self, message: Json) -> None:
        data = message["data"]
        if message["event"] == "trade":
            assert (data["type"] == "0") is (int(data["buy_order_id"]) > int(data["sell_order_id"]))
            self.trade("sell" if data["type"] == "1" else "buy", data["price_str"], data["amount_str"])
        elif message["event"] == "data":
            now = int(data["microtimestamp"])
            self.wrong += now <= self.times
            self.times = now
            if now > self.seen:
                self.levels(data["bids"], data["asks"])

    def levels(self, bids: Json, asks: Json) -> None:
        self.update(bids, asks)


class TopConsumer(BitstampConsumer):
    def levels(self, bids: Json, asks: Json) -> None:
        assert len(bids) == len(asks) == 100
        before = self.book.best()
        if self.whole:
            self.book = type(self.book)()
            self.book.apply(bids, asks)
            self.changed(before)
        else:
            self.snapshot(bids, asks)


async def begin(client: Client, socket: WebSocketConnection, channel: str, consumer: BitstampConsumer) -> None:
    """Subscribe before anything moves, and take the book by REST."""
    for name in (channel, "live_trades"):
        await send(socket, subscription(f"{name}_btcusd"))
        await reply(socket, lambda m: m["event"] == "bts:subscription_succeeded")
    consumer.rest(await client.get(f"{REST}/order_book/btcusd/?group=1"))


async def test_differences_join_rest_and_the_counts_agree() -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        consumer = BitstampConsumer()
        await begin(client, socket, "diff_order_book", consumer)
        simulator.resume()
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "BITSTAMP", "btcusd")


async def test_tops_are_whole_and_the_counts_agree() -> None:
    simulator = Simulator(rate=200, trade_rate=50, levels=120)
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        consumer = TopConsumer()
        await begin(client, socket, "order_book", consumer)
        simulator.resume()
        await consume(socket, consumer, 100)
        await agrees(simulator, socket, consumer, "BITSTAMP", "btcusd", 100)


async def test_a_book_taken_in_the_midst_of_things_comes_right() -> None:
    simulator = Simulator(rate=900, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        consumer = BitstampConsumer()
        await begin(client, socket, "diff_order_book", consumer)
        await consume(socket, consumer, 100)
        simulator.pause()
        with trio.move_on_after(0.3):
            while True:
                consumer.take(await reply(socket, lambda m: m["event"] == "data"))
        whole = simulator.book("BITSTAMP", "btcusd")
        assert consumer.book.equals(whole)


@pytest.mark.parametrize("channel", ["order_book_BTCUSD", "order_book_btc/usd", "books_btcusd", ""])
async def test_names_of_another_form_are_refused(channel: str) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, subscription(channel))
        error = await reply(socket, lambda m: m["event"] == "bts:error")
        assert error["data"] == {"code": None, "message": "Invalid channel provided."}


async def test_an_unknown_market_is_acknowledged_and_silent() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, subscription("order_book_foousd"))
        assert (await reply(socket, lambda m: True))["event"] == "bts:subscription_succeeded"
        with trio.move_on_after(0.2):
            raise AssertionError(await socket.get_message())


async def test_other_messages() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, {"event": "bts:heartbeat"})
        assert (await reply(socket, lambda m: True))["data"] == {"status": "success"}
        await socket.send_message("no json")
        assert (await reply(socket, lambda m: True))["data"]["message"] == "Incorrect JSON format."
        await send(socket, subscription("order_book_btcusd"))
        await send(socket, subscription("order_book_btcusd", "bts:unsubscribe"))
        await reply(socket, lambda m: m["event"] == "bts:unsubscription_succeeded")
        with trio.move_on_after(0.2):
            raise AssertionError(await socket.get_message())
        await send(socket, subscription("x" * 600))
        with pytest.raises(ConnectionClosed):
            await socket.get_message()


async def test_a_swapped_frame_shows_in_the_times() -> None:
    simulator = Simulator(rate=500, levels=15)
    async with running(simulator) as client, client.socket(WS) as socket:
        consumer = BitstampConsumer()
        await begin(client, socket, "diff_order_book", consumer)
        consumer.unharmed = False
        simulator.inject(Fault(FaultKind.REORDER, market="btcusd", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(await reply(socket, lambda m: m["event"] == "data"))


async def test_rest() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC"))) as client:
        rows = await client.get(f"{REST}/markets/")
        assert [(row["market_symbol"], row["name"], row["market_type"]) for row in rows] == [
            ("btcusd", "BTC/USD", "SPOT"),
            ("ethbtc", "ETH/BTC", "SPOT"),
        ]
        assert (rows[0]["counter_decimals"], rows[0]["base_decimals"]) == (1, 8)
        assert (await client.http(f"{REST}/order_book/BTCUSD/")).status == 404


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    name = "BITSTAMP.SPOT/ws-1"
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        await send(socket, subscription("diff_order_book_btcusd"))
        await send(socket, subscription("live_trades_btcusd"))
        for wanted in (
            lambda m: m.get("event") == "bts:subscription_succeeded",
            lambda m: m.get("event") == "data" and m["data"]["bids"] and m["data"]["asks"],
            lambda m: m.get("event") == "trade",
        ):
            shapes_agree(await reply(socket, wanted), recorded(recordings, name, wanted))
        made = await client.get(f"{REST}/order_book/btcusd/?group=1")
        assert shape(made) == shape(recorded(recordings, name, lambda m: "event" not in m))
