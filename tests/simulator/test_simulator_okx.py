"""The synthetic OKX: every change names the one before, the last trade comes again, contracts of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from consumer import Consumer, agrees, consume, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, texts, until
from trio_websocket import WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator

WS = "ws.okx.com:8443/ws/v5/public"
LIST = "www.okx.com/api/v5/public/instruments?instType="
BOOKS = "www.okx.com/api/v5/market/books"


class OkxConsumer(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.seq_id: str | None = None
        self.first: str | None = None

    def take(self, message: Json) -> None:
        match message:
            case {"arg": {"channel": "trades"}, "data": [trade]}:
                if self.first is None:
                    self.first = trade["tradeId"]  # the last one before the subscription
                else:
                    self.trade(trade["side"], trade["px"], trade["sz"])
            case {"arg": {"channel": "books"}, "action": action, "data": [book]}:
                sides = [[(row[0], row[1]) for row in book[side]] for side in ("bids", "asks")]
                assert int(book["checksum"]) == 0
                if action == "snapshot":
                    assert int(book["prevSeqId"]) == -1
                    self.snapshot(*sides)
                else:
                    self.wrong += book["prevSeqId"] != self.seq_id
                    self.update(*sides)
                self.seq_id = book["seqId"]


def request(*names: str, op: str = "subscribe", channels: tuple[str, ...] = ("books",)) -> Json:
    return {"op": op, "args": [{"channel": channel, "instId": name} for name in names for channel in channels]}


def native(simulator: Simulator, beginning: str, ending: str) -> str:
    found = next(each for each in simulator._synthetic if each.exchange == "OKX")
    return next(name for name in found.markets if name.startswith(beginning) and name.endswith(ending))


async def message(socket: WebSocketConnection) -> Json:
    return json.loads(await socket.get_message())


@pytest.mark.parametrize(
    ("beginning", "ending"),
    [("BTC-USDT", ""), ("ETH-USDT-SWAP", ""), ("BTC-USDT-2", ""), ("BTC-USD-SWAP", ""), ("ETH-USD-2", ""),
     ("BTC-USD-2", "-C")],
)  # fmt: skip
async def test_the_chain_holds_and_the_counts_agree(beginning: str, ending: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40, gather=0)
    name = native(simulator, beginning, ending)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request(name, channels=("books", "trades")))
        consumer = OkxConsumer()
        await consume(socket, consumer, 300)
        await agrees(simulator, socket, consumer, "OKX", name)
        told: Any = simulator.trades("OKX", name)
        before = len(told) - len(consumer.trades) - 1
        assert told[before]["id"] == consumer.first


async def test_the_window_is_four_hundred_levels_and_the_rest_book_is_the_streams() -> None:
    simulator = Simulator(rate=900, levels=500, gather=0.05)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("BTC-USDT"))
        consumer = OkxConsumer()
        await consume(socket, consumer, 20)
        assert len(consumer.book.bids) == 400
        simulator.pause()
        whole = (await client.get(f"{BOOKS}?instId=BTC-USDT&sz=400"))["data"][0]
        while consumer.seq_id != str(whole["seqId"]):
            consumer.take(texts(await socket.get_message()))
        assert consumer.wrong == 0
        assert consumer.book.equals({side: [row[:2] for row in whole[side]] for side in ("bids", "asks")})


async def test_answers_and_refusals_are_for_each_topic() -> None:
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, {"id": "5"} | request("btc-usdt", "BTC-USDT"))
        wrong, right = await message(socket), await message(socket)
        assert (wrong["event"], wrong["code"]) == ("error", "60018")
        assert "instId:btc-usdt doesn't exist" in wrong["msg"]
        assert (right["event"], right["arg"]["instId"], right["id"]) == ("subscribe", "BTC-USDT", "5")
        assert (await message(socket))["action"] == "snapshot"
        await send(socket, request("BTC-USDT", channels=("trades-all",)))
        assert (await message(socket))["code"] == "60018"
        await send(socket, {"op": "sing"})
        assert (await message(socket))["code"] == "60012"
        await send(socket, request("BTC-USDT", op="unsubscribe"))
        assert (await message(socket))["event"] == "unsubscribe"
        await send(socket, request("BTC-USDT"))
        assert [(await message(socket)).get("action") for _ in range(2)] == [None, "snapshot"]


async def test_pings_are_raw_text() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await socket.send_message("ping")
        assert await socket.get_message() == "pong"


async def test_more_operations_than_allowed_are_refused() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        for _ in range(481):
            await send(socket, request("FOO"))
        codes = [(await message(socket))["code"] for _ in range(481)]
        assert codes == ["60018"] * 480 + ["60014"]


async def test_the_lists() -> None:
    async with running(Simulator()) as client:
        swaps = {row["instId"]: row for row in (await client.get(f"{LIST}SWAP"))["data"]}
        assert (swaps["BTC-USDT-SWAP"]["ctType"], swaps["BTC-USDT-SWAP"]["ctVal"]) == ("linear", "0.01")
        assert (swaps["BTC-USD-SWAP"]["ctType"], swaps["BTC-USD-SWAP"]["ctVal"]) == ("inverse", "100")
        assert swaps["BTC-USD-SWAP"]["settleCcy"] == "BTC"
        assert len((await client.get(f"{LIST}FUTURES"))["data"]) == 4
        assert len((await client.get(f"{LIST}SPOT"))["data"]) == 6
        options = (await client.get(f"{LIST}OPTION&uly=ETH-USD"))["data"]
        assert {row["optType"] for row in options} == {"C", "P"}
        assert (await client.get(f"{LIST}OPTION"))["code"] == "50015"
        assert (await client.get(f"{LIST}SWAPS"))["code"] == "51000"
        assert (await client.get(f"{BOOKS}?instId=FOO&sz=5"))["code"] == "51001"


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.REORDER, FaultKind.DUPLICATE])
async def test_a_fault_breaks_the_chain(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, gather=0)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("BTC-USDT-SWAP"))
        consumer = OkxConsumer()
        await consume(socket, consumer, 10)
        simulator.inject(Fault(kind, exchange="OKX", market="BTC-USDT-SWAP", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


@pytest.mark.parametrize(
    ("recording", "channel", "action"),
    [("OKX.MIXED/ws-1", "books", "snapshot"), ("OKX.MIXED/ws-1", "books", "update"),
     ("OKX.MIXED/trades-2025", "trades", None)],
)  # fmt: skip
async def test_frames_have_the_recorded_keys_and_types(
    recordings: Path, recording: str, channel: str, action: str | None
) -> None:
    def wanted(told: Json) -> bool:
        if told.get("arg", {}).get("channel") != channel or told.get("action") != action or "data" not in told:
            return False
        return channel == "trades" or [] not in (told["data"][0]["bids"], told["data"][0]["asks"])

    real = recorded(recordings, recording, wanted)
    async with running(Simulator(rate=500, trade_rate=100, gather=0)) as client, client.socket(WS) as socket:
        await send(socket, request("BTC-USDT", channels=("books", "trades")))
        made = await reply(socket, wanted)
    shapes_agree(made, real, frozenset({"prevSeqId", "seqId", "source"}))


async def test_acks_and_lists_have_the_recorded_keys_and_types(recordings: Path) -> None:
    real = recorded(recordings, "OKX.MIXED/ws-1", lambda m: m.get("event") == "subscribe")
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, request("BTC-USDT"))
        made = await reply(socket, lambda m: m.get("event") == "subscribe")
        shapes_agree(made, real, frozenset({"connId"}))
        for kind in ("SPOT", "SWAP"):
            rows = (await client.get(LIST + kind))["data"]
            old = listing(recordings, "OKX.MIXED", f"instType={kind}")["data"][0]
            shared = rows[0].keys() & old.keys()
            assert rows[0].keys() - shared == {"instFamily"}
            shapes_agree({name: rows[0][name] for name in shared}, {name: old[name] for name in shared})


async def test_a_quiet_client_of_a_quiet_market_still_has_its_pong() -> None:
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, request("ETH-USDT"))
        await until(socket, lambda m: m.get("action") == "snapshot")
        await socket.send_message("ping")
        assert await socket.get_message() == "pong"
