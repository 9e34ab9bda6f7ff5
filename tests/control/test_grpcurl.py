"""What people do first: the real grpcurl against a node, through reflection."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio
from fake_host import FakeHost
from served import Grpcurl, served

from level4.control.ports import BookView, NodeState
from level4.model import FeedState, MarketRequest, UnavailableError
from level4.rpc.health import Health

BTC = {"id": 17, "exchange_name": "KRAKEN", "type": "SPOT", "base_symbol": "BTC", "quote_symbol": "USD"}


async def test_list_and_describe() -> None:
    async with served(FakeHost()) as port:
        grpcurl = Grpcurl(port)
        _, out, _ = await grpcurl.run("list")
        assert {"grpc.health.v1.Health", "level4.rpc.Control"} <= set(out.split())
        _, out, _ = await grpcurl.run("list", "level4.rpc.Control")
        assert [line.rpartition(".")[2] for line in out.split()] == [
            "DrainNode",
            "IsMarketOnline",
            "ListActiveMarkets",
            "ListNodes",
            "MoveMarket",
            "Rebalance",
            "StartMarket",
            "StopMarket",
            "WatchBook",
            "WatchMarkets",
        ]
        _, out, _ = await grpcurl.run("describe", "level4.rpc.Market")
        assert "int64 id = 1;" in out
        assert "string type = 5;" in out


async def test_every_call() -> None:
    host = FakeHost()
    async with served(host) as port:
        grpcurl = Grpcurl(port)
        reply = await grpcurl.call("StartMarket", {"market": BTC})
        assert (reply["market"]["id"], reply["market"]["symbol"], reply["node"]["name"]) == ("17", "BTC/USD", "node1")
        host.turn(17, FeedState.LIVE)
        assert await grpcurl.call("IsMarketOnline", {"market": {"id": 17}}) == {"is_online": True}
        assert [market["state"] for market in (await grpcurl.call("ListActiveMarkets"))["markets"]] == ["LIVE"]
        assert await grpcurl.call("ListNodes") == {
            "nodes": [
                {
                    "name": "node1",
                    "active_market_count": "1",
                    "max_active_markets": "3",
                    "state": "READY",
                    "version": "1.2.3",
                    "address": "127.0.0.1:50051",
                }
            ]
        }
        stopped = await grpcurl.call("StopMarket", {"market": {**BTC, "id": 0, "type": "spot"}})
        assert stopped["market"]["state"] == "STOPPED"
        assert await grpcurl.call("ListActiveMarkets") == {}


async def test_a_stream_of_books_until_the_market_stops() -> None:
    host = FakeHost()
    async with served(host) as port:
        grpcurl = Grpcurl(port)
        await grpcurl.call("StartMarket", {"market": BTC})
        host.books[17] = BookView(FeedState.LIVE, [("64000.1", "1.25")], [("64000.2", "0.3")])
        command = grpcurl.command("WatchBook", {"market": {"id": 17}, "interval_ms": 50})
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
            assert process.stdout is not None
            out = b""
            with trio.fail_after(30):
                while b"64000.2" not in out:
                    out += await process.stdout.receive_some()
                await host.stop(17)
                async for chunk in process.stdout:
                    out += chunk
        assert b'"price": "64000.1",' in out
        assert b'"state": "STOPPED"' in out


async def test_health() -> None:
    health = Health()
    async with served(FakeHost(), health) as port:
        grpcurl = Grpcurl(port)
        assert json.loads((await grpcurl.run("grpc.health.v1.Health/Check"))[1]) == {"status": "NOT_SERVING"}
        health.set_ready(True)
        _, out, _ = await grpcurl.run("grpc.health.v1.Health/Check", data={"service": "level4.rpc.Control"})
        assert json.loads(out) == {"status": "SERVING"}
        code, _, err = await grpcurl.run("grpc.health.v1.Health/Check", data={"service": "nothing"})
        assert code != 0
        assert "Code: NotFound" in err


def crash(request: MarketRequest) -> None:
    raise KeyError("a bug")


def kafka_is_away(request: MarketRequest) -> None:
    raise UnavailableError("Kafka is away; nothing can be claimed, try again later")


@pytest.mark.parametrize(
    ("method", "market", "code", "message"),
    [
        ("StartMarket", {**BTC, "exchange_name": "KRAKN"}, "InvalidArgument", "did you mean KRAKEN?"),
        ("StartMarket", {**BTC, "type": "SPOOT"}, "InvalidArgument", "did you mean SPOT?"),
        ("StartMarket", {**BTC, "base_symbol": "BTCX"}, "InvalidArgument", "did you mean BTC?"),
        ("StartMarket", {**BTC, "id": 5000}, "InvalidArgument", "from 1 to 1023, got 5000; the next free id is 2"),
        ("StartMarket", {**BTC, "id": 1}, "AlreadyExists", "is held by 1=KRAKEN:SPOT:ETH/USD, SYNCING, on node node1"),
        ("StopMarket", {"id": 9}, "NotFound", "no active market has id 9; active: 1=KRAKEN:SPOT:ETH/USD"),
        ("IsMarketOnline", {**BTC, "id": 0}, "NotFound", "no active market is KRAKEN:SPOT:BTC/USD"),
    ],
)
async def test_refusals(method: str, market: dict[str, Any], code: str, message: str) -> None:
    async with served(FakeHost()) as port:
        grpcurl = Grpcurl(port)
        await grpcurl.call("StartMarket", {"market": {**BTC, "id": 1, "base_symbol": "ETH"}})
        got, said = await grpcurl.refused(method, {"market": market})
        assert (got, message in said) == (code, True), said


async def test_refusals_of_a_full_draining_cut_off_or_crashing_node() -> None:
    host = FakeHost(capacity=0)
    async with served(host) as port:
        grpcurl = Grpcurl(port)
        start = {"market": BTC}
        code, message = await grpcurl.refused("StartMarket", start)
        assert (code, "no node has room (node1 0 of 0)" in message) == ("ResourceExhausted", True)
        host.self_node = replace(host.self_node, capacity=9, state=NodeState.DRAINING)
        code, message = await grpcurl.refused("StartMarket", start)
        assert (code, "node node1 is draining" in message) == ("FailedPrecondition", True)
        host.self_node = replace(host.self_node, state=NodeState.READY)
        host.before_start = kafka_is_away
        assert await grpcurl.refused("StartMarket", start) == (
            "Unavailable",
            "Kafka is away; nothing can be claimed, try again later",
        )
        host.before_start = crash
        code, message = await grpcurl.refused("StartMarket", start)
        assert (code, "id: 17" in message) == ("Internal", True)
