"""Synthetic bitFlyer Lightning: spot and the CFD `FX_BTC_JPY` (bf-lightning-api.readme.io as of 2026-11; recording of
2021-12).

* JSON-RPC 2.0. `lightning_board_snapshot_` repeats the whole book (up to 300 levels a side) every five seconds, the
  first within five seconds of subscribing; `lightning_board_` tells what changes, with the middle price cut down to the
  tick. Neither is numbered. All numbers are JSON numbers, whole ones end in `.0`.
* Executions are lists; `side` is the taker's. Nothing old comes on subscribing.
* A request without `id` gets no ack, a list of requests a list of acks. An unknown product is acknowledged and then
  silent; a channel of no known kind is an error.
* A consumer's book starts with the first snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, number, timestamp
from level4.simulator.walk import Fill

SNAPSHOT_SECONDS = 5.0
LEVELS: Final = 300
_PREFIXES: Final = ("lightning_board_snapshot_", "lightning_board_", "lightning_executions_")
_SNAPSHOT, _BOARD, _EXECUTIONS = _PREFIXES
_FX: Final = "FX_BTC_JPY"
_REGIONS: Final = {"": ("JPY", "BTC"), "/usa": ("USD",), "/eu": ("EUR",)}
"""Which quote currencies are listed where."""

Sides = dict[str, list[tuple[Decimal, Decimal]]]


class Bitflyer(Subscribed):
    exchange = "BITFLYER"
    ping_seconds = 15.0

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Markets in dollars are listed in yen; BTC in yen has a CFD too."""
        markets: dict[str, Market] = {}
        for symbol in symbols:
            facts = listed(f"{symbol[:-3]}JPY" if symbol.upper().endswith("/USD") else symbol, 8)
            natives = [f"{facts.base}_{facts.quote}"]
            natives += [_FX] if _FX.endswith(natives[0]) else []
            for native in natives:
                markets[native] = Market(native, pace.walk(f"BITFLYER.{native}", replace(facts)))
        super().__init__(markets.values(), pace, plan)

    def speaks(self, address: Address) -> bool:
        return address.host == "ws.lightstream.bitflyer.com" and address.path == "/json-rpc"

    def answers(self, address: Address) -> bool:
        return address.host == "api.bitflyer.com"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._run_snapshots)

    def handle(self, session: Session, message: str) -> None:
        request = decoded(message)
        if isinstance(request, list):
            replies = [reply for each in request if (reply := self._call(session, each)) is not None]
            if replies:
                session.post(framed(replies))
        elif (reply := self._call(session, request)) is not None:
            session.post(framed(reply))

    def _call(self, session: Session, request: Any) -> dict[str, Any] | None:
        """The answer, if there is to be one."""
        if not isinstance(request, dict):
            return _error(None, -32700, "Parse error")
        number, params = request.get("id"), request.get("params")
        if request.get("method") not in ("subscribe", "unsubscribe"):
            return _error(number, -32601, "Method not found")
        name = str(params.get("channel")) if isinstance(params, dict) else ""
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is None:
            return _error(number, -32602, "invalid channel")
        native = name.removeprefix(prefix)
        if native in self.markets:  # an unknown product is acknowledged, and nothing ever comes
            if request["method"] == "unsubscribe":
                self.subscriptions.remove(prefix, native, session)
            elif self.refuses(session, native):
                return _error(number, -32602, "refused")
            elif not self.subscriptions.add(prefix, native, session):
                return _error(number, -32009, "already subscribed")
        return None if number is None else {"jsonrpc": "2.0", "id": number, "result": True}

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        if step.fills and self.subscriptions.of(_EXECUTIONS, market.native):
            rows = ",".join(_execution(fill) for fill in step.fills)
            frame = Frame(_message(_EXECUTIONS, market, f"[{rows}]"), Channel.TRADES, market.native)
            self.publish_trades(_EXECUTIONS, market, frame, len(step.fills))
        if self.subscriptions.of(_BOARD, market.native):
            book = market.walk.book
            sides = {
                name: [(price, book[side].size(price)) for price in step.touched[side]]
                for name, side in (("bids", Side.BID), ("asks", Side.ASK))
            }
            frame = Frame(_message(_BOARD, market, _board(market, sides)), Channel.BOOK, market.native)
            self.publish_book(_BOARD, market, frame, book.best())

    async def _run_snapshots(self) -> None:
        while True:
            await trio.sleep(SNAPSHOT_SECONDS)
            for market in self.markets.values():
                listening = self.subscriptions.of(_SNAPSHOT, market.native)
                if listening:
                    book = market.walk.book
                    sides = {"bids": book.bids.top(LEVELS), "asks": book.asks.top(LEVELS)}
                    frame = Frame(_message(_SNAPSHOT, market, _board(market, sides)), Channel.BOOK, market.native)
                    for session in listening:
                        session.post(frame)
                        market.tally(session).snapshot(book.best())

    async def answer(self, request: Request) -> Response:
        path, asked = request.address.path, request.address.parameters()
        for region, quotes in _REGIONS.items():
            if path in (f"/v1/getmarkets{region}", f"/v1/markets{region}"):
                listed_here = [market for market in self.markets.values() if market.walk.listed.quote in quotes]
                return Response.json(
                    [
                        {"product_code": market.native, "market_type": "FX" if market.native == _FX else "Spot"}
                        for market in listed_here
                    ]
                )
        market = self.markets.get(asked.get("product_code", "BTC_JPY"))
        if path == "/v1/getboard" and market is not None:
            sides = {"bids": list(market.walk.book.bids), "asks": list(market.walk.book.asks)}
            return Response(200, _board(market, sides).encode())
        if path == "/v1/getboardstate" and market is not None:
            return Response.json({"health": "NORMAL", "state": "RUNNING"})
        return self.refusal(404, "Not Found")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"status": -1, "error_message": reason, "data": None}, status)


def _error(number: object, code: int, reason: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": reason}}


def _message(prefix: str, market: Market, content: str) -> str:
    channel = f"{prefix}{market.native}"
    return f'{{"jsonrpc":"2.0","method":"channelMessage","params":{{"channel":"{channel}","message":{content}}}}}'


def _board(market: Market, sides: Sides) -> str:
    (bid, _), (ask, _) = market.walk.book.bids.top(1)[0], market.walk.book.asks.top(1)[0]
    tick = market.walk.listed.tick
    middle = (bid + ask) / 2 // tick * tick
    rows = {
        name: ",".join(f'{{"price":{number(price)},"size":{number(size)}}}' for price, size in levels)
        for name, levels in sides.items()
    }
    return f'{{"mid_price":{number(middle)},"bids":[{rows["bids"]}],"asks":[{rows["asks"]}]}}'


def _execution(fill: Fill) -> str:
    now = timestamp(6)
    stamp = f"{now[:-1]}3Z"  # seven digits
    orders = [
        f"JRF{now[:10].replace('-', '')}-{now[11:19].replace(':', '')}-{fill.trade_id % 10**6 + i:06d}" for i in (0, 1)
    ]
    return (
        f'{{"id":{fill.trade_id},"side":"{fill.taker.upper()}","price":{number(fill.price)},'
        f'"size":{number(fill.size)},"exec_date":"{stamp}","buy_child_order_acceptance_id":"{orders[0]}",'
        f'"sell_child_order_acceptance_id":"{orders[1]}"}}'
    )
