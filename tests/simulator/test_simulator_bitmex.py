"""The synthetic BitMEX: an independent client keeps the rows by their ids; not one may be unknown or doubled."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from consumer import Consumer, agrees, consume, having, listing, recorded, reply, shapes_agree
from simulated import Json, running, send, shape, texts

from level4.simulator import Channel, Fault, FaultKind, Simulator
from level4.simulator.listing import next_quarter

WS = "ws.bitmex.com/realtime"
LIST = "www.bitmex.com/api/v1/instrument/active"
TODAY = datetime.now(UTC).date()
NEWER = frozenset({"timestamp", "transactTime", "pool", "trdType", "types", "filter", "foreignKeys", "attributes"})


class BitmexConsumer(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], str] = {}

    def take(self, message: Json) -> None:
        match message:
            case {"table": "orderBookL2", "action": "partial", "data": rows}:
                self.rows = {(row["side"], row["id"]): row["price"] for row in rows}
                sides = [
                    [(row["price"], row["size"]) for row in rows if row["side"] == side] for side in ("Buy", "Sell")
                ]
                self.snapshot(sides[0], sides[1])
            case {"table": "orderBookL2", "action": action, "data": rows}:
                self.change(action, rows)
            case {"table": "trade", "action": "insert", "data": rows}:
                for row in rows:
                    self.trade(row["side"].lower(), row["price"], row["size"])
            case {"table": "trade", "data": rows}:
                self.history += len(rows)

    def change(self, action: str, rows: Json) -> None:
        sides: dict[str, list[tuple[str, str]]] = {"Buy": [], "Sell": []}
        for row in rows:
            key = row["side"], row["id"]
            if (key in self.rows) is (action == "insert"):
                self.wrong += 1
                continue
            assert row["price"] == self.rows.setdefault(key, row["price"])
            assert ("size" in row) is (action != "delete")
            sides[row["side"]].append((row["price"], row.get("size", "0")))
            if action == "delete":
                del self.rows[key]
        self.update(sides["Buy"], sides["Sell"])


def dated(root: str) -> str:
    day = next_quarter(TODAY)
    return f"{root}{'HMUZ'[day.month // 3 - 1]}{day:%y}"


@pytest.mark.parametrize("symbol", ["XBTUSD", "ETHUSDT", "ETHUSD", "XBT_USDT", dated("SOLUSDT"), dated("XBT")])
@pytest.mark.parametrize("pool", ["", ":Primary"])
async def test_every_row_is_known_and_the_counts_agree(symbol: str, pool: str) -> None:
    simulator = Simulator(rate=900, trade_rate=90, levels=40)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": [f"orderBookL2:{symbol}{pool}", f"trade:{symbol}{pool}"]})
        consumer = BitmexConsumer()
        await consume(socket, consumer, 300)
        await agrees(simulator, socket, consumer, "BITMEX", symbol)
        assert consumer.history == 1


async def test_a_quanto_contract_is_worth_so_many_satoshi_for_each_dollar_of_its_price() -> None:
    async with running(Simulator(rate=100, trade_rate=90)) as client, client.socket(WS) as socket:
        (listed,) = [row for row in await client.get(LIST) if row["symbol"] == "ETHUSD"]
        assert (listed["underlying"], listed["quoteCurrency"], listed["settlCurrency"]) == ("ETH", "USD", "XBt")
        assert (listed["isQuanto"], listed["isInverse"], listed["multiplier"]) == (True, False, 100)
        assert listed["underlyingToPositionMultiplier"] is None
        await send(socket, {"op": "subscribe", "args": ["trade:ETHUSD"]})
        trade = (await reply(socket, having(table="trade", action="insert")))["data"][0]
        bitcoin = 64_000  # where the walk of BTC starts
        value = trade["size"] * 100 * trade["price"] / 1e8 * bitcoin
        assert trade["foreignNotional"] == pytest.approx(value)
        assert trade["homeNotional"] * trade["price"] == pytest.approx(value)


async def test_ids_stay_with_their_price_and_tell_nothing_about_it() -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:XBTUSD"]})
        rows = (await reply(socket, lambda m: m.get("action") == "partial"))["data"]
        assert len({row["id"] for row in rows}) == len(rows)
        steps = {(rows[i + 1]["id"] - rows[i]["id"]) / (rows[i + 1]["price"] - rows[i]["price"]) for i in range(20)}
        assert len(steps) > 1


async def test_pools() -> None:
    async with running(Simulator(rate=200)) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": "orderBookL2:XBTUSD:Secondary"})
        ack = await reply(socket, lambda m: "success" in m)
        assert (ack["subscribe"], ack["pool"]) == ("orderBookL2:XBTUSD", "Secondary")
        empty = await reply(socket, lambda m: "action" in m)
        assert (empty["action"], empty["data"], empty["filter"]["symbol"]) == ("partial", [], "XBTUSD")
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:XBTUSD"]})
        assert {row["pool"] for row in (await reply(socket, lambda m: "action" in m))["data"]} == {"Aggregated"}


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"op": "subscribe", "args": ["orderBookL2:FOOBAR"]}, "Unknown symbol: FOOBAR"),
        ({"op": "subscribe", "args": "trade:xbtusd"}, "Unknown symbol: xbtusd"),
        ({"op": "subscribe", "args": ["orderBookL2:Primary"]}, "Unknown symbol: Primary"),
        ({"op": "subscribe", "args": ["orderBookL2:XBTUSD:Third"]}, "Unknown pool: Third"),
        ({"op": "subscribe", "args": ["books:XBTUSD"]}, "Unknown table: books"),
        ({"op": "unsubscribe", "args": ["trade:XBTUSD"]}, "Not subscribed to trade:XBTUSD"),
        ({"op": "sing"}, "Unrecognized request"),
        ([], "Unrecognized request"),
    ],
)
async def test_it_is_strict(request_: Json, error: str) -> None:
    async with running(Simulator()) as client, client.socket(WS) as socket:
        await send(socket, request_)
        refusal = await reply(socket, lambda m: "error" in m)
        assert (refusal["status"], refusal["request"]) == (400, request_)
        assert error in refusal["error"]


async def test_raw_pings_and_the_end_of_a_subscription() -> None:
    async with running(Simulator(rate=200)) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:XBTUSD", "orderBookL2:ETHUSDT"]})
        await send(socket, {"op": "unsubscribe", "args": ["orderBookL2:XBTUSD"]})
        await reply(socket, lambda m: m.get("unsubscribe") == "orderBookL2:XBTUSD")
        for _ in range(30):
            assert (await reply(socket, lambda m: "data" in m))["data"][0]["symbol"] == "ETHUSDT"
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:ETHUSDT"]})
        assert "already subscribed" in (await reply(socket, lambda m: "error" in m))["error"]
        await socket.send_message("ping")
        while await socket.get_message() != "pong":
            pass


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.DUPLICATE])
async def test_lost_and_doubled_frames_show_in_the_rows(kind: FaultKind) -> None:
    simulator = Simulator(rate=500, levels=15)
    async with running(simulator) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:XBTUSD"]})
        consumer = BitmexConsumer()
        await consume(socket, consumer, 10)
        consumer.unharmed = False
        simulator.inject(Fault(kind, count=20, market="XBTUSD", channel=Channel.BOOK))
        while not consumer.wrong:
            consumer.take(texts(await socket.get_message()))


async def test_the_list_tells_the_types() -> None:
    async with running(Simulator(names=("BTC/USD", "ETH/BTC"))) as client:
        rows = {row["symbol"]: row for row in await client.get(LIST)}
        assert {symbol: row["typ"] for symbol, row in rows.items()} == {
            "XBT_USDT": "IFXXXP",
            "XBTUSDT": "FFWCSX",
            dated("XBTUSDT"): "FFCCSX",
            "XBTUSD": "FFWCSX",
            dated("XBT"): "FFCCSX",
            "ETH_BTC": "IFXXXP",
            ".BXBT": "MRCXXX",
        }
        assert [symbol for symbol, row in rows.items() if row.get("isInverse")] == ["XBTUSD", dated("XBT")]
        assert rows[dated("XBT")]["expiry"] == f"{next_quarter(TODAY)}T12:00:00.000Z"
        book = await client.get("www.bitmex.com/api/v1/orderBook/L2?symbol=XBTUSD&depth=2")
        assert [row["side"] for row in book] == ["Buy", "Buy", "Sell", "Sell"]
        assert (await client.http("www.bitmex.com/api/v1/orderBook/L2?symbol=xbtusd")).status == 400


def test_quarters_end_on_their_last_friday() -> None:
    cases = {
        "2026-01-01": "2026-03-27", "2026-03-20": "2026-03-27", "2026-03-21": "2026-06-26", "2026-12-18": "2026-12-25",
        "2026-12-31": "2027-03-26",
    }  # fmt: skip
    assert {day: str(next_quarter(date.fromisoformat(day))) for day in cases} == cases


async def test_frames_have_the_recorded_keys_and_types(recordings: Path) -> None:
    name = "BITMEX.MIXED/ws-1"
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(WS) as socket:
        await send(socket, {"op": "subscribe", "args": ["orderBookL2:XBTUSD", "trade:XBTUSD"]})
        ack = await reply(socket, lambda m: "success" in m)
        shapes_agree(ack, recorded(recordings, name, lambda m: "success" in m), NEWER)
        partial = await reply(socket, lambda m: m.get("action") == "partial")
        real = recorded(recordings, name, lambda m: m.get("action") == "partial" and m["table"] == "orderBookL2")
        shapes_agree(partial, real, NEWER)
        for table, action in (("orderBookL2", "update"), ("orderBookL2", "insert"), ("orderBookL2", "delete")):
            wanted = having(table=table, action=action)
            added = NEWER | ({"price"} if action != "insert" else set())  # since 2023
            shapes_agree(await reply(socket, wanted), recorded(recordings, name, wanted), added)
        wanted = having(table="trade", action="insert")
        shapes_agree(await reply(socket, wanted), recorded(recordings, name, wanted), NEWER)
        real = listing(recordings, "BITMEX.MIXED", "/instrument/active")[0]
        made = (await client.get(LIST))[0]
        assert made.keys() <= real.keys()
        same = [key for key in made if made[key] is not None and real[key] is not None]
        assert shape({key: made[key] for key in same}) == shape({key: real[key] for key in same})
