"""The synthetic Bitfinex: an independent client numbers its arrays, rebuilds its books and verifies every checksum."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from consumer import Consumer, agrees, consume, having, recorded, reply, shapes_agree
from simulated import Json, running, send, shape, texts
from trio_websocket import WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator, bitfinex
from level4.simulator.book import Book

WS = "api-pub.bitfinex.com/ws/2"
BOOK = {"event": "subscribe", "channel": "book", "symbol": "tBTCUSD", "prec": "P0", "freq": "F0", "len": "250"}
TRADES = {"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"}
ALL = {"event": "conf", "flags": 32768 + 65536 + 131072}


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitfinex, "CHECKSUM_SECONDS", 0.05)


class BitfinexConsumer(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.channels: dict[str, str] = {}
        self.last = 0
        self.checksums = self.doubled = 0
        self.ids: set[str] = set()

    def take(self, message: Json) -> None:
        if isinstance(message, dict):
            if message["event"] == "subscribed":
                self.channels[message["chanId"]] = message["channel"]
            return
        channel, *body, number, time = message
        assert int(number) == self.last + 1
        self.last = int(number)
        assert len(time) == 13
        match self.channels[channel], body:
            case _, ["hb"]:
                pass
            case "book", ["cs", total]:
                self.checksums += 1
                self.wrong += self.checksum() != int(total)
            case "book", [[[*_], *_] as rows]:
                sides = self.sorted_rows(rows)
                self.snapshot(*sides)
            case "book", [[price, count, amount]]:
                size = "0" if count == "0" else amount.lstrip("-")
                if count == "0":
                    assert amount in ("1", "-1")
                level = [(price, size)]
                self.update(*(([], level) if amount[0] == "-" else (level, [])))
            case "trades", [kind, [number, _, amount, price]]:
                if number in self.ids:
                    self.doubled += 1
                    assert kind == "tu"
                else:
                    self.ids.add(number)
                    assert kind == "te"
                    self.trade("sell" if amount[0] == "-" else "buy", price, amount.lstrip("-"))
            case "trades", [[[*_], *_] as rows]:
                self.history += len(rows)
            case unexpected:
                raise AssertionError(unexpected)

    def sorted_rows(self, rows: Json) -> tuple[list[Any], list[Any]]:
        bids = [(price, amount) for price, _, amount in rows if amount[0] != "-"]
        asks = [(price, amount[1:]) for price, _, amount in rows if amount[0] == "-"]
        return bids, asks

    def checksum(self) -> int:
        bids, asks = self.book.sides()
        parts: list[str] = []
        for i in range(25):
            parts += list(bids[i]) if i < len(bids) else []
            parts += [asks[i][0], f"-{asks[i][1]}"] if i < len(asks) else []
        total = crc32(":".join(parts).encode())
        return total - 2**32 if total >= 2**31 else total


async def begin(socket: WebSocketConnection, *requests: Json) -> None:
    for request in requests:
        await send(socket, request)


@pytest.mark.parametrize("symbol", ["tBTCUSD", "tBTCF0:USTF0", "tDOGE:USD"])
async def test_every_number_and_checksum_is_right_and_the_counts_agree(symbol: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await begin(socket, ALL, BOOK | {"symbol": symbol}, TRADES | {"symbol": symbol})
        consumer = BitfinexConsumer()
        await consume(socket, consumer, 500)
        await agrees(simulator, socket, consumer, "BITFINEX", symbol)
        assert consumer.history == 30
        while not consumer.checksums:
            consumer.take(texts(await socket.get_message()))
        assert consumer.wrong == 0


async def test_the_exchange_keeps_the_window() -> None:
    """Levels that leave the 25 best are deleted, those that come in are sent: nobody has to cut."""
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await begin(socket, ALL, BOOK | {"len": "25"}, TRADES)
        consumer = BitfinexConsumer()
        await consume(socket, consumer, 500)
        await agrees(simulator, socket, consumer, "BITFINEX", "tBTCUSD", 25)


async def test_every_trade_comes_twice() -> None:
    simulator = Simulator(rate=500, trade_rate=200)
    async with running(simulator) as client, client.socket(WS) as socket:
        await begin(socket, ALL, TRADES)
        consumer = BitfinexConsumer()
        while consumer.doubled < 30:
            consumer.take(texts(await socket.get_message()))
        simulator.pause()
        while consumer.doubled < len(consumer.trades):
            consumer.take(texts(await socket.get_message()))


async def test_arrays_have_only_what_the_flags_say() -> None:
    async with running(Simulator(rate=100)) as client, client.socket(WS) as socket:
        await begin(socket, BOOK)
        lengths = [len(await reply(socket, lambda m: isinstance(m, list))) for _ in range(3)]
        assert lengths == [2, 2, 2]
        await send(socket, {"event": "conf", "flags": 65536})
        assert (await reply(socket, lambda m: isinstance(m, dict) and m["event"] == "conf"))["flags"] == 65536
        assert len(await reply(socket, lambda m: isinstance(m, list))) == 3


async def test_numbers_are_spelled_as_javascript_spells_them() -> None:
    cases = {"12.50": "12.5", "100": "100", "0.0000010": "0.000001", "5.60E-7": "5.6e-7", "-3.0": "-3", "1E+3": "1000"}
    assert {text: bitfinex.javascript(Decimal(text)) for text in cases} == cases
    assert bitfinex.javascript(Decimal("1E-8")) == "1e-8"


async def test_the_checksum_of_the_official_library() -> None:
    book = Book()
    for price, size in ((6000, 1), (5900, 2)):
        book.bids.set(Decimal(price), Decimal(size))
    for price, size in ((6100, 3), (6200, 4)):
        book.asks.set(Decimal(price), Decimal(size))
    assert bitfinex.checksum(book) == 1756193398


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "tbtcusd"}, 10300),
        ({"symbol": "BTCUSD"}, 10300),
        ({"symbol": "tBTC:USD"}, 10300),
        ({"channel": "books"}, 10300),
        ({"len": "50"}, 10300),
        ({"prec": "P9"}, 10300),
        ({"event": "sing"}, 10000),
    ],
)
async def test_it_is_strict(change: Json, code: int) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, BOOK | change)
        error = await reply(socket, lambda m: m["event"] == "error")
        assert error["code"] == code
        await send(socket, {"event": "ping", "cid": 7})
        assert (await reply(socket, lambda m: m["event"] == "pong"))["cid"] == 7


async def test_doubles_limits_and_ends() -> None:
    async with running(Simulator(rate=0, trade_rate=0)) as client, client.socket(WS) as socket:
        natives = [f"tSIM{n}:USD" for n in range(1, 17)]
        await send(socket, TRADES)
        number = (await reply(socket, lambda m: "chanId" in m))["chanId"]
        await send(socket, TRADES)
        double = await reply(socket, lambda m: "code" in m)
        assert (double["code"], double["chanId"]) == (10301, number)
        await send(socket, {"event": "unsubscribe", "chanId": number})
        assert (await reply(socket, lambda m: "chanId" in m)) == {
            "event": "unsubscribed", "status": "OK", "chanId": number,
        }  # fmt: skip
        await send(socket, {"event": "unsubscribe", "chanId": number})
        assert (await reply(socket, lambda m: "code" in m))["code"] == 10400
        assert natives
    async with running(Simulator(rate=0, trade_rate=0, markets=30)) as client, client.socket(WS) as socket:
        for native in natives[:15]:
            for channel in ("book", "trades"):
                await send(socket, {"event": "subscribe", "channel": channel, "symbol": native})
        await send(socket, TRADES)
        assert (await reply(socket, lambda m: "code" in m))["code"] == 10305


async def test_a_lost_frame_leaves_a_hole_and_a_wrong_size_a_wrong_checksum() -> None:
    simulator = Simulator(rate=500, levels=30)
    async with running(simulator) as client, client.socket(WS) as socket:
        await begin(socket, ALL, BOOK)
        consumer = BitfinexConsumer()
        await consume(socket, consumer, 10)
        consumer.unharmed = False
        simulator.inject(Fault(FaultKind.CORRUPT, count=100, market="tBTCUSD", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))
        simulator.clear_faults()
        simulator.inject(Fault(FaultKind.DROP, market="tBTCUSD", channel=Channel.BOOK))
        with pytest.raises(AssertionError):
            await consume(socket, consumer, 10**6)


async def test_lists() -> None:
    labels = "pub:list:pair:exchange,pub:list:pair:futures,pub:map:currency:sym"
    async with running(Simulator(names=("BTC/USD", "AVAX/USD", "ETH/BTC"))) as client:
        spot, futures, codes = await client.get(f"api-pub.bitfinex.com/v2/conf/{labels}")
        assert spot == ["AAABBB", "BTCUSD", "AVAX:USD", "ETHBTC", "TESTBTC:TESTUSD"]
        assert futures == ["BTCF0:USTF0", "AVAXF0:USTF0", "TESTBTCF0:TESTUSDTF0"]
        assert ["UST", "USDt"] in codes
        assert (await client.http("api-pub.bitfinex.com/v2/nothing")).status == 404


def is_update(message: Json) -> bool:
    return (
        isinstance(message, list)
        and isinstance(message[1], list)
        and len(message[1]) == 3
        and isinstance(message[1][0], int | float)
    )


def is_list(width: int) -> Callable[[Json], bool]:
    """Rows of the book have three columns, trades four."""
    return lambda message: (
        isinstance(message, list)
        and isinstance(message[1], list)
        and isinstance(message[1][0], list)
        and len(message[1][0]) == width
    )


def is_trade(kind: str) -> Callable[[Json], bool]:
    return lambda message: isinstance(message, list) and message[1] == kind


def columns(value: Json) -> Json:
    """The shape of an array by its columns; rows by the first."""
    if isinstance(value, list) and isinstance(value[0], list):
        return [columns(value[0])]
    return [columns(item) for item in value] if isinstance(value, list) else shape(value)


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    old, few = "BITFINEX.SPOT/ws-11", "BITFINEX.SPOT/v2-messages"
    book = having(event="subscribed", channel="book")
    async with running(Simulator(rate=300, trade_rate=100)) as client, client.socket(WS) as socket:
        await begin(socket, {"event": "conf", "flags": 65536}, BOOK)
        for event in (having(event="info"), having(event="conf"), book):
            shapes_agree(await reply(socket, event), recorded(recordings, old, event))
        for array in (is_list(3), is_update):
            assert columns(await reply(socket, array)) == columns(recorded(recordings, old, array))
        await send(socket, ALL)
        await send(socket, TRADES)
        for array in (is_list(4), is_trade("te"), is_trade("tu")):
            assert columns(await reply(socket, array)) == columns(recorded(recordings, few, array))
