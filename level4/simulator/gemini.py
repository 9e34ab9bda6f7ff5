"""Synthetic Gemini spot: the WebSocket API of 2026 (developer.gemini.com, websocket, 0.10.7), and beside it the
archived Market Data v2 (in `gemini_v2`) over the same markets.

* Streams `{symbol}@depth@100ms` and `{symbol}@trade`. Names in upper case are taken too, answers are lower case. One
  bad name refuses the whole request. (The real one gathers for 100 ms; here every step is a message.)
* With `?snapshot=-1` (whole) or `N` (levels) in the address, the first `depthUpdate` after subscribing is the book; it
  comes before the answer to the request. Numbers come from one range for all symbols, and an update's first one is the
  last one of the update before.
* Frames have no stream name. `m`: the buyer was the maker. `E` is in nanoseconds. Nothing old comes on subscribing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.gemini_v2 import MarketDataV2
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed, whole
from level4.simulator.synthetic import Market, Pace, levels_text, text
from level4.simulator.walk import Fill

_DEPTH, _TRADE = "depth@100ms", "trade"
_INVALID, _UNSUPPORTED = -1013, -1020

Levels = list[tuple[Decimal, Decimal]]


class Gemini(Subscribed):
    exchange = "GEMINI"
    ping_seconds = 20.0

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        facts = [listed(symbol, 8) for symbol in symbols]
        markets = [Market(f"{each.base}{each.quote}".lower(), pace.walk(self.exchange, each)) for each in facts]
        super().__init__(markets, pace, plan)
        self._v2 = MarketDataV2(self)
        self._number = 1_764_527_605_191_349
        self._numbers = dict.fromkeys(self.markets, self._number)
        """Of each market's last step."""

    def speaks(self, address: Address) -> bool:
        return (address.host == "ws.gemini.com" and address.path == "") or MarketDataV2.speaks(address)

    def answers(self, address: Address) -> bool:
        return address.host == "api.gemini.com"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._v2.run)

    def greet(self, session: Session) -> None:
        if MarketDataV2.speaks(session.address):
            self._v2.greet(session)

    def left(self, session: Session) -> None:
        self._v2.left(session)

    def handle(self, session: Session, message: str) -> None:
        request = decoded(message)
        if MarketDataV2.speaks(session.address):
            self._v2.handle(session, request)
            return
        if not isinstance(request, dict):
            session.post(framed({"status": 400, "error": {"code": _INVALID, "msg": "Invalid JSON"}}))
            return
        number, method, names = request.get("id"), str(request.get("method")).lower(), request.get("params", [])
        error: tuple[int, str] | None = None
        if method in ("ping", "time", "conninfo"):
            pass
        elif method == "list_subscriptions":
            joined = [f"{native}@{channel}" for channel, native in self.subscriptions.names(session)]
            session.post(framed({"id": number, "status": 200, "result": joined}))
            return
        elif method not in ("subscribe", "unsubscribe"):
            error = _UNSUPPORTED, f"Unsupported method: {method}"
        elif not isinstance(names, list) or not names:
            error = _INVALID, "Invalid parameters"
        else:
            error = self._streams(session, method, [str(name) for name in names])
        if error is not None:
            code, reason = error
            session.post(framed({"id": number, "status": 400, "error": {"code": code, "msg": reason}}))
        else:
            session.post(framed({"id": number, "status": 200}))

    def _streams(self, session: Session, method: str, names: list[str]) -> tuple[int, str] | None:
        """Join or leave streams. Returns code and reason of a refusal, which is one of them all."""
        streams = [name.lower().partition("@") for name in names]
        for name, (native, _, stream) in zip(names, streams, strict=True):
            if native not in self.markets or stream not in (_DEPTH, _TRADE):
                return _INVALID, f"Invalid stream name: {name}"
            if method == "subscribe" and self.refuses(session, native):
                return _INVALID, f"Refused stream: {name}"
        for native, _, stream in streams:
            if method == "unsubscribe":
                self.subscriptions.remove(stream, native, session)
            elif self.subscriptions.add(stream, native, session) and stream == _DEPTH:
                self._snapshot(session, self.markets[native])
        return None

    def _snapshot(self, session: Session, market: Market) -> None:
        wanted = session.address.parameters().get("snapshot")
        top = whole(wanted, 0)
        if wanted != "-1" and not top:
            return
        book, number = market.walk.book, self._numbers[market.native]
        depth = len(book.bids) + len(book.asks) if wanted == "-1" else top
        session.post(_depth_frame(market, number, number, book.bids.top(depth), book.asks.top(depth)))
        market.tally(session).snapshot(book.best())

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        self._v2.stepped(market, step)
        for fill in step.fills:
            self.publish_trades(_TRADE, market, _trade_frame(market, fill), 1)
        first = self._numbers[market.native]
        self._number += 1 + sum(map(len, step.touched.values()))
        self._numbers[market.native] = self._number
        if self.subscriptions.of(_DEPTH, market.native):
            book = market.walk.book
            bids, asks = ([(p, book[side].size(p)) for p in step.touched[side]] for side in (Side.BID, Side.ASK))
            frame = _depth_frame(market, first, self._number, bids, asks)
            self.publish_book(_DEPTH, market, frame, book.best())

    async def answer(self, request: Request) -> Response:
        match request.address.path.strip("/").split("/"):
            case ["v1", "symbols"]:
                return Response.json(list(self.markets))
            case ["v1", "symbols", "details", native] if native.lower() in self.markets:
                return Response(200, _details(self.markets[native.lower()]))
            case ["v1", "book", native] if native.lower() in self.markets:
                book, now = self.markets[native.lower()].walk.book, str(int(time.time()))
                return Response.json(
                    {
                        name: [{"price": p, "amount": s, "timestamp": now} for p, s in levels_text(list(side))]
                        for name, side in (("bids", book.bids), ("asks", book.asks))
                    }
                )
            case _:
                return self.refusal(404, "EndpointNotFound")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"result": "error", "reason": reason, "message": reason}, status)


def _depth_frame(market: Market, first: int, last: int, bids: Levels, asks: Levels) -> Frame:
    message: dict[str, Any] = {"e": "depthUpdate", "E": time.time_ns(), "s": market.native, "U": first, "u": last}
    return framed(message | {"b": levels_text(bids), "a": levels_text(asks)}, Channel.BOOK, market.native)


def _trade_frame(market: Market, fill: Fill) -> Frame:
    message = {
        "E": time.time_ns(),
        "s": market.native,
        "t": 2_840_141_000_000_000 + fill.trade_id,
        "p": text(fill.price),
        "q": text(fill.size),
        "m": fill.taker == "sell",
    }
    return framed(message, Channel.TRADES, market.native)


def _details(market: Market) -> bytes:
    """`tick_size` is the step of sizes, `quote_increment` that of prices; both are numbers."""
    facts = market.walk.listed
    return msgspec.json.encode(
        {
            "symbol": market.native.upper(),
            "base_currency": facts.base,
            "quote_currency": facts.quote,
            "tick_size": msgspec.Raw(str(facts.lot).encode()),
            "quote_increment": msgspec.Raw(str(facts.tick).encode()),
            "min_order_size": "0.00001",
            "status": "open",
            "product_type": "spot",
        }
    )
