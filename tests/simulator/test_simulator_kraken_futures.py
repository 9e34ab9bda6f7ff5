"""The synthetic Kraken derivatives, the old feed and its announced successor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from consumer import Consumer, agrees, consume, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, texts, until

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "futures.kraken.com/ws/v1"
UNIFIED = "uws.kraken.com/v2/public"
LIST = "futures.kraken.com/derivatives/api/v3/instruments"


class FuturesConsumer(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.seq = 0
        self.trade_seq: int | None = None

    def take(self, message: Json) -> None:
        match message:
            case {"event": _}:
                pass
            case {"feed": "book_snapshot"}:
                sides = [[(row["price"], row["qty"]) for row in message[side]] for side in ("bids", "asks")]
                self.seq = int(message["seq"])
                self.snapshot(*sides)
            case {"feed": "book", "side": side, "price": price, "qty": size}:
                self.wrong += int(message["seq"]) != self.seq + 1
                self.seq = int(message["seq"])
                level = [(price, size)]
                self.update(*((level, []) if side == "buy" else ([], level)))
            case {"feed": "trade_snapshot", "trades": trades}:
                self.history = len(trades)
                numbers = [int(each["seq"]) for each in trades]
                assert numbers == sorted(numbers, reverse=True)
                self.trade_seq = numbers[0]
            case {"feed": "trade"}:
                assert self.trade_seq == int(message["seq"]) - 1
                self.trade_seq = int(message["seq"])
                self.trade(message["side"], message["price"], message["qty"])


def request(feed: str, *products: str, event: str = "subscribe") -> Json:
    return {"event": event, "feed": feed, "product_ids": list(products)}


def native(simulator: Simulator, beginning: str, exchange: str = "KRAKEN_FUTURES") -> str:
    found = next(each for each in simulator._synthetic if each.exchange == exchange)
    return next(name for name in found.markets if name.startswith(beginning))


@pytest.mark.parametrize("beginning", ["PF_XBTUSD", "FF_ETHUSD_", "PI_XBTUSD", "FI_ETHUSD_"])
async def test_every_number_follows_and_the_counts_agree(beginning: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=30)
    product = native(simulator, beginning)
    async with running(simulator) as client, client.socket(WS) as socket:
        assert json.loads(await socket.get_message()) == {"event": "info", "version": 1}
        await send(socket, request("book", product.lower()))
        assert json.loads(await socket.get_message()) == request("book", product, event="subscribed")
        await send(socket, request("trade", product))
        consumer = FuturesConsumer()
        await consume(socket, consumer, 800)
        await agrees(simulator, socket, consumer, "KRAKEN_FUTURES", product)
        assert consumer.history >= 40


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (request("book", "PF_BTCUSD"), {"event": "error", "message": "Invalid product id"}),
        (request("tape", "PF_XBTUSD"), {"event": "error", "message": "Invalid feed"}),
        ({"event": "subscribe", "feed": "book"}, {"event": "error", "message": "Json Error"}),
        ({"event": "sing"}, {"event": "alert", "message": "Bad request"}),
        (request("book", "PF_XBTUSD", event="unsubscribe"), request("book", "PF_XBTUSD", event="unsubscribed_failed")),
    ],
)
async def test_what_is_refused(message: Json, answer: Json) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await socket.get_message()
        await send(socket, message)
        assert json.loads(await socket.get_message()) == answer


async def test_a_product_is_subscribed_once_and_left() -> None:
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        await socket.get_message()
        for expected in ("subscribed", "subscribed_failed"):
            await send(socket, request("book", "PI_XBTUSD", "PF_XBTUSD"))
            answers = [await until(socket, lambda m: "event" in m) for _ in range(2)]
            assert [each["event"] for each in answers] == [expected] * 2
            assert [each["product_ids"] for each in answers] == [["PI_XBTUSD"], ["PF_XBTUSD"]]
        await send(socket, request("book", "PI_XBTUSD", event="unsubscribe"))
        assert (await until(socket, lambda m: "event" in m))["event"] == "unsubscribed"
        simulator.resume()
        assert (await until(socket, lambda m: m.get("feed") == "book"))["product_id"] == "PF_XBTUSD"


async def test_heartbeats_come_to_who_asks() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, {"event": "subscribe", "feed": "heartbeat"})
        assert (await until(socket, lambda m: m.get("feed") == "heartbeat" and "time" in m)).keys() == {"feed", "time"}


async def test_the_list() -> None:
    async with running(Simulator()) as client:
        rows = {row["symbol"]: row for row in (await client.get(LIST))["instruments"]}
    assert rows["PF_XBTUSD"]["base"] == "BTC"
    assert rows["PF_XDGUSD"]["pair"] == "DOGE:USD"
    assert rows["PI_XBTUSD"]["contractValueTradePrecision"] == 0
    dated = [row for row in rows.values() if "lastTradingTime" in row]
    assert sorted(row["type"] for row in dated) == ["flexible_futures"] * 2 + ["futures_inverse"] * 2
    assert all(row["symbol"].endswith("_" + row["lastTradingTime"][2:10].replace("-", "")) for row in dated)


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.REORDER, FaultKind.DUPLICATE])
async def test_a_fault_breaks_the_numbers(kind: FaultKind) -> None:
    simulator = Simulator(rate=500)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("book", "PF_XBTUSD"))
        consumer = FuturesConsumer()
        await consume(socket, consumer, 10)
        simulator.inject(Fault(kind, exchange="KRAKEN_FUTURES", market="PF_XBTUSD", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


@pytest.mark.parametrize("feed", ["book_snapshot", "book", "trade_snapshot", "trade"])
async def test_frames_have_the_recorded_keys_and_types(recordings: Path, feed: str) -> None:
    real = recorded(recordings, "KRAKEN_FUTURES.MIXED/ws-1", lambda m: m.get("feed") == feed)
    simulator = Simulator(rate=300, trade_rate=100)
    async with running(simulator) as client, client.socket(WS) as socket:
        for each in ("book", "trade"):
            await send(socket, request(each, "PI_ETHUSD"))
        made = await reply(socket, lambda m: m.get("feed") == feed)
    shapes_agree(made, real)


async def test_listed_products_have_the_recorded_keys_and_types(recordings: Path) -> None:
    real = listing(recordings, "KRAKEN_FUTURES.MIXED", "instruments")["instruments"][0]
    async with running(Simulator()) as client:
        made = (await client.get(LIST))["instruments"][1]
    shared = made.keys() & real.keys()
    assert {"symbol", "type", "tradeable", "tickSize", "contractSize", "underlying"} <= shared
    shapes_agree({name: made[name] for name in shared}, {name: real[name] for name in shared})


class UnifiedConsumer(Consumer):
    """The rules of spot v2: cut to the depth, then compare the checksum."""

    def take(self, message: Json) -> None:
        if message.get("channel") == "trade" and message["type"] == "update":
            for each in message["data"]:
                self.trade(each["side"], each["price"], each["qty"])
        if message.get("channel") != "book":
            return
        (data,) = message["data"]
        sides = [[(row["price"], row["qty"]) for row in data[side]] for side in ("bids", "asks")]
        if message["type"] == "snapshot":
            self.snapshot(*sides)
        else:
            before = self.book.best()
            self.book.apply(*sides)
            self.book.trim(1000)
            self.changed(before)
        self.wrong += self.book.kraken_checksum() != int(data["checksum"])


def unified(channel: str, *symbols: str, **more: Any) -> Json:
    params = {"channel": channel, "symbol": list(symbols), "snapshot": channel == "book", **more}
    return {"method": "subscribe", "params": params}


@pytest.mark.parametrize("beginning", ["PF_XBTUSD", "FI_ETHUSD_"])
async def test_the_successor_has_right_checksums(beginning: str) -> None:
    simulator = Simulator(rate=500, trade_rate=90, levels=30)
    product = native(simulator, beginning, "KRAKEN_UNIFIED")
    async with running(simulator) as client, client.socket(UNIFIED) as socket:
        await send(socket, unified("book", product, asset_class="derivatives", depth=1000))
        await send(socket, unified("trade", product, asset_class="derivatives"))
        consumer = UnifiedConsumer()
        await consume(socket, consumer, 200)
        await agrees(simulator, socket, consumer, "KRAKEN_UNIFIED", product)


async def test_the_successor_wants_the_asset_class() -> None:
    async with running(Simulator()) as client, client.socket(UNIFIED) as socket:
        await send(socket, unified("book", "PF_XBTUSD", depth=1000))
        assert (await until(socket, lambda m: "success" in m))["error"] == "Asset class not supported"
        await send(socket, unified("book", "BTC/USD", asset_class="derivatives", depth=1000))
        assert "not supported" in (await until(socket, lambda m: "success" in m))["error"]
