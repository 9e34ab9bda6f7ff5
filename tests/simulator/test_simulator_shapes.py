"""Synthetic frames have the keys and JSON types of the recorded ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simulated import Json, running, send, shape, until

from level4.simulator import Simulator

KRAKEN = "ws.kraken.com/v2"
BINANCE = "stream.binance.com:9443/stream"
EXCHANGE = "ws-feed.exchange.coinbase.com"
ADVANCED = "advanced-trade-ws.coinbase.com"
BOOK = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}, "req_id": 1}
TRADES = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False}}
STREAMS = {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@trade"], "id": 1}
CHANNELS = {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2_batch", "matches"]}
LEVEL2 = {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "level2"}
MARKET_TRADES = {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "market_trades"}


def kind(name: str, **wanted: str) -> tuple[str, Callable[[Json], bool]]:
    return name, lambda message: all(message.get(key) == value for key, value in wanted.items())


def kraken(channel: str, type_: str) -> tuple[str, Callable[[Json], bool]]:
    def wanted(message: Json) -> bool:
        return (message.get("channel"), message.get("type")) == (channel, type_) and bool(message["data"])

    return f"{channel} {type_}", wanted


def stream(ending: str) -> tuple[str, Callable[[Json], bool]]:
    def wanted(message: Json) -> bool:
        data = message.get("data", {})
        return str(message.get("stream")).endswith(ending) and data.get("b") != [] and data.get("a") != []

    return ending, wanted


def advanced(channel: str, type_: str) -> tuple[str, Callable[[Json], bool]]:
    def wanted(message: Json) -> bool:
        return bool(message.get("channel") == channel and message["events"][0].get("type") == type_)

    return f"{channel} {type_}", wanted


CASES = [
    ("KRAKEN.SPOT/v2-example", KRAKEN, [BOOK], kraken("book", "snapshot")),
    ("KRAKEN.SPOT/v2-example", KRAKEN, [BOOK], kraken("book", "update")),
    ("KRAKEN.SPOT/v2-example", KRAKEN, [TRADES], kraken("trade", "update")),
    ("KRAKEN.SPOT/v2-example", KRAKEN, [TRADES | {"req_id": 1}], kind("ack", method="subscribe")),
    ("BINANCE.SPOT/hft-ethusdt", BINANCE, [STREAMS], stream("@depth@100ms")),
    ("BINANCE.SPOT/hft-ethusdt", BINANCE, [STREAMS], stream("@trade")),
    ("COINBASE.SPOT/ws-28", EXCHANGE, [CHANNELS], kind("l2update", type="l2update")),
    ("COINBASE.SPOT/ws-28", EXCHANGE, [CHANNELS], kind("match", type="match")),
    ("COINBASE.SPOT/ws-28", EXCHANGE, [CHANNELS], kind("last_match", type="last_match")),
    ("COINBASE.SPOT/advanced-example", ADVANCED, [LEVEL2], advanced("l2_data", "snapshot")),
    ("COINBASE.SPOT/advanced-example", ADVANCED, [LEVEL2], advanced("l2_data", "update")),
    ("COINBASE.SPOT/advanced-trades-example", ADVANCED, [MARKET_TRADES], advanced("market_trades", "update")),
]


@pytest.mark.parametrize(
    ("recording", "address", "requests", "wanted"),
    [pytest.param(*case[:3], case[3][1], id=f"{case[0]} {case[3][0]}") for case in CASES],
)
async def test_a_frame_has_the_recorded_keys_and_types(
    recordings: Path, recording: str, address: str, requests: list[Json], wanted: Callable[[Json], bool]
) -> None:
    real = next(filter(wanted, recorded(recordings / f"{recording}.jsonl.gz", "recv")))
    async with running(Simulator(rate=300, trade_rate=60)) as client, client.socket(address) as socket:
        for request in requests:
            await send(socket, request)
        made = await until(socket, lambda m: wanted(m) and [] not in _lists(m), read=json.loads)
    if [] in _lists(real):  # an empty side says nothing about the shape of its levels
        assert made.keys() == real.keys()
        assert made["data"][0].keys() == real["data"][0].keys()
    else:
        assert shape(made) == shape(real)


async def test_the_rest_snapshot_has_the_recorded_keys_and_types(recordings: Path) -> None:
    real = next(recorded(recordings / "BINANCE.SPOT/hft-ethusdt.jsonl.gz", "http"))
    async with running(Simulator()) as client:
        made = await client.get("api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000")
    assert shape(made) == shape(real)


async def test_lists_of_instruments_have_recorded_keys(recordings: Path) -> None:
    with gzip.open(recordings / "KRAKEN.SPOT/instruments.json.gz") as file:
        pairs = json.load(file)["responses"][-1]["body"]["result"]
    with gzip.open(recordings / "BINANCE.SPOT/instruments.json.gz") as file:
        symbols = json.load(file)["responses"][-1]["body"]["symbols"]
    async with running(Simulator()) as client:
        made = (await client.get("api.kraken.com/0/public/AssetPairs"))["result"]["XXBTZUSD"]
        real = pairs["ADAXBT"]
        assert {"altname", "wsname", "base", "quote", "pair_decimals", "lot_decimals"} <= made.keys() & real.keys()
        assert shape({key: made[key] for key in made.keys() & real.keys()}) == shape(
            {key: real[key] for key in made.keys() & real.keys()}
        )
        made = (await client.get("api.binance.com/api/v3/exchangeInfo"))["symbols"][0]
        assert {"symbol", "status", "baseAsset", "quoteAsset", "filters"} <= made.keys() & symbols[0].keys()
        assert shape(made["filters"]) == shape(symbols[0]["filters"])


def recorded(path: Path, event_kind: str) -> Iterator[Json]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = [json.loads(line) for line in file][1:]
    return (json.loads(event["d"]) for event in events if event["k"] == event_kind)


def _lists(value: Json) -> list[Json]:
    """All lists in a message."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in _lists(item)]
    if isinstance(value, list):
        return [value, *(found for item in value for found in _lists(item))]
    return []
