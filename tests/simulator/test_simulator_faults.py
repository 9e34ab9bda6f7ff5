"""Faults on demand, over real sockets, and the control port that asks for them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import h11
import pytest
import trio
from simulated import Client, Json, exchange, running, send, until
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from level4.simulator import Channel, Fault, FaultKind, Simulator
from level4.simulator.faults import FRAME_FAULTS, corrupt

WS = "ws.kraken.com/v2"


async def subscribe(socket: WebSocketConnection, *symbols: str) -> None:
    params = {"channel": "book", "symbol": list(symbols), "depth": 1000}
    await send(socket, {"method": "subscribe", "params": params})
    await until(socket, lambda m: m.get("type") == "snapshot")


@pytest.mark.parametrize(
    "frame",
    [
        '{"data":[{"bids":[{"price":45283.5,"qty":0.10000000}],"checksum":310}]}',
        '{"data":[{"bids":[],"asks":[{"price":45283.5,"qty":0.00000000}],"checksum":310}]}',
        '[1360,{"as":[["0.000022900","13355.87450757","1618678123.481570"]],"bs":[]},"book-1000","ADA/XBT"]',
        '{"stream":"a","data":{"U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}}',
        '{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"]]}',
        '{"updates":[{"side":"bid","price_level":"68900.00","new_quantity":"1.50000000"}]}',
        '{"action":"update","data":[{"asks":[["8476.98","415","0","13"]],"checksum":-855196043}]}',
    ],
)
def test_corrupting_changes_one_digit_of_a_level(frame: str) -> None:
    changed = corrupt(frame)
    assert len(changed) == len(frame)
    (at,) = [i for i, (one, other) in enumerate(zip(frame, changed, strict=True)) if one != other]
    assert frame[at].isdigit()
    assert str(changed)[at].isdigit()
    json.loads(changed)


def test_a_frame_without_levels_is_not_corrupted() -> None:
    assert corrupt('{"channel":"heartbeat"}') == '{"channel":"heartbeat"}'
    assert corrupt(b"\x00[[1,2]]") == b"\x00[[1,2]]"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twelve numbered frames with a level each."""
    header = {"format": "level4.recording", "version": 1, "exchange": "X", "protocol": "x", "url": "wss://x.example"}
    frames = [json.dumps({"n": n, "bids": [["10.5", "1.25"]]}) for n in range(12)]
    lines = [header, *({"t": 0, "k": "recv", "d": frame} for frame in frames)]
    path = tmp_path / "x.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def number(data: str | bytes) -> Json:
    try:
        return json.loads(data)["n"]
    except ValueError:
        return "broken"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(FaultKind.DROP, after=2), [0, 1, 3, 4]),
        (Fault(FaultKind.DROP, count=2), [2, 3]),
        (Fault(FaultKind.DUPLICATE), [0, 0, 1]),
        (Fault(FaultKind.REORDER, after=1), [0, 2, 1, 3]),
        (Fault(FaultKind.REORDER, count=2), [2, 0, 1, 3]),
        (Fault(FaultKind.DELAY, seconds=0.01), [0, 1]),
        (Fault(FaultKind.CORRUPT), [0, 1]),
        (Fault(FaultKind.TRUNCATE), ["broken", 1]),
        (Fault(FaultKind.GARBAGE), ["broken", 1]),
        (Fault(FaultKind.BINARY), [0, 1]),
        (Fault(FaultKind.OVERSIZE, size=3_000_000), [0, 1]),
        (Fault(FaultKind.DROP, exchange="OTHER"), [0, 1]),
        (Fault(FaultKind.DROP, channel=Channel.CONTROL), [0, 1]),
    ],
)
async def test_each_fault_of_a_frame(recording: Path, fault: Fault, expected: list[Json]) -> None:
    simulator = Simulator(recordings=[recording], speed=None)
    kind, strikes = fault.kind, 0 if fault.exchange or fault.channel else fault.count
    async with running(simulator) as client, client.socket("x.example") as socket:
        simulator.inject(fault)
        await send(socket, {"op": "subscribe"})
        messages = [await socket.get_message() for _ in expected]
        assert [number(message) for message in messages] == expected
        assert (await client.stats())["faults"] == ({kind: strikes} if strikes else {})
    if kind is FaultKind.BINARY:
        assert isinstance(messages[0], bytes)
    if kind is FaultKind.OVERSIZE:
        assert len(messages[0]) == 3_000_000
    if kind is FaultKind.CORRUPT:
        assert '["10.5", "2.25"]' in str(messages[0])


def test_every_fault_of_a_frame_is_tried() -> None:
    marks = test_each_fault_of_a_frame.pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    assert {parameters[0].kind for parameters in marks[0].args[1]} == FRAME_FAULTS


async def test_a_stalled_connection_is_silent_and_then_goes_on_without_a_loss() -> None:
    simulator = Simulator(rate=200)
    async with running(simulator) as client, client.socket("advanced-trade-ws.coinbase.com") as socket:
        await send(socket, {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"})
        last = json.loads(await socket.get_message())["sequence_num"]
        assert simulator.inject(Fault(FaultKind.STALL)) == 1
        with trio.move_on_after(0.2) as quiet:
            while True:
                last = json.loads(await socket.get_message())["sequence_num"]
        assert quiet.cancelled_caught
        with trio.move_on_after(0.2) as quiet:
            await socket.get_message()
        assert quiet.cancelled_caught
        simulator.inject(Fault(FaultKind.UNSTALL))
        assert json.loads(await socket.get_message())["sequence_num"] == last + 1
        assert (await client.stats())["faults"] == {"stall": 1, "unstall": 1}


async def test_a_stalled_market_is_lost_while_others_go_on() -> None:
    simulator = Simulator(rate=200)
    async with running(simulator) as client, client.socket(WS) as socket:
        await subscribe(socket, "BTC/USD", "ETH/USD")
        simulator.inject(Fault(FaultKind.STALL, market="BTC/USD"))
        await until(socket, lambda m: "ETH/USD" in str(m))
        stats = await client.stats()
        generated = stats["exchanges"]["KRAKEN"]["BTC/USD"]["frames"]
        for _ in range(100):
            await until(socket, lambda m: m.get("channel") == "book" and m["data"][0]["symbol"] == "ETH/USD")
        stats = await client.stats()
        assert stats["exchanges"]["KRAKEN"]["BTC/USD"]["frames"] > generated
        simulator.pause()
        with trio.move_on_after(0.2):
            await until(socket, lambda m: "BTC/USD" in str(m))
            raise AssertionError("a frame of the stalled market came")


async def test_closing_gives_the_code_and_strikes_the_chosen_connection_only() -> None:
    simulator = Simulator(rate=100)
    async with running(simulator) as client, client.socket(WS) as one, client.socket(WS) as other:
        await subscribe(one, "BTC/USD")
        await subscribe(other, "BTC/USD")
        numbers = [session["session"] for session in (await client.stats())["sessions"]]
        assert simulator.inject(Fault(FaultKind.CLOSE, code=1012, session=numbers[0])) == 1
        closed, alive = (one, other) if numbers[0] == 1 else (other, one)
        with pytest.raises(ConnectionClosed) as caught:
            await until(closed, lambda _: False)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1012
        await until(alive, lambda m: m.get("type") == "update")
        assert [session["session"] for session in (await client.stats())["sessions"]] == [numbers[1]]


async def test_a_reset_ends_the_connection_without_goodbye() -> None:
    simulator = Simulator(rate=100)
    async with running(simulator) as client, client.socket(WS) as socket:
        await subscribe(socket, "BTC/USD")
        simulator.inject(Fault(FaultKind.RESET))
        with pytest.raises(ConnectionClosed) as caught:
            await until(socket, lambda _: False)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1006
        assert (await client.stats())["faults"] == {"reset": 1}


async def test_connections_and_subscriptions_are_refused_as_often_as_asked() -> None:
    simulator = Simulator(rate=100)
    simulator.inject(Fault(FaultKind.REFUSE_CONNECTION, exchange="KRAKEN", status=503))
    simulator.inject(Fault(FaultKind.REFUSE_SUBSCRIPTION, market="BTC/USD"))
    async with running(simulator) as client:
        with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True, allow_unwrapped=True):
            async with client.socket(WS):
                pass
        async with client.socket(WS) as socket:
            params = {"channel": "book", "symbol": ["ETH/USD", "BTC/USD"]}
            await send(socket, {"method": "subscribe", "params": params})
            replies = [await until(socket, lambda m: "success" in m) for _ in range(2)]
            assert [reply["success"] for reply in replies] == [True, False]
            await subscribe(socket, "BTC/USD")
        assert (await client.stats())["faults"] == {"refuse_connection": 1, "refuse_subscription": 1}


async def test_rest_answers_with_the_status_asked_for() -> None:
    async with running(Simulator()) as client:
        fault = {"kind": "rest_status", "status": 429, "retry_after": 7, "count": 2, "path": "exchangeInfo"}
        assert (await client.http("_level4/faults", "POST", fault)).json() == {"affected": 0}
        assert (await client.http("api.binance.com/api/v3/ping")).status == 200
        for expected in (429, 429, 200):
            reply = await client.http("api.binance.com/api/v3/exchangeInfo")
            assert reply.status == expected
            assert reply.headers.get("retry-after") == ("7" if expected == 429 else None)


async def test_faults_can_be_listed_and_forgotten_and_nonsense_is_refused() -> None:
    async with running(Simulator()) as client:
        for wrong in ({"kind": "explode"}, {"kind": "drop", "cuont": 2}, {}):
            reply = await client.http("_level4/faults", "POST", wrong)
            assert reply.status == 400
            assert "expected a fault" in reply.json()["error"]
        await client.http("_level4/faults", "POST", {"kind": "drop", "market": "BTC/USD"})
        (pending,) = (await client.get("_level4/faults"))["pending"]
        assert (pending["kind"], pending["market"]) == ("drop", "BTC/USD")
        await client.http("_level4/faults", "DELETE")
        assert (await client.get("_level4/faults"))["pending"] == []
        assert (await client.http("_level4/nothing")).status == 404
        assert (await client.http("_level4/book?exchange=KRAKEN&symbol=FOO")).status == 404
        assert (await client.http("somewhere.example/api")).status == 404


async def test_one_connection_carries_several_requests_and_broken_ones_end_it() -> None:
    async with running(Simulator()) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.port)
        async with stream:
            connection = h11.Connection(h11.CLIENT)
            for _ in range(3):
                assert (await exchange(stream, connection, "_level4/stats")).status == 200
            await stream.send_all(b"NONSENSE\r\n\r\n")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 400")
            while await stream.receive_some(1000):
                pass


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ws.kraken.com/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /ws.kraken.com/v2 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"\xff\xfe Upgrade: websocket\r\nUpgrade: websocket\r\n\r\n",
        b"GET /ws.kraken.com/v2 HTTP/1.1\r\nHost: x",
        b"",
        b"x" * 100_000,
    ],
)
async def test_half_a_handshake_ends_that_connection_only(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level4.simulator.simulator.HANDSHAKE_SECONDS", 0.1)
    async with running(Simulator()) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.port)
        async with stream:
            await stream.send_all(head)
            await stream.send_eof()
            with trio.fail_after(5):
                while await stream.receive_some(1000):
                    pass
        while (await client.stats())["connections"] > 1:  # the one that asks
            pass


async def test_clients_that_come_and_go_at_any_moment_do_no_harm() -> None:
    async def visit(client: Client, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with client.socket(WS) as socket:
                params = {"channel": "book", "symbol": ["BTC/USD"], "depth": 1000}
                await send(socket, {"method": "subscribe", "params": params})
                with trio.move_on_after(seconds / 2):
                    await until(socket, lambda _: False)

    async with running(Simulator(rate=500)) as client:
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(visit, client, 0.02 * number)
        while (await client.stats())["sessions"]:
            pass


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("level4.simulator.session.MAX_QUEUED_FRAMES", 50)
    simulator = Simulator(rate=500)
    async with running(simulator) as client, client.socket(WS) as socket:
        await subscribe(socket, "BTC/USD")
        simulator.inject(Fault(FaultKind.STALL))  # as a full socket would, but sooner
        with pytest.raises(ConnectionClosed) as caught:
            await until(socket, lambda _: False)
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1008
        assert (await client.stats())["faults"]["slow_client"] == 1
