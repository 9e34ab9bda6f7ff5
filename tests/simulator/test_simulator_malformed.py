"""Whatever a client says, the synthetic exchanges with derivatives answer it or cut the client off, and live on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from simulated import Json, running

from level4.simulator import Simulator

ODD: list[Any] = [None, True, -1, 10**30, "x", "é" * 300, [], {}, [[]], [None], {"a": [1]}]
LIST = '{"method":"LIST_SUBSCRIPTIONS","id":987}'
BYE = '{"op":"bye","args":"987"}'
BEATS = '{"event":"unsubscribe","feed":"heartbeat"}'
EXCHANGES: dict[str, tuple[str, list[str], list[str], str, str]] = {
    "fstream.binance.com/public/stream": ("method", ["SUBSCRIBE", "UNSUBSCRIBE"], ["params", "id"], LIST, "987"),
    "dstream.binance.com/ws/x@y": ("method", ["SUBSCRIBE", "UNSUBSCRIBE"], ["params", "id"], LIST, "987"),
    "stream.bybit.com/v5/public/linear": ("op", ["subscribe", "unsubscribe", "ping"], ["args", "req_id"], BYE, "987"),
    "stream.bybit.com/v5/public/option": ("op", ["subscribe", "unsubscribe", "ping"], ["args", "req_id"], BYE, "987"),
    "futures.kraken.com/ws/v1": ("event", ["subscribe", "unsubscribe"], ["feed", "product_ids"], BEATS, "heartbeat"),
    "uws.kraken.com/v2/public": (
        "method", ["subscribe", "unsubscribe", "ping"], ["params", "req_id"], '{"method":"ping","req_id":987}', "987",
    ),
    "www.deribit.com/ws/api/v2": (
        "method",
        ["public/subscribe", "public/unsubscribe_all", "public/set_heartbeat", "public/test"],
        ["params", "id", "jsonrpc"],
        '{"jsonrpc":"2.0","method":"public/test","id":987}',
        "987",
    ),
    "ws.okx.com:8443/ws/v5/public": ("op", ["subscribe", "unsubscribe"], ["args", "id"], "ping", "pong"),
}  # fmt: skip
"""The verb's name and its values, names of other fields, and a last request with what its answer contains."""


def messages(verb: Any, verbs: Any, fields: Any) -> list[Json]:
    whole = {"jsonrpc": "2.0", "feed": "book"}
    found: list[Json] = [*ODD, *({verb: odd} for odd in ODD)]
    for name in verbs:
        found += [whole | {verb: name, field: odd} for field in fields for odd in ODD]
        found += [whole | {verb: name, "params": {"channels": odd, "channel": odd, "interval": odd}} for odd in ODD]
        found += [whole | {verb: name, "args": [{"channel": odd, "instId": odd}]} for odd in ODD]
    return found


@pytest.mark.parametrize("address", EXCHANGES)
async def test_an_exchange_survives_what_clients_say(address: str) -> None:
    *vocabulary, last, answer = EXCHANGES[address]
    async with running(Simulator()) as client:
        left = ["", "{", "\x00", *map(json.dumps, messages(*vocabulary))]
        while left:
            said, left = left[:5], left[5:]  # few enough for every exchange's limits
            async with client.socket(address) as socket:
                for text in [*said, last]:
                    await socket.send_message(text)
                while answer not in str(await socket.get_message()):
                    pass
        assert (await client.stats())["requests"] == {}
