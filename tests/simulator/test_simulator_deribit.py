"""The synthetic Deribit: every change names the one before, in whatever kind of instrument."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from consumer import Consumer, agrees, consume, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, texts, until
from trio_websocket import ConnectionClosed

from level4.simulator import Channel, Fault, FaultKind, Simulator
from level4.simulator.listing import next_quarter

WS = "www.deribit.com/ws/api/v2"
LIST = "www.deribit.com/api/v2/public/get_instruments"
EXPIRY = next_quarter(datetime.now(UTC).date())
DAY = f"{EXPIRY.day}{EXPIRY:%b%y}".upper()


class DeribitConsumer(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.change_id: str | None = None
        self.trade_seq: int | None = None
        self.actions: Counter[str] = Counter()

    def take(self, message: Json) -> None:
        if message.get("method") != "subscription":
            return
        data = message["params"]["data"]
        if message["params"]["channel"].startswith("trades."):
            for each in data:
                assert self.trade_seq in (None, int(each["trade_seq"]) - 1)
                self.trade_seq = int(each["trade_seq"])
                self.trade(each["direction"], each["price"], each["amount"])
            return
        sides = [[(price, size) for _, price, size in data[side]] for side in ("bids", "asks")]
        if data["type"] == "snapshot":
            assert "prev_change_id" not in data
            self.snapshot(*sides)
        else:
            self.wrong += data["prev_change_id"] != self.change_id
            self.check_actions(data)
            self.update(*sides)
        self.change_id = data["change_id"]

    def check_actions(self, data: Json) -> None:
        for side, known in (("bids", self.book.bids), ("asks", self.book.asks)):
            for action, price, size in data[side]:
                self.actions[action] += 1
                assert self.wrong or (Decimal(price) in known) is (action != "new")
                assert (Decimal(size) == 0) is (action == "delete")


def call(number: int, method: str, *channels: str, **more: Any) -> Json:
    params = {"channels": list(channels)} if channels else more
    return {"jsonrpc": "2.0", "id": number, "method": f"public/{method}", "params": params}


def native(simulator: Simulator, beginning: str, ending: str) -> str:
    found = next(each for each in simulator._synthetic if each.exchange == "DERIBIT")
    return next(name for name in found.markets if name.startswith(beginning) and name.endswith(ending))


@pytest.mark.parametrize(
    ("beginning", "ending"),
    [
        ("BTC-PERPETUAL", ""),
        (f"ETH-{DAY}", ""),
        (f"BTC-{DAY}-", "-C"),
        ("BTC_USDC", ""),
        ("BTC_USDC-PERPETUAL", ""),
        (f"BTC_USDC-{DAY}", ""),
        (f"XRP_USDC-{DAY}-", "-P"),
    ],
)
async def test_the_chain_holds_and_the_counts_agree(beginning: str, ending: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40, gather=0)
    name = native(simulator, beginning, ending)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, call(1, "subscribe", f"book.{name}.100ms", f"trades.{name}.100ms"))
        consumer = DeribitConsumer()
        await consume(socket, consumer, 300)
        await agrees(simulator, socket, consumer, "DERIBIT", name)
        assert set(consumer.actions) == {"new", "change", "delete"}


async def test_gathered_changes_lead_to_the_same_book() -> None:
    simulator = Simulator(rate=600, levels=40, gather=0.1)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, call(1, "subscribe", "book.ETH-PERPETUAL.100ms", "book.ETH-PERPETUAL.agg2"))
        books = {"100ms": DeribitConsumer(), "agg2": DeribitConsumer()}
        while books["agg2"].frames < 3:
            message = texts(await socket.get_message())
            if "params" in message:
                books[message["params"]["channel"].rpartition(".")[2]].take(message)
        simulator.pause()
        with trio.move_on_after(0.5):
            while True:
                message = texts(await socket.get_message())
                books[message["params"]["channel"].rpartition(".")[2]].take(message)
        whole = simulator.book("DERIBIT", "ETH-PERPETUAL")
        assert books["100ms"].frames > books["agg2"].frames
        for consumer in books.values():
            assert consumer.wrong == 0
            assert consumer.book.equals(whole)


async def test_one_channel_for_all_options_of_a_currency() -> None:
    async with running(Simulator(rate=200, trade_rate=200, gather=0)) as client, client.socket(WS) as socket:
        await send(socket, call(1, "subscribe", "trades.option.BTC.100ms", "trades.option.DOGE.100ms"))
        assert (await reply(socket, lambda m: m.get("id") == 1))["result"] == ["trades.option.BTC.100ms"]
        seen: set[str] = set()
        while len(seen) < 4:
            message = await until(socket, lambda m: "params" in m, read=json.loads)
            seen |= {each["instrument_name"] for each in message["params"]["data"]}
            assert all("iv" in each for each in message["params"]["data"])


async def test_what_is_unknown_is_missing_and_raw_is_refused() -> None:
    simulator = Simulator()
    simulator.pause()
    async with running(simulator) as client, client.socket(WS) as socket:
        good, bad = "book.BTC-PERPETUAL.100ms", ("book.btc-perpetual.100ms", "book.BTC-PERPETUAL.10ms", "quote.X")
        await send(socket, call(1, "subscribe", *bad, good))
        answer = await reply(socket, lambda m: m.get("id") == 1)
        assert answer["result"] == [good]
        assert {"usIn", "usOut", "usDiff", "testnet"} <= answer.keys()
        await send(socket, call(2, "subscribe", "book.ETH-PERPETUAL.raw", good))
        assert (await reply(socket, lambda m: m.get("id") == 2))["error"]["code"] == 13778
        await send(socket, call(3, "unsubscribe", good, *bad))
        assert (await reply(socket, lambda m: m.get("id") == 3))["result"] == [good]
        await send(socket, call(4, "subscribe") | {"params": {"channels": good}})
        assert (await reply(socket, lambda m: m.get("id") == 4))["error"]["code"] == -32602
        await send(socket, call(5, "sing"))
        assert (await reply(socket, lambda m: m.get("id") == 5))["error"]["code"] == -32601
        await send(socket, call(6, "test"))
        assert "version" in (await reply(socket, lambda m: m.get("id") == 6))["result"]


async def test_too_many_subscriptions_at_once_end_the_connection() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        for number in range(20):
            await send(socket, call(number, "unsubscribe", "book.BTC-PERPETUAL.100ms"))
        with pytest.raises(ConnectionClosed):
            await until(socket, lambda _: False)


async def test_heartbeats_have_to_be_wanted_rarely_enough() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, call(1, "set_heartbeat", interval=5))
        assert (await reply(socket, lambda m: m.get("id") == 1))["error"]["code"] == -32602
        await send(socket, call(2, "set_heartbeat", interval=10))
        assert (await reply(socket, lambda m: m.get("id") == 2))["result"] == "ok"


async def test_the_list() -> None:
    async with running(Simulator()) as client:
        rows = (await client.get(f"{LIST}?currency=any&expired=false"))["result"]
        kinds = Counter((row["kind"], row["instrument_type"]) for row in rows)
        assert kinds == {
            ("spot", "linear"): 6, ("future", "linear"): 8, ("future", "reversed"): 4, ("option", "reversed"): 8,
            ("option", "linear"): 4,
        }  # fmt: skip
        by_name = {row["instrument_name"]: row for row in rows}
        assert by_name["BTC-PERPETUAL"]["contract_size"] == 10
        assert by_name["BTC-PERPETUAL"]["settlement_period"] == "perpetual"
        inverse = next(row for row in rows if row["kind"] == "option" and row["base_currency"] == "ETH")
        assert (inverse["quote_currency"], inverse["counter_currency"]) == ("ETH", "USD")
        strikes = {row["strike"]: name for name, row in by_name.items() if name.startswith(f"XRP_USDC-{DAY}-")}
        assert all(f"-{str(strike).replace('.', 'd')}-" in name for strike, name in strikes.items())
        usdc = (await client.get(f"{LIST}?currency=USDC&kind=option"))["result"]
        assert {row["base_currency"] for row in usdc} == {"XRP"}
        assert (await client.http(LIST)).status == 400


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.REORDER, FaultKind.DUPLICATE])
async def test_a_fault_breaks_the_chain(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, gather=0)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, call(1, "subscribe", "book.BTC-PERPETUAL.100ms"))
        consumer = DeribitConsumer()
        await consume(socket, consumer, 10)
        simulator.inject(Fault(kind, exchange="DERIBIT", market="BTC-PERPETUAL", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


@pytest.mark.parametrize(
    ("recording", "channel", "kind"),
    [
        ("DERIBIT.OPTION/ws-1", "book.", "snapshot"),
        ("DERIBIT.MIXED/messages-2021-2022", "book.", "change"),
        ("DERIBIT.MIXED/trades-2025", "trades.", ""),
    ],
)
async def test_frames_have_the_recorded_keys_and_types(
    recordings: Path, recording: str, channel: str, kind: str
) -> None:
    def wanted(message: Json) -> bool:
        params = message.get("params", {})
        data = params.get("data", {})
        if not params.get("channel", "").startswith(channel) or (kind and data.get("type") != kind):
            return False
        return not kind or (data["bids"] != [] and data["asks"] != [])

    real = recorded(recordings, recording, wanted)
    async with running(Simulator(rate=500, trade_rate=100, gather=0)) as client, client.socket(WS) as socket:
        await send(socket, call(1, "subscribe", "book.BTC-PERPETUAL.100ms", "trades.BTC-PERPETUAL.100ms"))
        made = await reply(socket, wanted)
    shapes_agree(made, real)


async def test_listed_options_have_the_recorded_keys_and_types(recordings: Path) -> None:
    real = listing(recordings, "DERIBIT.OPTION", "currency=BTC&expired=false")["result"][0]
    async with running(Simulator()) as client:
        made = (await client.get(f"{LIST}?currency=BTC&kind=option"))["result"][0]
    shared = made.keys() & real.keys()
    assert real.keys() - shared == {"block_trade_commission"}
    shapes_agree({name: made[name] for name in shared}, {name: real[name] for name in shared})
