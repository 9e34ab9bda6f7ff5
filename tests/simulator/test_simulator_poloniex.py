"""The synthetic Poloniex: an independent client follows the chain of numbers through a window of twenty levels."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from consumer import Consumer, agrees, consume, having, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, shape, texts
from trio_websocket import ConnectionClosed

from level4.simulator import Channel, Fault, FaultKind, Simulator
from level4.simulator.poloniex import Poloniex

WS = "ws.poloniex.com/ws/public"
REST = "api.poloniex.com/markets"


def request(channel: str, *symbols: str, event: str = "subscribe") -> Json:
    return {"event": event, "channel": [channel], "symbols": list(symbols)}


class PoloniexConsumer(Consumer):
    last = 0
    jumps = 0
    spellings = 0

    def take(self, message: Json) -> None:
        for row in message.get("data", ()):
            if message["channel"] == "trades":
                assert Decimal(row["amount"]) == Decimal(row["price"]) * Decimal(row["quantity"])
                self.trade(row["takerSide"], row["price"], row["quantity"])
                continue
            if message["action"] == "snapshot":
                self.snapshot(row["bids"], row["asks"])
            else:
                self.wrong += int(row["lastId"]) != self.last
                self.jumps += int(row["id"]) > self.last + 1
                self.update(row["bids"], row["asks"])
            self.last = int(row["id"])
            assert not self.unharmed or len(self.book.bids) == len(self.book.asks) == 20
            self.spellings += any(size[-1] == "0" and "." in size for _, size in row["bids"])


async def test_every_update_names_the_one_before_and_the_counts_agree() -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("book_lv2", "BTC_USDT"))
        await send(socket, request("trades", "BTC_USDT"))
        consumer = PoloniexConsumer()
        await consume(socket, consumer, 400)
        await agrees(simulator, socket, consumer, "POLONIEX", "BTC_USDT", 20)
        assert consumer.jumps > 0
        assert consumer.spellings > 0


async def test_a_second_subscriber_gets_the_window_of_the_first() -> None:
    simulator = Simulator(rate=500, levels=40)
    async with running(simulator) as client, client.socket(WS) as first, client.socket(WS) as second:
        consumers = PoloniexConsumer(), PoloniexConsumer()
        await send(first, request("book_lv2", "BTC_USDT"))
        await consume(first, consumers[0], 50)
        await send(second, request("book_lv2", "BTC_USDT"))
        await consume(second, consumers[1], 50)
        await consume(first, consumers[0], 100)
        assert [consumer.wrong for consumer in consumers] == [0, 0]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (request("ordersss", "BTC_USDT"), 'Invalid channel value ["ordersss"]'),
        (request("book_lv2", "btc_usdt"), "no valid symbols"),
        (request("book_lv2", "all"), "All symbols subscription is not allowed"),
        (request("book_lv2", "BTC_USDT", event="sing"), "Invalid event value sing"),
    ],
)
async def test_it_is_strict(request_: Json, text: str) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, request_)
        assert await reply(socket, lambda message: True) == {"event": "error", "message": text}
        await socket.send_message("hello")
        assert "Not JSON" in (await reply(socket, lambda message: True))["message"]


async def test_acks_pings_and_ends() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, request("book_lv2", "BTC_USDT", "FOO_USDT", "ETH_USDT"))
        ack = await reply(socket, lambda message: True)
        assert ack == {"event": "subscribe", "channel": "book_lv2", "symbols": ["BTC_USDT", "ETH_USDT"]}
        await send(socket, request("book_lv2", "BTC_USDT", event="unsubscribe"))
        await reply(socket, having(event="unsubscribe"))
        for _ in range(30):
            assert (await reply(socket, having(channel="book_lv2")))["data"][0]["symbol"] == "ETH_USDT"
        for ping in ('{"event":"ping"}', "ping"):
            await socket.send_message(ping)
            await reply(socket, having(event="pong"))
        await send(socket, {"event": "unsubscribe_all"})
        await reply(socket, having(event="unsubscribe_all"))
        await send(socket, {"event": "ping"})
        assert await reply(socket, lambda message: True) == {"event": "pong"}


async def test_a_client_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Poloniex, "patience_seconds", 0.3)
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, request("book_lv2", "BTC_USDT"))
        with pytest.raises(ConnectionClosed):
            await reply(socket, lambda message: False)


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.DUPLICATE, FaultKind.REORDER])
async def test_faults_break_the_chain(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("book_lv2", "BTC_USDT"))
        consumer = PoloniexConsumer()
        await consume(socket, consumer, 10)
        consumer.unharmed = False
        simulator.inject(Fault(kind, market="BTC_USDT", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


async def test_rest() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC"))) as client:
        rows = await client.get(REST)
        assert [(row["symbol"], row["baseCurrencyName"], row["quoteCurrencyName"]) for row in rows] == [
            ("BTC_USDT", "BTC", "USDT"),
            ("ETH_BTC", "ETH", "BTC"),
        ]
        book = await client.get(f"{REST}/BTC_USDT/orderBook?limit=5")
        assert (len(book["asks"]), book["scale"]) == (10, "0.1")
        assert (await client.http(f"{REST}/btc_usdt")).status == 404


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    def full(message: Json) -> bool:
        return bool(message.get("action") == "snapshot")

    def change(message: Json) -> bool:
        return message.get("action") == "update" and bool(message["data"][0]["asks"]) and not message["data"][0]["bids"]

    def trade(message: Json) -> bool:
        return message.get("channel") == "trades" and "data" in message

    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        await send(socket, request("trades", "BTC_USDT"))
        await send(socket, request("book_lv2", "BTC_USDT"))
        for wanted in (having(event="subscribe"), full, change, trade):
            shapes_agree(await reply(socket, wanted), recorded(recordings, "POLONIEX.SPOT/ws-1", wanted))
        made = (await client.get(REST))[0]
        real = listing(recordings, "POLONIEX.SPOT", "/markets")[0]
        shapes_agree(made, real, frozenset({"maxQuantity", "maxAmount"}))
        assert shape(made["symbolTradeLimit"]["priceScale"]) == "number"
