"""A client of the simulator that is nothing but ccxt: its subscriptions, its decoding, its checksums, its book. Only
addresses are changed, and the one market is made known without asking for all lists. Runs in ccxt's own environment:

    python ccxt_client.py PORT EXCHANGE SYMBOL NATIVE   prints a line of JSON for each change: [bids, asks], the top.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

TOP = 10


def local(value: Any, port: str, hostname: str) -> Any:
    """Every host becomes the first part of a path on the local port."""
    if isinstance(value, dict):
        return {key: local(one, port, hostname) for key, one in value.items()}
    if isinstance(value, str) and "://" in value:
        scheme, _, rest = value.replace("{hostname}", hostname).partition("://")
        return f"{'ws' if scheme.startswith('ws') else 'http'}://127.0.0.1:{port}/{rest}"
    return value


def market(symbol: str, native: str) -> dict[str, Any]:
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    kinds = {"spot": not settle, "swap": bool(settle), "contract": bool(settle), "linear": settle == quote}
    names = {"id": native, "lowercaseId": native.lower(), "symbol": symbol, "base": base, "quote": quote}
    facts = {
        "baseId": base,
        "quoteId": quote,
        "future": False,
        "option": False,
        "margin": False,
        "active": True,
        "limits": {},
    }
    precision = {"precision": {"price": None, "amount": None}}
    info = {"info": {"wsname": native}}
    return names | kinds | facts | precision | info | {"type": "swap" if settle else "spot", "settle": settle or None}


async def main(port: str, name: str, symbol: str, native: str) -> None:
    exchange = getattr(importlib.import_module("ccxt.pro"), name)({"options": {"checksum": True}})
    exchange.urls = local(exchange.urls, port, exchange.hostname or "")
    exchange.set_markets([market(symbol, native)])
    try:
        while True:
            book = await exchange.watch_order_book(symbol)
            print(json.dumps([[level[:2] for level in book[side][:TOP]] for side in ("bids", "asks")]), flush=True)
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
