"""Synthetic HitBTC: spot and perpetuals on one socket, API v3 (api.hitbtc.com as of 2026-09; the same software serves
white labels).

* `orderbook/full`: snapshot, then updates whose number `s` rises by one for each symbol. A symbol that is subscribed
  already is acknowledged and gets no new snapshot.
* An unknown symbol is no error: it is missing from the ack, which names all symbols of the channel on this connection.
* `trades`: with `limit` the last trades come first, as `snapshot`; `s` is the taker's side.
* Ten messages a second; more are refused. (The wording of that refusal is made up.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed, whole
from level4.simulator.synthetic import Market, Pace, levels_text, milliseconds, text, timestamp
from level4.simulator.walk import Fill

MESSAGES_PER_SECOND: Final = 10
_BOOK, _TRADES = "orderbook/full", "trades"
_MOST_HISTORY: Final = 1000


class Hitbtc(Subscribed):
    exchange = "HITBTC"
    ping_seconds = 30.0

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Markets in dollars are listed in USDT, and have a perpetual too."""
        markets: list[Market] = []
        for symbol in symbols:
            facts = listed(symbol)
            if facts.quote == "USD":
                facts = replace(facts, quote="USDT")
                native = f"{facts.base}USDT_PERP"
                markets.append(Market(native, pace.walk("HITBTC.PERP", facts)))
            markets.append(Market(facts.base + facts.quote, pace.walk(self.exchange, facts)))
        super().__init__(markets, pace, plan)
        self._numbers = dict.fromkeys(self.markets, 1_328_123)
        self._times: dict[int, deque[float]] = {}
        """When each session's last messages came."""

    def speaks(self, address: Address) -> bool:
        return address.host == "api.hitbtc.com" and address.path == "/api/3/ws/public"

    def answers(self, address: Address) -> bool:
        return address.host == "api.hitbtc.com"

    def left(self, session: Session) -> None:
        self._times.pop(session.number, None)

    def handle(self, session: Session, message: str) -> None:
        request, now = decoded(message), trio.current_time()
        times = self._times.setdefault(session.number, deque(maxlen=MESSAGES_PER_SECOND))
        if not isinstance(request, dict):
            _error(session, {}, 1, "Invalid json", "JSON request is corrupted.")
        elif len(times) == MESSAGES_PER_SECOND and now - times[0] < 1:
            _error(session, request, 429, "Too many requests", "Action is being rate limited")
        elif request.get("method") not in ("subscribe", "unsubscribe"):
            _error(session, request, 404, "Unsupported API method", f"Method is not supported: {request.get('method')}")
        elif request.get("ch") not in (_BOOK, _TRADES):
            _error(session, request, 2003, "Unknown channel", f"Channel is not supported: {request.get('ch')}")
        else:
            self._subscription(session, request, str(request["ch"]))
        times.append(now)

    def _subscription(self, session: Session, request: dict[str, Any], channel: str) -> None:
        params = request.get("params")
        wanted, limit = (params.get("symbols"), params.get("limit", 0)) if isinstance(params, dict) else (None, 0)
        if not isinstance(wanted, list) or type(limit) is not int or not 0 <= limit <= _MOST_HISTORY:
            _error(session, request, 10001, "Validation error", "symbols or limit")
            return
        fresh: list[Market] = []
        for symbol in wanted:
            market = self.markets.get(symbol) if isinstance(symbol, str) else None
            if market is None:
                continue
            if request["method"] == "unsubscribe":
                self.subscriptions.remove(channel, market.native, session)
            elif not self.refuses(session, market.native) and self.subscriptions.add(channel, market.native, session):
                fresh.append(market)
        names = [native for _, native in self.subscriptions.names(session, channel)]
        result = {"result": {"ch": channel, "subscriptions": names}}
        session.post(framed(result | ({"id": request["id"]} if "id" in request else {})))
        for market in fresh:
            if channel == _BOOK:
                book = market.walk.book
                session.post(
                    self._book_frame("snapshot", market, {Side.BID: list(book.bids), Side.ASK: list(book.asks)})
                )
                market.tally(session).snapshot(book.best())
            elif limit:
                rows = [_trade(fill, milliseconds() - 60_000) for fill in list(market.walk.recent)[-limit:]]
                session.post(framed({"ch": _TRADES, "snapshot": {market.native: rows}}, Channel.TRADES, market.native))

    def _book_frame(self, kind: str, market: Market, sides: dict[Side, list[Any]]) -> Frame:
        content = {
            "t": milliseconds(),
            "s": self._numbers[market.native],
            "a": levels_text(sides[Side.ASK]),
            "b": levels_text(sides[Side.BID]),
        }
        return framed({"ch": _BOOK, kind: {market.native: content}}, Channel.BOOK, market.native)

    def advance(self, market: Market) -> None:
        step, book = market.walk.step(), market.walk.book
        self._numbers[market.native] += 1
        if step.fills and self.subscriptions.of(_TRADES, market.native):
            rows = [_trade(fill, milliseconds()) for fill in step.fills]
            frame = framed({"ch": _TRADES, "update": {market.native: rows}}, Channel.TRADES, market.native)
            self.publish_trades(_TRADES, market, frame, len(rows))
        if self.subscriptions.of(_BOOK, market.native):
            sides = {side: [(price, book[side].size(price)) for price in step.touched[side]] for side in Side}
            self.publish_book(_BOOK, market, self._book_frame("update", market, sides), book.best())

    async def answer(self, request: Request) -> Response:
        asked = request.address.parameters()
        match request.address.path.strip("/").split("/"):
            case ["api", "3", "public", "symbol"]:
                return Response.json({native: _row(market) for native, market in self.markets.items()})
            case ["api", "3", "public", "orderbook", native] if native in self.markets:
                book, depth = self.markets[native].walk.book, whole(asked.get("depth"), 10) or 1_000_000
                sides = {"ask": levels_text(book.asks.top(depth)), "bid": levels_text(book.bids.top(depth))}
                return Response.json({"timestamp": timestamp(3), **sides})
            case _:
                return self.refusal(404, "Not found")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"error": {"code": status, "message": reason, "description": reason}}, status)


def _error(session: Session, request: dict[str, Any], code: int, reason: str, description: str) -> None:
    error = {"error": {"code": code, "message": reason, "description": description}}
    session.post(framed(error | ({"id": request["id"]} if "id" in request else {})))


def _trade(fill: Fill, time: int) -> dict[str, Any]:
    return {"t": time, "i": fill.trade_id, "p": text(fill.price), "q": text(fill.size), "s": fill.taker}


def _row(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    spot = not market.native.endswith("_PERP")
    base = (
        {"type": "spot", "base_currency": facts.base}
        if spot
        else {"type": "futures", "contract_type": "perpetual", "expiry": None, "underlying": facts.base}
        | {"base_currency": None}
    )
    return base | {
        "quote_currency": facts.quote,
        "status": "working",
        "quantity_increment": text(facts.lot),
        "tick_size": text(facts.tick),
        "take_rate": "0.0025" if spot else "0.0007",
        "make_rate": "0.001" if spot else "0.0002",
        "fee_currency": facts.quote,
        "margin_trading": True,
        "max_initial_leverage": "5.00" if spot else "50.00",
    }
