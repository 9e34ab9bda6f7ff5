"""A process that claims markets on a broker: `ownership_claimer.py ENDPOINT NAME COUNT`.

Prints `ready`, waits for a line on its stdin, claims all ids at once, reads the log to its end, and prints a JSON
object: the milliseconds from claim to read-back, who holds each id in its eyes, which it has won, and how many of its
claims were second.
"""

from __future__ import annotations

import json
import sys
import time

import trio

from level4.cluster.ledger import Ledger, LostError
from level4.model import MarketRequest, MarketType
from level4.ops import logs
from level4.placement import NodeRecord, Writer
from level4.publish import KafkaSettings, LogSettings, OwnershipLog


async def claim_all(endpoint: str, name: str, count: int) -> dict[str, object]:
    settings = LogSettings(KafkaSettings((endpoint,)))
    ledger = Ledger(
        Writer(name, time.time_ns() // 1_000_000),
        lambda deliver: OwnershipLog(settings, deliver),
        about=lambda mark: NodeRecord(by=mark),
        changed=lambda ids: None,
    )
    milliseconds: list[float] = []
    won: list[int] = []
    lost = 0

    async def one(market_id: int) -> None:
        nonlocal lost
        if ledger.known.market(market_id) is not None:
            return  # the other one was faster, and this one has read it
        market = MarketRequest(market_id, "KRAKEN", MarketType.SPOT, "BTC", "USD")
        began = time.perf_counter()
        try:
            await ledger.claim(market)
            won.append(market_id)
        except LostError:
            lost += 1
        milliseconds.append((time.perf_counter() - began) * 1000)

    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await ledger.wait_caught_up()
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        for market_id in range(1, count + 1):  # one after the other: what StartMarket pays, while the other does it too
            await one(market_id)
        sequential, milliseconds = milliseconds, []
        async with trio.open_nursery() as claims:
            for market_id in range(count + 1, 2 * count + 1):
                claims.start_soon(one, market_id)
        await ledger.read_to_end()
        print("claimed", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        await ledger.read_to_end()
        ledger.known.check()
        nursery.cancel_scope.cancel()
    held = {market_id: [e.record.host, e.record.term] for market_id, e in ledger.known.markets().items()}
    return {"sequential": sequential, "burst": milliseconds, "won": won, "lost": lost, "held": held}


if __name__ == "__main__":
    logs.configure("warning", "json")
    print(json.dumps(trio.run(claim_all, sys.argv[1], sys.argv[2], int(sys.argv[3]))), flush=True)
