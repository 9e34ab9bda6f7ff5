"""Recordings are served as the exchange would: byte for byte, in order, held at REST snapshots."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from simulated import Json, running, send
from trio_websocket import ConnectionClosed

from level4.model import ConfigError
from level4.simulator import Simulator

SECOND = 1_000_000_000


def write(path: Path, url: str | None, events: Sequence[Json], exchange: str = "KRAKEN", **header: Any) -> Path:
    first = {"format": "level4.recording", "version": 1, "exchange": exchange, "type": "SPOT", "url": url}
    first |= {"api": "x", "protocol": "x", "recorded_at": None, **header}
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in (first, *events))
    return path


def received(t: float, data: str, **more: Any) -> Json:
    return {"t": int(t * SECOND), "k": "recv", "d": data, **more}


def sent(t: float, data: Json) -> Json:
    return {"t": int(t * SECOND), "k": "send", "d": json.dumps(data)}


def snapshot(t: float, symbol: str, body: str) -> Json:
    url = f"https://api.binance.com/api/v3/depth?symbol={symbol}&limit=1000"
    return {"t": int(t * SECOND), "k": "http", "url": url, "d": body}


async def test_frames_arrive_byte_for_byte_and_only_after_a_subscription(tmp_path: Path) -> None:
    odd = ['{"a": 1.50000000,  "b":"é"}', "[1,2]", '{"event":"x"}']
    events = [{"t": 0, "k": "open", "url": "wss://ws.kraken.com"}, *(received(0, frame) for frame in odd)]
    events += [received(0, "/wD+", b64=True), {"t": 0, "k": "close"}]
    path = write(tmp_path / "a.jsonl.gz", "wss://ws.kraken.com", events)
    async with running(Simulator(recordings=[path], speed=None)) as client, client.socket("ws.kraken.com/") as socket:
        with trio.move_on_after(0.2):
            raise AssertionError(f"{await socket.get_message()!r} came before any subscription")
        await send(socket, {"event": "subscribe"})
        assert [await socket.get_message() for _ in range(4)] == [*odd, b"\xff\x00\xfe"]
        with trio.move_on_after(0.2) as quiet:
            await socket.get_message()
        assert quiet.cancelled_caught  # the socket stays open after the last frame


async def test_hosts_of_one_family_are_the_same_and_others_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", "wss://ws-feed.pro.coinbase.com", [received(0, "{}")], "COINBASE")
    async with running(Simulator(recordings=[path])) as client:
        async with client.socket("ws-feed.exchange.coinbase.com") as socket:
            await send(socket, {"type": "subscribe"})
            assert await socket.get_message() == "{}"
        assert (await client.http("advanced-trade-ws.coinbase.com")).status == 404


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["book"], ["b1", "b2"]),
        (["trade"], ["t1", "t2"]),
        (["book", "trade"], ["b1", "t1", "t2", "b2"]),
    ],
)
async def test_recordings_of_one_address_are_chosen_by_channel_and_merged(
    tmp_path: Path, asked: list[str], expected: list[str]
) -> None:
    def request(name: str) -> Json:
        return {"event": "subscribe", "pair": ["XBT/USD"], "subscription": {"name": name}}

    address = "wss://ws.kraken.com"
    paths = [
        write(tmp_path / "b", address, [sent(0, request("book")), received(1, "b1"), received(1.3, "b2")]),
        write(tmp_path / "t", address, [sent(0, request("trade")), received(1.1, "t1"), received(1.2, "t2")]),
        write(tmp_path / "x", address, [sent(0, request("ticker")), received(1.1, "x1")]),
    ]
    async with running(Simulator(recordings=paths, speed=None)) as client, client.socket("ws.kraken.com") as socket:
        for name in asked:
            await send(socket, request(name))
        assert [await socket.get_message() for _ in expected] == expected


async def test_venues_that_share_a_host_are_told_apart_by_the_symbols(tmp_path: Path) -> None:
    url = "wss://fstream.binance.com/stream"
    paths = [
        write(tmp_path / "a", url, [received(0, "option")], "BINANCE", symbols=["BTC-251219-89000-C"]),
        write(tmp_path / "b", url, [received(0, "perp")], "BINANCE_FUTURES", symbols=["BTCUSDT"]),
    ]
    async with running(Simulator(recordings=paths, speed=None)) as client:
        for stream, expected in (("btcusdt@depth", "perp"), ("btc-251219-89000-c@depth", "option")):
            async with client.socket(f"fstream.binance.com/public/stream?streams={stream}") as socket:
                assert await socket.get_message() == expected
        stats = await client.stats()
        assert [(row["exchange"], row["host"]) for row in stats["recordings"]] == [("BINANCE", "fstream.binance.com")]


async def test_time_is_kept_divided_by_the_speed(tmp_path: Path) -> None:
    events = [received(0, "1"), received(2, "2"), received(4000, "3")]
    path = write(tmp_path / "a", "wss://ws.kraken.com", events)
    async with running(Simulator(recordings=[path], speed=20)) as client, client.socket("ws.kraken.com") as socket:
        await send(socket, {"event": "subscribe"})
        times = []
        for _ in range(3):
            await socket.get_message()
            times.append(trio.current_time())
    assert 0.07 < times[1] - times[0] < 0.2  # 2 s
    assert 0.2 < times[2] - times[1] < 0.4  # a jump of an hour is cut to 5 s


async def test_the_stream_is_held_until_the_snapshot_was_fetched(tmp_path: Path) -> None:
    events = [received(0, "1"), snapshot(0, "BTCUSDT", '{"lastUpdateId": 1.0}'), received(0, "2")]
    url = "wss://stream.binance.com:9443/stream?streams=btcusdt@depth@100ms"
    path = write(tmp_path / "a", url, events, "BINANCE", symbols=["BTCUSDT"])
    address = "stream.binance.com:9443/stream?streams=btcusdt@depth@100ms"
    async with running(Simulator(recordings=[path], speed=None)) as client, client.socket(address) as socket:
        assert await socket.get_message() == "1"
        with trio.move_on_after(0.3):
            raise AssertionError(f"{await socket.get_message()!r} came before the snapshot")
        reply = await client.http("data-api.binance.vision/api/v3/depth?limit=5&symbol=btcusdt")
        assert (reply.status, reply.body) == (200, b'{"lastUpdateId": 1.0}')
        assert await socket.get_message() == "2"
        again = await client.http("api.binance.com/api/v3/depth?symbol=BTCUSDT")
        assert again.status == 404
        assert set(again.json()) == {"code", "msg"}


async def test_snapshots_asked_for_one_after_the_other_in_the_wrong_order_do_not_lock_up(tmp_path: Path) -> None:
    events = [snapshot(0, "A", '"a"'), received(0, "1"), snapshot(0, "B", '"b"'), received(0, "2")]
    path = write(tmp_path / "a", "wss://stream.binance.com:9443/stream", events, "BINANCE")
    address = "stream.binance.com/stream"
    async with running(Simulator(recordings=[path], speed=None)) as client, client.socket(address) as socket:
        await send(socket, {"method": "SUBSCRIBE", "params": ["a@depth@100ms", "b@depth@100ms"], "id": 4})
        assert json.loads(await socket.get_message()) == {"result": None, "id": 4}
        assert await client.get("api.binance.com/api/v3/depth?symbol=B") == "b"
        assert await client.get("api.binance.com/api/v3/depth?symbol=A") == "a"
        assert [await socket.get_message() for _ in range(2)] == ["1", "2"]


async def test_instrument_lists_beside_the_recording_are_served(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", "wss://ws.okx.com:8443/ws/v5/public", [], "OKX")
    base = "https://www.okx.com/api/v5/public/instruments?instType="
    responses = [{"url": base + kind, "t": 0, "body": {"data": [kind]}} for kind in ("SPOT", "SWAP")]
    with gzip.open(tmp_path / "instruments.json.gz", "wt") as file:
        json.dump({"format": "level4.instruments", "version": 1, "responses": responses}, file)
    async with running(Simulator(recordings=[path])) as client:
        assert await client.get("www.okx.com/api/v5/public/instruments?instType=SWAP") == {"data": ["SWAP"]}
        assert await client.get("www.okx.com/api/v5/public/instruments?instType=SPOT") == {"data": ["SPOT"]}
        assert (await client.http("www.okx.com/api/v5/public/instruments?instType=OPTION")).status == 404


async def test_a_loop_closes_the_connection_and_starts_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "wss://ws.kraken.com", [received(0, "1"), received(0, "2")])
    async with running(Simulator(recordings=[path], speed=None, loop=True)) as client:
        for _ in range(2):
            async with client.socket("ws.kraken.com") as socket:
                await send(socket, {"event": "subscribe"})
                assert [await socket.get_message() for _ in range(2)] == ["1", "2"]
                with pytest.raises(ConnectionClosed):
                    await socket.get_message()


async def test_a_file_cut_short_is_served_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "wss://ws.kraken.com", [received(0, "1"), received(0, "2")])
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:-5]))
    async with running(Simulator(recordings=[path], speed=None)) as client, client.socket("ws.kraken.com") as socket:
        await send(socket, {"event": "subscribe"})
        assert await socket.get_message() == "1"
        with trio.move_on_after(0.2) as quiet:
            await socket.get_message()
        assert quiet.cancelled_caught


@pytest.mark.parametrize("header", [{"version": 2}, {"format": "other"}, {"url": None}])
def test_what_cannot_be_served_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    url = header.pop("url", "wss://ws.kraken.com")
    path = write(tmp_path / "a.jsonl.gz", url, [], **header)
    with pytest.raises(ConfigError, match=r"a\.jsonl\.gz"):
        Simulator(recordings=[path])


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_text("hello\n")
    with pytest.raises(ConfigError, match="expected a recording"):
        Simulator(recordings=[path])


@pytest.mark.parametrize(
    ("folder", "name", "address", "request_"),
    [
        ("KRAKEN.SPOT", "ws-50", "ws.kraken.com", {"event": "subscribe", "subscription": {"name": "book"}}),
        ("COINBASE.SPOT", "ws-28", "ws-feed.exchange.coinbase.com", {"type": "subscribe", "channels": ["level2"]}),
        ("BITFINEX.SPOT", "ws-11", "api-pub.bitfinex.com/ws/2", {"event": "subscribe", "channel": "book"}),
    ],
)
async def test_real_recordings_arrive_whole(
    recordings: Path, folder: str, name: str, address: str, request_: Json
) -> None:
    path = recordings / folder / f"{name}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = [json.loads(line) for line in file][1:]
    expected = [event["d"] for event in events if event["k"] == "recv"]
    async with running(Simulator(recordings=[path], speed=None)) as client, client.socket(address) as socket:
        await send(socket, request_)
        assert [await socket.get_message() for _ in expected] == expected


async def test_a_real_binance_recording_with_its_rest_snapshots(recordings: Path) -> None:
    folder = recordings / "BINANCE.SPOT"
    async with running(Simulator(recordings=[folder / "ws-1.jsonl.gz"], speed=None)) as client:
        listing = await client.get("api.binance.com/api/v3/exchangeInfo")
        assert {"NKNUSDT", "RUNEEUR"} <= {row["symbol"] for row in listing["symbols"]}
        async with client.socket("stream.binance.com:9443/stream") as socket, trio.open_nursery() as nursery:
            await send(socket, {"method": "SUBSCRIBE", "params": ["runeeur@depth@100ms"], "id": 1})
            for symbol in ("RUNEEUR", "NKNUSDT"):
                nursery.start_soon(client.get, f"api.binance.com/api/v3/depth?symbol={symbol}&limit=1000")
            kinds = [json.loads(await socket.get_message()).get("stream") for _ in range(229)]
            assert kinds[0] is None  # the acknowledgement
            assert "runeeur@depth@100ms" in kinds


@pytest.fixture
def all_recordings(recordings: Path) -> list[Path]:
    return [path for path in sorted(recordings.glob("*/*.jsonl.gz")) if "expected" not in path.name]


@pytest.mark.slow
@pytest.mark.recordings
async def test_every_real_recording_arrives_whole(all_recordings: list[Path]) -> None:
    assert len(all_recordings) > 20
    for path in all_recordings:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            header, *events = [json.loads(line) for line in file]
        asked = [event["d"] for event in events if event["k"] == "send"] or ['{"op":"subscribe"}']
        fetched = [event["url"].partition("://")[2] for event in events if event["k"] == "http"]
        async with (
            running(Simulator(recordings=[path], speed=None)) as client,
            client.socket(header["url"].partition("://")[2]) as socket,
            trio.open_nursery() as nursery,
        ):
            for message in asked:
                await socket.send_message(message)
            for address in fetched:
                nursery.start_soon(client.get, address)
            for event in events:
                if event["k"] == "recv":
                    assert await socket.get_message() == event["d"], path
