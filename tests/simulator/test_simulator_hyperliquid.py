"""The synthetic Hyperliquid: an independent client keeps a book of whole books and touches; what ends a connection and
what is only told; frames of the shapes that were seen on the real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import trio
from consumer import Consumer, agrees, consume, having, reply
from simulated import Client, Json, PlainBook, running, send, shape, texts
from trio_websocket import ConnectionClosed, WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator, hyperliquid

WS = "api.hyperliquid.xyz/ws"
INFO = "api.hyperliquid.xyz/info"
FAST = {"type": "l2Book", "coin": "BTC", "fast": True}
ACK = having(channel="subscriptionResponse")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperliquid, "FAST_SECONDS", 0.1)
    monkeypatch.setattr(hyperliquid, "SLOW_SECONDS", 0.3)


def subscription(kind: str, coin: str = "BTC", method: str = "subscribe", **more: object) -> Json:
    return {"method": method, "subscription": {"type": kind, "coin": coin, **more}}


@asynccontextmanager
async def talking(simulator: Simulator) -> AsyncIterator[tuple[Client, WebSocketConnection]]:
    async with running(simulator) as client, client.socket(WS) as socket:
        yield client, socket


class HyperliquidConsumer(Consumer):
    """A whole book replaces all; a touch replaces what it has passed. Times never fall."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0

    def take(self, message: Json) -> None:
        data = message.get("data")
        if message["channel"] == "trades":
            for place, each in enumerate(data):
                side = "buy" if each["side"] == "B" else "sell"
                if not place and self.unharmed:  # what lies deeper may be older than the touch
                    level = self.book.best()[side == "buy"]
                    assert level is not None
                    assert Decimal(each["px"]) == Decimal(level[0])
                self.trades.append((side, Decimal(each["px"]), Decimal(each["sz"])))
        elif message["channel"] in ("l2Book", "bbo"):
            self.wrong += int(data["time"]) < self.time
            self.time = int(data["time"])
            before = self.book.best()
            if message["channel"] == "bbo":
                self.touch(data["bbo"])
            else:
                self.book = PlainBook()
                self.book.apply(*([(level["px"], level["sz"]) for level in side] for side in data["levels"]))
            if self.whole:
                self.changed(before)
            elif message["channel"] == "l2Book":
                self.whole = True

    def touch(self, touch: Json) -> None:
        for side, level, sign in ((self.book.bids, touch[0], 1), (self.book.asks, touch[1], -1)):
            for price in [price for price in side if sign * price >= sign * Decimal(level["px"])]:
                del side[price]
            side[Decimal(level["px"])] = (level["px"], level["sz"])


async def begin(socket: WebSocketConnection, *kinds: str, fast: bool = True) -> None:
    """Subscribe while nothing moves; trades first, whose history is thrown away."""
    for kind in kinds:
        await send(socket, subscription(kind, fast=fast) if kind == "l2Book" else subscription(kind))
        await reply(socket, ACK)
        if kind == "trades":
            assert len((await reply(socket, having(channel="trades")))["data"]) > 1


async def test_books_with_touches_on_top_and_the_counts_agree() -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    simulator.pause()
    async with talking(simulator) as (_, socket):
        consumer = HyperliquidConsumer()
        await begin(socket, "trades", "bbo", "l2Book")
        consumer.take(texts(await socket.get_message()))
        simulator.resume()
        await consume(socket, consumer, 400)
        simulator.pause()
        while not consumer.book.equals(top(simulator, 5)):  # the next whole book comes even when nothing moves
            consumer.take(texts(await socket.get_message()))
        await agrees(simulator, socket, consumer, "HYPERLIQUID", "BTC", 5)


def top(simulator: Simulator, depth: int, native: str = "BTC") -> Json:
    whole: Any = simulator.book("HYPERLIQUID", native)
    return {side: whole[side][:depth] for side in ("bids", "asks")}


async def test_slow_books_are_deeper() -> None:
    simulator = Simulator(rate=200, levels=40)
    async with talking(simulator) as (_, socket):
        consumer = HyperliquidConsumer()
        await begin(socket, "l2Book", fast=False)
        await consume(socket, consumer, 3)
        simulator.pause()
        while not consumer.book.equals(top(simulator, 20)):
            consumer.take(texts(await socket.get_message()))


async def test_a_push_bears_one_time_and_repeats_what_has_not_changed() -> None:
    simulator = Simulator(rate=500)
    simulator.pause()
    async with talking(simulator) as (_, socket):
        coins = {"BTC", "ETH", "xyz:BTC", "BTC/USDC"}
        for coin in coins:
            await send(socket, subscription("l2Book", coin, fast=True))
            await reply(socket, ACK)
        pushes: dict[int, set[str]] = {}
        while len(pushes) < 5:
            data = (await reply(socket, having(channel="l2Book")))["data"]
            pushes.setdefault(data["time"], set()).add(data["coin"])
        assert list(pushes.values())[1:-1] == [coins] * 3  # the first is that of the last subscription


@pytest.mark.parametrize(
    "wrong",
    [
        subscription("l2Book", "btc"),
        subscription("bbo", "NOPE"),
        subscription("trades", "XYZ:BTC"),
        subscription("l2Book", "BTC", nSigFigs=6),
    ],
)
async def test_what_is_not_listed_ends_the_connection_without_a_word(wrong: Json) -> None:
    async with talking(Simulator(rate=0, trade_rate=0)) as (_, socket):
        await send(socket, subscription("bbo"))
        await reply(socket, ACK)
        await send(socket, wrong)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.get_message()
        assert closed.value.reason is None or closed.value.reason.code == 1006


@pytest.mark.parametrize(
    "unread",
    [
        {"method": "subscribe", "subscription": {"type": "bbo", "coin": ["BTC", "ETH"]}},
        {"method": "subscribe"},
        {"method": "hello", "subscription": FAST},
        subscription("books"),
        subscription("l2Book", fast="yes"),
        [1],
        "no request",
    ],
)
async def test_what_cannot_be_read_is_told_and_nothing_else(unread: Json) -> None:
    async with talking(Simulator(rate=0, trade_rate=0)) as (_, socket):
        await send(socket, unread)
        said = "Error parsing JSON into valid websocket request: " + json.dumps(unread)
        assert await reply(socket, lambda m: True) == {"channel": "error", "data": said}
        await send(socket, {"method": "ping"})
        assert await reply(socket, lambda m: True) == {"channel": "pong"}


async def test_subscriptions_are_known_by_all_they_say() -> None:
    async with talking(Simulator(rate=0, trade_rate=0)) as (_, socket):
        await send(socket, {"method": "subscribe", "subscription": FAST})
        echo = FAST | {"nSigFigs": None, "mantissa": None}
        assert (await reply(socket, ACK))["data"] == {"method": "subscribe", "subscription": echo}
        await send(socket, {"method": "subscribe", "subscription": FAST})
        error = (await reply(socket, having(channel="error")))["data"]
        assert error.startswith("Already subscribed: ")
        assert json.loads(error.removeprefix("Already subscribed: ")) == echo
        await send(socket, subscription("l2Book", method="unsubscribe"))  # the slow one
        assert "Already unsubscribed" in (await reply(socket, having(channel="error")))["data"]
        await send(socket, subscription("l2Book", method="unsubscribe", fast=True))
        assert (await reply(socket, ACK))["data"]["method"] == "unsubscribe"
        with trio.move_on_after(0.25):
            raise AssertionError(await socket.get_message())


async def test_a_delisted_market_is_empty() -> None:
    async with talking(Simulator(rate=0, trade_rate=0)) as (_, socket):
        await send(socket, subscription("l2Book", "MATIC", fast=True))
        await reply(socket, ACK)
        assert (await reply(socket, lambda m: True))["data"]["levels"] == [[], []]


async def test_limits_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperliquid, "MAX_SUBSCRIPTIONS", 2)
    monkeypatch.setattr(hyperliquid, "MAX_MESSAGES_A_MINUTE", 10)
    async with running(Simulator(rate=0, trade_rate=0)) as client, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(client.socket(WS)) for _ in range(hyperliquid.MAX_CONNECTIONS)]
        for socket in sockets[:2]:
            await send(socket, subscription("bbo"))
            await reply(socket, ACK)
        await send(sockets[2], subscription("bbo"))
        assert "Cannot subscribe" in (await reply(sockets[2], lambda m: True))["data"]
        late = await stack.enter_async_context(client.socket(WS))
        with pytest.raises(ConnectionClosed):
            await late.get_message()
        with pytest.raises(ConnectionClosed):
            await say(sockets[0], 10)


async def say(socket: WebSocketConnection, times: int) -> None:
    for _ in range(times):
        await send(socket, {"method": "ping"})
        await reply(socket, having(channel="pong"))


async def test_who_is_told_nothing_for_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings are answered, which counts."""
    monkeypatch.setattr(hyperliquid, "IDLE_SECONDS", 0.5)
    async with (
        running(Simulator(rate=0, trade_rate=0)) as client,
        client.socket(WS) as quiet,
        client.socket(WS) as pinging,
    ):
        for _ in range(8):
            await say(pinging, 1)
            await trio.sleep(0.1)
        with pytest.raises(ConnectionClosed):
            await quiet.get_message()
        await say(pinging, 1)


async def test_rest_answers_questions() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/USD", "ETH/BTC"))) as client:

        async def ask(**question: object) -> Json:
            answer = await client.http(INFO, "POST", question)
            assert answer.status == 200, answer
            return answer.json()

        spot = await ask(type="spotMeta")
        names = {token["index"]: token["name"] for token in spot["tokens"]}
        assert names[0] == "USDC"
        pairs = {row["name"]: [names[index] for index in row["tokens"]] for row in spot["universe"]}
        assert pairs == {"BTC/USDC": ["BTC", "USDC"], "@1": ["ETH", "USDC"], "@2": ["ETH", "BTC"]}
        first, other = await ask(type="allPerpMetas")
        assert [(row["name"], row.get("isDelisted")) for row in first["universe"]] == [
            ("BTC", None), ("ETH", None), ("MATIC", True),
        ]  # fmt: skip
        assert [row["name"] for row in other["universe"]] == ["xyz:BTC"]
        assert await ask(type="meta") == first
        assert await ask(type="meta", dex="xyz") == other
        assert await ask(type="meta", dex="abc") is None
        assert [dex and dex["name"] for dex in await ask(type="perpDexs")] == [None, "xyz"]
        assert len((await ask(type="l2Book", coin="ETH"))["levels"][0]) == 20
        assert await ask(type="l2Book", coin="eth") is None
        assert (await client.http(INFO)).status == 405
        assert (await client.http(INFO, "POST", {"type": "what"})).status == 422
        assert (await client.http("api.hyperliquid.xyz/exchange", "POST", {})).status == 404


async def test_prices_have_five_digits_and_sizes_the_decimals_listed() -> None:
    async with running(Simulator(names=("BTC/USD", "XRP/USD", "DOGE/USD"))) as client:
        meta = (await client.http(INFO, "POST", {"type": "meta"})).json()
        for row in meta["universe"][:3]:
            book = (await client.http(INFO, "POST", {"type": "l2Book", "coin": row["name"]})).json()
            for level in [*book["levels"][0], *book["levels"][1]]:
                price, size = Decimal(level["px"]).normalize(), Decimal(level["sz"]).normalize()
                assert "." in level["px"]
                assert "." in level["sz"]
                assert len(price.as_tuple().digits) <= 5 or price == price.to_integral_value()
                assert -int(price.as_tuple().exponent) <= 6 - row["szDecimals"]
                assert -int(size.as_tuple().exponent) <= row["szDecimals"]


async def test_a_lost_frame_is_healed_by_the_next() -> None:
    simulator = Simulator(rate=300, levels=20)
    async with talking(simulator) as (_, socket):
        consumer = HyperliquidConsumer()
        consumer.unharmed = False
        await begin(socket, "bbo", "l2Book")
        await consume(socket, consumer, 20)
        simulator.inject(Fault(FaultKind.DROP, 30, market="BTC", channel=Channel.BOOK))
        while simulator.pending_faults():
            consumer.take(texts(await socket.get_message()))
        simulator.pause()
        while not consumer.book.equals(top(simulator, 5)):
            consumer.take(texts(await socket.get_message()))


SEEN: dict[str, Json] = {
    "l2Book": {
        "channel": "l2Book",
        "data": {
            "coin": "BTC",
            "time": 1790232236546,
            "levels": [[{"px": "84143.0", "sz": "10.25923", "n": 36}], [{"px": "84144.0", "sz": "50.66449", "n": 18}]],
        },
    },
    "bbo": {
        "channel": "bbo",
        "data": {
            "coin": "BTC",
            "time": 1790232237145,
            "bbo": [{"px": "84143.0", "sz": "10.25923", "n": 36}, {"px": "84144.0", "sz": "50.66422", "n": 18}],
        },
    },
    "trades": {
        "channel": "trades",
        "data": [
            {
                "coin": "BTC", "side": "A", "px": "84143.0", "sz": "0.00036", "time": 1790232216193,
                "hash": "0x7ab608dad75f7ce3", "tid": 1045359869404765, "users": ["0x9aa58935", "0x8269c0a4"],
            }
        ],
    },
    "subscriptionResponse": {
        "channel": "subscriptionResponse",
        "data": {
            "method": "subscribe",
            "subscription": {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None, "fast": True},
        },
    },
}  # fmt: skip
"""Frames of the real one, as a third party's probe of 2026-09-24 shows them; hashes and lists are cut."""


@pytest.mark.parametrize("channel", SEEN)
async def test_frames_have_the_keys_and_types_that_were_seen(channel: str) -> None:
    async with talking(Simulator(rate=300, trade_rate=60)) as (_, socket):
        for request in (subscription("l2Book", fast=True), subscription("bbo"), subscription("trades")):
            await send(socket, request)
        made = await reply(socket, having(channel=channel))
        assert shape(made) == shape(SEEN[channel])
        assert list(made["data"][0] if channel == "trades" else made["data"]) == list(
            SEEN[channel]["data"][0] if channel == "trades" else SEEN[channel]["data"]
        )


ODD: list[Any] = [None, True, -1, 10**30, "x", "é" * 50, [], {}, [[]], [None], {"a": [1]}]


async def test_it_survives_what_clients_say() -> None:
    said = ["", "{", "\x00", *map(json.dumps, ODD)]
    for kind in ("l2Book", "bbo", "trades"):
        request = subscription(kind)
        said += [json.dumps(request | {name: odd}) for name in request for odd in ODD]
        for name in ("type", "coin", "fast", "nSigFigs", "mantissa"):
            said += [json.dumps(request | {"subscription": request["subscription"] | {name: odd}}) for odd in ODD]
    async with running(Simulator(rate=20)) as client:
        for text in said:
            async with client.socket(WS) as socket:
                await socket.send_message(text)
                with trio.move_on_after(5) as patience:
                    try:
                        await socket.send_message('{"method":"ping"}')
                        await reply(socket, having(channel="pong"))
                    except ConnectionClosed:
                        pass
                assert not patience.cancelled_caught, text
        async with client.socket(WS) as socket:
            await send(socket, subscription("bbo"))
            await reply(socket, ACK)
