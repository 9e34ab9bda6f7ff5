"""The synthetic Coinbase: two feeds, one set of markets."""

from __future__ import annotations

import json

import pytest
import trio
from simulated import Json, PlainBook, running, send, until
from trio_websocket import ConnectionClosed

from level4.simulator import Channel, Fault, FaultKind, Simulator, coinbase_advanced, coinbase_exchange

EXCHANGE = "ws-feed.exchange.coinbase.com"
ADVANCED = "advanced-trade-ws.coinbase.com"


def touch(book: PlainBook) -> list[str | None]:
    return [level and level[0] for level in book.best()]


async def test_the_exchange_feed_leads_to_the_simulators_book() -> None:
    book, frames, changes = PlainBook(), 0, 0
    trades: list[int] = []
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(EXCHANGE) as socket:
        channels = ["level2_batch", "matches", "heartbeat"]
        await send(socket, {"type": "subscribe", "product_ids": ["ETH-USD"], "channels": channels})
        ack = json.loads(await socket.get_message())
        assert [row["name"] for row in ack["channels"]] == ["level2_50", "matches", "heartbeat"]
        stats: Json = {"frames": 20, "trades": 20}
        paused = False
        while not paused or frames < stats["frames"] or len(trades) < stats["trades"]:
            message = json.loads(await socket.get_message())
            if message["type"] == "snapshot":
                book.apply(message["bids"], message["asks"])
            elif message["type"] == "l2update":
                before = touch(book)
                book.apply(
                    [(p, s) for side, p, s in message["changes"] if side == "buy"],
                    [(p, s) for side, p, s in message["changes"] if side == "sell"],
                )
                frames += 1
                changes += before != touch(book)
            elif message["type"] == "match":
                trades.append(message["trade_id"])
            if not paused and frames >= 20 and len(trades) >= 20:
                paused = True
                await client.http("_level4/pause", "POST")
                await trio.sleep(0.1)  # two batches of 50 ms
                stats = (await client.stats())["exchanges"]["COINBASE"]["ETH-USD"]
        whole = await client.get("_level4/book?exchange=COINBASE&symbol=ETH-USD")
    assert book.equals(whole)
    assert (frames, len(trades), changes) == (stats["frames"], stats["trades"], stats["best_price_changes"])
    assert trades == list(range(trades[0], whole["trade_id"] + 1))


async def test_the_advanced_feed_counts_every_frame_and_leads_to_the_simulators_book() -> None:
    book, frames, changes, sequence = PlainBook(), 0, 0, -1
    trades: list[int] = []
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(ADVANCED) as socket:
        for channel in ("heartbeats", "level2", "market_trades"):
            products = {} if channel == "heartbeats" else {"product_ids": ["BTC-USDC", "BTC-USD"]}
            await send(socket, {"type": "subscribe", "channel": channel, **products})
        seen: set[str] = set()
        stats: Json = {}
        while not stats or frames < stats["frames"] or len(trades) < stats["trades"]:
            message = json.loads(await socket.get_message())
            assert message["sequence_num"] == sequence + 1
            sequence += 1
            seen.add(message["channel"])
            (event,) = message["events"]
            if message["channel"] == "l2_data":
                assert event["product_id"] == "BTC-USD"
                before = touch(book)
                for side, name in ((0, "bid"), (1, "offer")):
                    rows = [(u["price_level"], u["new_quantity"]) for u in event["updates"] if u["side"] == name]
                    book.apply(*((rows, []) if side == 0 else ([], rows)))
                if event["type"] == "update":
                    frames += 1
                    changes += before != touch(book)
            elif message["channel"] == "market_trades" and event["type"] == "update":
                trades += [int(trade["trade_id"]) for trade in reversed(event["trades"])]
            if not stats and len(seen) == 4 and frames > 100 and trades:
                await client.http("_level4/pause", "POST")
                stats = (await client.stats())["exchanges"]["COINBASE"]["BTC-USD"]
        whole = await client.get("_level4/book?exchange=COINBASE&symbol=BTC-USD")
    assert book.equals(whole)
    assert (frames, len(trades), changes) == (stats["frames"], stats["trades"], stats["best_price_changes"])
    assert trades == list(range(trades[0], whole["trade_id"] + 1))


async def test_both_feeds_give_the_makers_side_of_the_same_trades() -> None:
    async with (
        running(Simulator(rate=200, trade_rate=100)) as client,
        client.socket(EXCHANGE) as one,
        client.socket(ADVANCED) as other,
    ):
        await send(one, {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch", "matches"]})
        await send(other, {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "market_trades"})
        matches: dict[str, tuple[str, str, str]] = {}
        while len(matches) < 60:
            match = await until(one, lambda m: m["type"] == "match")
            matches[match["trade_id"]] = (match["side"].upper(), match["price"], match["size"])
        batch = await until(other, lambda m: m["events"][0].get("type") == "update")
        numbers = [int(trade["trade_id"]) for trade in batch["events"][0]["trades"]]
        assert numbers == sorted(numbers, reverse=True)
        shared = [trade for trade in batch["events"][0]["trades"] if trade["trade_id"] in matches]
        assert len(shared) > 3
        for trade in shared:
            assert matches[trade["trade_id"]] == (trade["side"], trade["price"], trade["size"])


async def test_a_maker_that_sold_stood_on_the_ask_side() -> None:
    book = PlainBook()
    async with running(Simulator(rate=20, trade_rate=10)) as client, client.socket(EXCHANGE) as socket:
        channels = ["level2_batch", "matches"]
        await send(socket, {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": channels})
        asks = bids = 0
        while asks < 1 or bids < 1:
            message = json.loads(await socket.get_message())
            if message["type"] == "snapshot":
                book.apply(message["bids"], message["asks"])
            elif message["type"] == "l2update":
                for side, price, size in message["changes"]:
                    book.apply(*(([(price, size)], []) if side == "buy" else ([], [(price, size)])))
            elif message["type"] == "match":
                bid, ask = book.best()
                assert bid is not None
                assert ask is not None
                middle = (float(bid[0]) + float(ask[0])) / 2
                asks += message["side"] == "sell" and float(message["price"]) > middle
                bids += message["side"] == "buy" and float(message["price"]) < middle


@pytest.mark.parametrize(
    ("address", "request_", "said"),
    [
        (EXCHANGE, {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2"]}, "authentication"),
        (EXCHANGE, {"type": "subscribe", "product_ids": ["FOO-USD"], "channels": ["matches"]}, "FOO-USD"),
        (EXCHANGE, {"type": "sing"}, "Type has to be"),
        (ADVANCED, {"type": "subscribe", "product_ids": ["FOO-USD"], "channel": "level2"}, "not valid"),
        (ADVANCED, {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2"]}, "one channel"),
    ],
)
async def test_it_is_strict(address: str, request_: Json, said: str) -> None:
    async with running(Simulator()) as client, client.socket(address) as socket:
        await send(socket, request_)
        reply = json.loads(await socket.get_message())
        assert reply["type"] == "error"
        assert said in reply.get("reason", reply["message"])


@pytest.mark.parametrize("address", [EXCHANGE, ADVANCED])
async def test_a_client_that_does_not_subscribe_is_closed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coinbase_exchange, "SUBSCRIBE_SECONDS", 0.05)
    monkeypatch.setattr(coinbase_advanced, "SUBSCRIBE_SECONDS", 0.05)
    async with running(Simulator()) as client, client.socket(address) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.get_message()


async def test_a_dropped_frame_leaves_a_hole_in_the_sequence() -> None:
    simulator = Simulator(rate=200)
    async with running(simulator) as client, client.socket(ADVANCED) as socket:
        await send(socket, {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"})
        last = (await until(socket, lambda m: m["channel"] == "l2_data", read=json.loads))["sequence_num"]
        simulator.inject(Fault(FaultKind.DROP, channel=Channel.BOOK, exchange="COINBASE"))
        step = 1
        while step == 1:
            number = json.loads(await socket.get_message())["sequence_num"]
            step, last = number - last, number
        assert step == 2


async def test_products_are_listed_on_both_sides() -> None:
    async with running(Simulator()) as client:
        plain = await client.get("api.exchange.coinbase.com/products")
        assert [row["id"] for row in plain][:2] == ["BTC-USD", "ETH-USD"]
        rows = (await client.get("api.coinbase.com/api/v3/brokerage/market/products?product_type=SPOT"))["products"]
        by_name = {row["product_id"]: row["alias"] for row in rows}
        assert by_name["BTC-USD"] == ""
        assert by_name["BTC-USDC"] == "BTC-USD"
        book = await client.get("api.exchange.coinbase.com/products/BTC-USD/book?level=2")
        assert len(book["bids"]) > 100
        advanced = await client.get("api.coinbase.com/api/v3/brokerage/market/product_book?product_id=BTC-USD&limit=2")
        assert [[row["price"], row["size"]] for row in advanced["pricebook"]["asks"]] == [
            row[:2] for row in book["asks"][:2]
        ]
