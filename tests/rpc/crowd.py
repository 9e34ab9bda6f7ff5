"""Many clients in a process of their own: `crowd.py PORT CLIENTS CALLS`. Prints one JSON object of outcomes.

Each client has its own connection. Every fifth one cancels a slow call, every fifth one's last call is left hanging
when the process ends without closing anything; the others call and check the answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter

from grpclib.client import Channel
from grpclib.exceptions import GRPCError

from level4.proto.level4_grpc import ControlStub
from level4.proto.level4_pb2 import Market, StartMarketRequest, WatchBookRequest

kept: list[object] = []
"""What must not be closed by the garbage collector before the process ends."""


async def client(number: int, port: int, calls: int, outcomes: Counter[str]) -> None:
    channel = Channel("127.0.0.1", port)
    kept.append(channel)
    stub = ControlStub(channel)
    try:
        for call in range(calls):
            market = Market(id=number * calls + call + 1, base_symbol="echo")
            reply = await stub.StartMarket(StartMarketRequest(market=market), timeout=60)
            outcomes["right" if reply.market == market else "wrong"] += 1
        slow = StartMarketRequest(market=Market(base_symbol="sleep", quote_symbol="60"))
        if number % 5 == 0:
            task = asyncio.create_task(stub.StartMarket(slow))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            outcomes["cancelled"] += 1
        elif number % 5 == 1:
            stream = await stub.WatchBook.open().__aenter__()
            kept.append(stream)
            await stream.send_message(WatchBookRequest(market=slow.market, depth=1))
            await stream.recv_message()
            outcomes["left hanging"] += 1
    except (GRPCError, OSError) as error:
        outcomes[f"failed: {error!r}"] += 1


async def main(port: int, clients: int, calls: int) -> None:
    outcomes: Counter[str] = Counter()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number, port, calls, outcomes))
    print(json.dumps(outcomes), flush=True)
    os._exit(0)  # vanish: no stream, no connection is closed


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
