"""The synthetic Kraken: an independent client rebuilds its books and finds every checksum right."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import trio
from simulated import Client, Json, PlainBook, running, send, shape, texts, until
from trio_websocket import WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "ws.kraken.com/v2"


def book_request(*symbols: str, depth: int = 1000, method: str = "subscribe", **more: Any) -> Json:
    return {"method": method, "params": {"channel": "book", "symbol": list(symbols), "depth": depth, **more}}


def trade_request(*symbols: str) -> Json:
    return {"method": "subscribe", "params": {"channel": "trade", "symbol": list(symbols), "snapshot": False}}


def rows(entries: list[Json]) -> list[tuple[str, str]]:
    return [(entry["price"], entry["qty"]) for entry in entries]


class Consumer:
    """One market, rebuilt from frames by the exchange's rules; every checksum is verified."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.book = PlainBook()
        self.frames = self.best_changes = self.best_price_changes = self.trades = self.wrong = 0
        self.last_trade: int | None = None

    def take(self, message: Json) -> None:
        if message.get("channel") == "trade" and message["type"] == "update":
            for trade in message["data"]:
                number = int(trade["trade_id"])
                assert self.last_trade in (None, number - 1)
                self.last_trade = number
                self.trades += 1
        if message.get("channel") != "book":
            return
        (data,) = message["data"]
        if message["type"] == "snapshot":
            self.book = PlainBook()
        before = self.book.best()
        self.book.apply(rows(data["bids"]), rows(data["asks"]))
        self.book.trim(self.depth)
        self.wrong += self.book.kraken_checksum() != int(data["checksum"])
        if message["type"] == "update":
            after = self.book.best()
            self.frames += 1
            self.best_changes += before != after
            self.best_price_changes += [t and t[0] for t in before] != [t and t[0] for t in after]


async def consume(socket: WebSocketConnection, consumer: Consumer, frames: int) -> None:
    while consumer.frames < frames:
        consumer.take(texts(await socket.get_message()))


async def drain(client: Client, socket: WebSocketConnection, consumer: Consumer, symbol: str) -> Json:
    """Pause, read everything that was generated, and return the counts the simulator expects."""
    await client.http("_level4/pause", "POST")
    stats = (await client.stats())["exchanges"]["KRAKEN"][symbol]
    while (consumer.frames, consumer.trades) != (stats["frames"], stats["trades"]):
        consumer.take(texts(await socket.get_message()))
    return stats


@pytest.mark.parametrize("depth", [10, 25, 1000])
async def test_every_checksum_is_right_and_the_counts_agree(depth: int) -> None:
    async with running(Simulator(rate=900, trade_rate=90, levels=40)) as client, client.socket(WS) as socket:
        await send(socket, book_request("ETH/USD", depth=depth))
        await send(socket, trade_request("ETH/USD"))
        consumer = Consumer(depth)
        await consume(socket, consumer, 600)
        stats = await drain(client, socket, consumer, "ETH/USD")
        assert consumer.wrong == 0
        assert consumer.trades > 0
        assert consumer.best_price_changes > 0
        for name in ("frames", "trades", "best_changes", "best_price_changes"):
            assert stats[name] == getattr(consumer, name), name
        whole = await client.get("_level4/book?exchange=KRAKEN&symbol=ETH/USD")
        whole = {side: whole[side][:depth] for side in ("bids", "asks")}
        assert consumer.book.equals(whole)
        assert tuple(stats["best_bid"]) == consumer.book.best()[0]


async def test_a_client_that_does_not_trim_goes_wrong() -> None:
    """Levels that fall out of the window get no delete: the window is really exercised."""
    async with running(Simulator(rate=900, levels=40)) as client, client.socket(WS) as socket:
        await send(socket, book_request("ETH/USD", depth=10))
        trimming, growing = Consumer(10), Consumer(10**6)
        while trimming.frames < 400:
            message = texts(await socket.get_message())
            trimming.take(message)
            growing.take(message)
        assert trimming.wrong == 0
        assert growing.wrong > 0


async def test_trades_print_at_the_touch_the_consumer_sees() -> None:
    async with running(Simulator(rate=900, trade_rate=300, levels=30)) as client, client.socket(WS) as socket:
        await send(socket, book_request("BTC/USD"))
        await send(socket, trade_request("BTC/USD"))
        consumer = Consumer(1000)
        sides: set[str] = set()
        while len(sides) < 2 or consumer.trades < 50:
            message = texts(await socket.get_message())
            consumer.take(message)
            if message.get("channel") == "trade" and consumer.book.bids:
                first = message["data"][0]
                bid, ask = consumer.book.best()
                touch = ask if first["side"] == "buy" else bid
                assert touch is not None
                assert Decimal(first["price"]) == Decimal(touch[0])
                assert Decimal(first["qty"]) <= Decimal(touch[1])
                sides.add(first["side"])


async def test_numbers_are_json_numbers_with_all_their_digits() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, book_request("BTC/USD"))
        raw = await until(socket, lambda m: '"snapshot","data"' in m, read=str)
        level = texts(raw)["data"][0]["bids"][0]
        assert len(level["price"].partition(".")[2]) == 1
        assert len(level["qty"].partition(".")[2]) == 8
        assert f'{{"price":{level["price"]},"qty":{level["qty"]}}}' in raw


async def test_shapes_are_those_of_the_exchange() -> None:
    level = {"price": "number", "qty": "number"}
    stamps = {"time_in": "str", "time_out": "str"}
    async with running(Simulator(rate=100, trade_rate=50)) as client, client.socket(WS) as socket:
        seen: dict[Any, Json] = {}
        await send(socket, {"method": "ping", "req_id": 7})
        await send(socket, book_request("BTC/USD") | {"req_id": 1})
        await send(socket, trade_request("BTC/USD"))
        await send(socket, book_request("XBT/USD") | {"req_id": 2})
        while len(seen) < 8:
            message = json.loads(await socket.get_message())
            data = message["data"][0] if message.get("channel") == "book" else {}
            if [] in (data.get("bids"), data.get("asks")):
                continue
            name = message.get("channel", message.get("method")), message.get("type", message.get("success"))
            seen.setdefault(name, shape(message))
    book = [{"symbol": "str", "bids": [level], "asks": [level], "checksum": "number", "timestamp": "str"}]
    for kind in ("snapshot", "update"):
        assert seen["book", kind] == {"channel": "str", "type": "str", "data": book}
    trade = {"symbol": "str", "side": "str", "price": "number", "qty": "number"}
    trade |= {"ord_type": "str", "trade_id": "number", "timestamp": "str"}
    assert seen["trade", "update"] == {"channel": "str", "type": "str", "data": [trade]}
    status = {"version": "str", "system": "str", "api_version": "str", "connection_id": "number"}
    assert seen["status", "update"] == {"channel": "str", "type": "str", "data": [status]}
    assert seen["heartbeat", None] == {"channel": "str"}
    assert seen["pong", None] == {"method": "str", "req_id": "number", **stamps}
    assert seen["subscribe", False] == {
        "error": "str", "method": "str", "success": "bool", "symbol": "str", "req_id": "number", **stamps,
    }  # fmt: skip
    result = {"channel": "str", "depth": "number", "snapshot": "bool", "symbol": "str"}
    acks = ({**result}, {k: v for k, v in result.items() if k != "depth"})
    assert seen["subscribe", True]["result"] in acks


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (book_request("XBT/USD"), "Currency pair not supported XBT/USD"),
        (book_request("BTC/USD", depth=50), "Subscription depth not supported"),
        (book_request("BTC/USD", channel="books"), "Channel not supported"),
        (book_request("BTC/USD", method="unsubscribe"), "Subscription Not Found"),
        ({"method": "subscribe", "params": {"channel": "book", "symbol": "BTC/USD"}}, "Symbol(s) must be an array"),
        ({"method": "subscribe"}, "Params must be an object"),
        ({"method": "sing"}, "Method not supported"),
        ([], "Malformed request"),
    ],
)
async def test_it_is_strict(request_: Json, error: str) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, request_)
        reply = await until(socket, lambda m: "success" in m, read=json.loads)
        assert reply["success"] is False
        assert error in reply["error"]


async def test_one_refused_symbol_does_not_stop_the_others_and_unsubscribing_ends_the_frames() -> None:
    async with running(Simulator(rate=200)) as client, client.socket(WS) as socket:
        await send(socket, book_request("BTC/USD", "FOO/USD", "ETH/USD"))
        replies = [await until(socket, lambda m: "success" in m) for _ in range(3)]
        assert [reply["success"] for reply in replies] == [True, False, True]
        await send(socket, book_request("BTC/USD"))
        assert (await until(socket, lambda m: "success" in m))["error"] == "Already subscribed"
        await send(socket, book_request("BTC/USD", method="unsubscribe"))
        ack = await until(socket, lambda m: "success" in m)
        assert ack["method"] == "unsubscribe"
        assert ack["success"]
        for _ in range(50):
            message = await until(socket, lambda m: m.get("channel") == "book")
            assert message["data"][0]["symbol"] == "ETH/USD"


async def test_the_listing_speaks_the_old_vocabulary() -> None:
    async with running(Simulator(markets=8)) as client:
        pairs = (await client.get("api.kraken.com/0/public/AssetPairs"))["result"]
        names = {key: (pair["altname"], pair.get("wsname")) for key, pair in pairs.items()}
        assert names == {
            "XXBTZUSD": ("XBTUSD", "XBT/USD"),
            "XETHZUSD": ("ETHUSD", "ETH/USD"),
            "SOLUSD": ("SOLUSD", "SOL/USD"),
            "XXRPZUSD": ("XRPUSD", "XRP/USD"),
            "ADAUSD": ("ADAUSD", "ADA/USD"),
            "XDGUSD": ("XDGUSD", "XDG/USD"),
            "SIM1USD": ("SIM1USD", "SIM1/USD"),
            "SIM2USD": ("SIM2USD", "SIM2/USD"),
            "XXBTZUSD.d": ("XBTUSD.d", None),
        }
        assert (pairs["XXBTZUSD"]["base"], pairs["XXBTZUSD"]["quote"]) == ("XXBT", "ZUSD")
        assert pairs["XXBTZUSD"]["tick_size"] == "0.1"
        depth = (await client.get("api.kraken.com/0/public/Depth?pair=XBTUSD&count=3"))["result"]["XXBTZUSD"]
        assert len(depth["asks"]) == len(depth["bids"]) == 3


async def test_the_same_seed_leads_to_the_same_market() -> None:
    async def frames(seed: int) -> list[Json]:
        async with running(Simulator(rate=500, seed=seed)) as client, client.socket(WS) as socket:
            await send(socket, book_request("SOL/USD"))
            found: list[Json] = []
            while len(found) < 50:
                message = await until(socket, lambda m: m.get("channel") == "book")
                found.append([message["data"][0][name] for name in ("bids", "asks", "checksum")])
            return found

    first = await frames(1)
    assert await frames(1) == first
    assert await frames(2) != first


async def test_pausing_stops_and_resuming_goes_on() -> None:
    async with running(Simulator(rate=500)) as client, client.socket(WS) as socket:
        await send(socket, book_request("BTC/USD"))
        consumer = Consumer(1000)
        await consume(socket, consumer, 20)
        paused = await drain(client, socket, consumer, "BTC/USD")
        with trio.move_on_after(0.2):
            await until(socket, lambda m: m.get("channel") == "book")
            raise AssertionError("a paused simulator sent a book frame")
        assert (await client.stats())["exchanges"]["KRAKEN"]["BTC/USD"]["frames"] == paused["frames"]
        await client.http("_level4/resume", "POST")
        await consume(socket, consumer, paused["frames"] + 20)
        assert consumer.wrong == 0


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.CORRUPT, FaultKind.REORDER])
async def test_a_fault_in_the_book_breaks_the_checksum(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, levels=15)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, book_request("BTC/USD"))
        consumer = Consumer(1000)
        await consume(socket, consumer, 10)
        simulator.inject(Fault(kind, count=5, market="BTC/USD", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))
        assert (await client.stats())["faults"][kind] >= 1
