"""Synthetic Kraken spot, WebSocket v2 (docs.kraken.com as of 2026-11).

* Book messages carry JSON numbers with all their digits. The checksum is the unsigned CRC-32 of the ten best asks and
  then bids, each level being the digits of price and size without point and leading zeros.
* A subscription shows the `depth` best levels of each side. A level that falls out is not deleted; one that comes
  back in is sent again.
* Strict as the exchange: `BTC/USD` and never `XBT/USD`, depth only 10, 25, 100, 500, 1000, one ack per symbol. REST
  speaks the old vocabulary: `XXBTZUSD`, `XBTUSD`, `XBT/USD`.

The wording of errors other than "Currency pair not supported" is not documented and made up here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any, ClassVar, Final
from zlib import crc32

import msgspec
import trio

from level4.simulator.address import Address
from level4.simulator.book import Book, Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, Pace, Synthetic, levels_text, text, timestamp
from level4.simulator.walk import Fill, Step

DEPTHS: Final = (10, 25, 100, 500, 1000)
_CHECKED: Final = 10
_HISTORY: Final = 50
_OLD_CODES: Final = {"BTC": "XBT", "DOGE": "XDG"}
_ASSETS: Final = {
    "BTC": "XXBT",
    "ETH": "XETH",
    "XRP": "XXRP",
    "DOGE": "XXDG",
    "USD": "ZUSD",
    "EUR": "ZEUR",
}
_LONG_KEYS: Final = frozenset({"XXBT", "XETH", "XXRP"})
"""Assets whose pairs with ZUSD have the long key (`XXBTZUSD`); the others use the short one (`SOLUSD`)."""

Bounds = dict[Side, Decimal | None]


@dataclass(frozen=True, slots=True)
class _BookKey:
    market: str
    depth: int


class Kraken(Synthetic):
    exchange = "KRAKEN"
    asset_class: ClassVar[str | None] = None
    """What subscriptions have to name, on the Unified WebSocket."""

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        markets = self.listed(symbols, pace)
        super().__init__(markets, pace, plan)
        self._books: dict[_BookKey, dict[int, Session]] = {}
        self._trades: dict[str, dict[int, Session]] = {}
        self._history: dict[str, list[str]] = {market.native: [] for market in markets}
        self._connections = count(12_345_678_901)

    def listed(self, symbols: Iterable[str], pace: Pace) -> list[Market]:
        return [Market(symbol.upper(), pace.walk(self.exchange, listed(symbol, 8))) for symbol in symbols]

    def speaks(self, address: Address) -> bool:
        return address.host in ("ws.kraken.com", "beta-ws.kraken.com") and address.path == "/v2"

    def answers(self, address: Address) -> bool:
        return address.host == "api.kraken.com"

    async def serve(self, session: Session) -> None:
        number = next(self._connections)
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": number}
        session.post(_control({"channel": "status", "type": "update", "data": [status]}))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heartbeats, session)
                while True:
                    self._handle(session, await session.receive())
        finally:
            for group in [*self._books.values(), *self._trades.values()]:
                group.pop(session.number, None)
            self._count_listeners()
            self.close_tallies(session)

    async def _heartbeats(self, session: Session) -> None:
        while True:
            await trio.sleep(1.0)
            if any(session.number in group for group in [*self._books.values(), *self._trades.values()]):
                session.post(_control({"channel": "heartbeat"}))

    def _handle(self, session: Session, message: str) -> None:
        received = timestamp()
        try:
            request: Any = msgspec.json.decode(message)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict):
            self._reply(session, received, {}, None, error="Malformed request")
            return
        method = request.get("method")
        if method == "ping":
            pong = {"method": "pong", "time_in": received, "time_out": timestamp()}
            session.post(_control(pong | ({"req_id": request["req_id"]} if "req_id" in request else {})))
        elif method in ("subscribe", "unsubscribe"):
            self._subscription(session, received, request)
        else:
            self._reply(session, received, request, None, error="Method not supported")

    def _subscription(self, session: Session, received: str, request: dict[str, Any]) -> None:
        parameters = request.get("params")
        if not isinstance(parameters, dict):
            self._reply(session, received, request, None, error="Params must be an object")
            return
        channel, symbols = parameters.get("channel"), parameters.get("symbol")
        depth = parameters.get("depth", 10)
        if self.asset_class is not None and parameters.get("asset_class") != self.asset_class:
            self._reply(session, received, request, None, error="Asset class not supported")
        elif channel not in ("book", "trade"):
            self._reply(session, received, request, None, error="Channel not supported")
        elif not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols) or not symbols:
            self._reply(session, received, request, None, error="Symbol(s) must be an array of strings")
        elif channel == "book" and (type(depth) is not int or depth not in DEPTHS):
            self._reply(session, received, request, None, error="Subscription depth not supported")
        else:
            for symbol in symbols:
                self._one(session, received, request, channel, symbol, depth)

    def _one(
        self, session: Session, received: str, request: dict[str, Any], channel: str, symbol: str, depth: int
    ) -> None:
        market = self.markets.get(symbol)
        if market is None:
            self._reply(session, received, request, symbol, error=f"Currency pair not supported {symbol}")
            return
        result: dict[str, Any] = {"channel": channel}
        if channel == "book":
            group = self._books.setdefault(_BookKey(symbol, depth), {})
            result["depth"] = depth
        else:
            group = self._trades.setdefault(symbol, {})
        if request["method"] == "unsubscribe":
            if group.pop(session.number, None) is None:
                self._reply(session, received, request, symbol, error="Subscription Not Found")
            else:
                self._reply(session, received, request, symbol, result=result | {"symbol": symbol})
        elif session.number in group or (channel == "book" and self._has_book(session, symbol)):
            self._reply(session, received, request, symbol, error="Already subscribed")
        elif self.plan.for_subscription(self.exchange, session.number, symbol):
            self._reply(session, received, request, symbol, error=f"Subscription refused {symbol}")
        else:
            snapshot = request["params"].get("snapshot", True) is True
            self._reply(session, received, request, symbol, result=result | {"snapshot": snapshot, "symbol": symbol})
            group[session.number] = session
            if snapshot:
                self._snapshot(session, market, channel, depth)
        self._count_listeners()

    def _has_book(self, session: Session, symbol: str) -> bool:
        return any(session.number in self._books.get(_BookKey(symbol, depth), {}) for depth in DEPTHS)

    def _reply(
        self,
        session: Session,
        received: str,
        request: dict[str, Any],
        symbol: str | None,
        error: str | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        reply: dict[str, Any] = {} if error is None else {"error": error}
        if "method" in request:
            reply["method"] = request["method"]
        if result is not None:
            reply["result"] = result
        reply["success"] = error is None
        if error is not None and symbol is not None:
            reply["symbol"] = symbol
        reply |= {"time_in": received, "time_out": timestamp()}
        if "req_id" in request:
            reply["req_id"] = request["req_id"]
        session.post(_control(reply))

    def _count_listeners(self) -> None:
        for market in self.markets.values():
            market.listeners = len(self._trades.get(market.native, ()))
        for key, group in self._books.items():
            self.markets[key.market].listeners += len(group)

    def _snapshot(self, session: Session, market: Market, channel: str, depth: int) -> None:
        if channel == "trade":
            data = f'{{"channel":"trade","type":"snapshot","data":[{",".join(self._history[market.native])}]}}'
            session.post(Frame(data, Channel.TRADES, market.native))
            return
        book = market.walk.book
        frame = _book_frame("snapshot", market.native, book.bids.top(depth), book.asks.top(depth), book)
        session.post(Frame(frame, Channel.BOOK, market.native))
        market.tally(session).snapshot(book.best())

    def advance(self, market: Market) -> None:
        book = market.walk.book
        groups = [(depth, group) for depth in DEPTHS if (group := self._books.get(_BookKey(market.native, depth)))]
        before = {depth: _bounds(book, depth) for depth, _ in groups}
        step = market.walk.step()
        if step.fills:
            self._trade(market, step.fills)
        checked = _bounds(book, _CHECKED)
        for depth, group in groups:
            bids = _window(book, Side.BID, depth, before[depth], step)
            asks = _window(book, Side.ASK, depth, before[depth], step)
            if not bids and not asks:
                continue
            side, first = (Side.BID, bids[0][0]) if bids else (Side.ASK, asks[0][0])
            data = _book_frame("update", market.native, bids, asks, book)
            frame = Frame(data, Channel.BOOK, market.native, book[side].within(first, checked[side]))
            best = book.best()
            for session in group.values():
                session.post(frame)
                market.tally(session).frame(best)

    def _trade(self, market: Market, fills: list[Fill]) -> None:
        now = timestamp()
        trades = [
            f'{{"symbol":"{market.native}","side":"{fill.taker}","price":{text(fill.price)},"qty":{text(fill.size)},'
            f'"ord_type":"market","trade_id":{fill.trade_id},"timestamp":"{now}"}}'
            for fill in fills
        ]
        history = self._history[market.native]
        history += trades
        del history[:-_HISTORY]
        frame = Frame(
            f'{{"channel":"trade","type":"update","data":[{",".join(trades)}]}}', Channel.TRADES, market.native
        )
        for session in self._trades.get(market.native, {}).values():
            session.post(frame)
            market.tally(session).trades += len(fills)

    async def answer(self, request: Request) -> Response:
        address = request.address
        asked = address.parameters()
        if address.path == "/0/public/AssetPairs":
            return self._asset_pairs(asked.get("pair"))
        if address.path == "/0/public/Depth":
            return self._depth(asked.get("pair", ""), asked.get("count", "100"))
        if address.path == "/0/public/Time":
            return Response.json({"error": [], "result": {"unixtime": int(time.time()), "rfc1123": timestamp()}})
        if address.path == "/0/public/SystemStatus":
            return Response.json({"error": [], "result": {"status": "online", "timestamp": timestamp()}})
        return self.refusal(404, "Unknown method")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"error": [f"EGeneral:{reason}"]}, status)

    def _asset_pairs(self, pairs: str | None) -> Response:
        entries = dict(self._entry(market) for market in self.markets.values())
        if pairs is not None:
            wanted = pairs.split(",")
            entries = {key: entry for key, entry in entries.items() if key in wanted or entry["altname"] in wanted}
            if len(entries) < len(wanted):
                return Response.json({"error": ["EQuery:Unknown asset pair"]})
        else:
            entries |= {  # dark pools are listed beside the others, without a WebSocket name
                f"{key}.d": {k: v for k, v in entry.items() if k != "wsname"} | {"altname": f"{entry['altname']}.d"}
                for key, entry in entries.items()
                if key == "XXBTZUSD"
            }
        return Response.json({"error": [], "result": entries})

    def _entry(self, market: Market) -> tuple[str, dict[str, Any]]:
        facts = market.walk.listed
        base, quote = _ASSETS.get(facts.base, facts.base), _ASSETS.get(facts.quote, facts.quote)
        old = [_OLD_CODES.get(code, code) for code in (facts.base, facts.quote)]
        long_key = base in _LONG_KEYS and quote in (*_LONG_KEYS, "ZUSD", "ZEUR")
        return f"{base}{quote}" if long_key else "".join(old), {
            "altname": "".join(old),
            "wsname": "/".join(old),
            "aclass_base": "currency",
            "base": base,
            "aclass_quote": "currency",
            "quote": quote,
            "lot": "unit",
            "cost_decimals": 5,
            "pair_decimals": facts.price_decimals,
            "lot_decimals": facts.lot_decimals,
            "lot_multiplier": 1,
            "ordermin": text(facts.lot * 5000),
            "costmin": "0.5",
            "tick_size": text(facts.tick),
            "status": "online",
        }

    def _depth(self, pair: str, levels: str) -> Response:
        for market in self.markets.values():
            key, entry = self._entry(market)
            if pair in (key, entry["altname"], entry["wsname"]):
                depth = min(500, int(levels)) if levels.isdigit() else 100
                book, now = market.walk.book, int(time.time())
                sides = {"asks": book.asks.top(depth), "bids": book.bids.top(depth)}
                rows = {name: [(*row, now) for row in levels_text(side)] for name, side in sides.items()}
                return Response.json({"error": [], "result": {key: rows}})
        return Response.json({"error": ["EQuery:Unknown asset pair"]})


def _bounds(book: Book, depth: int) -> Bounds:
    return {side: book[side].boundary(depth) for side in Side}


def _window(book: Book, side: Side, depth: int, before: Bounds, step: Step) -> list[tuple[Decimal, Decimal]]:
    """The levels a subscription of `depth` is sent for a step: changed ones it can see, and ones that came in."""
    levels, was, now = book[side], before[side], book[side].boundary(depth)
    touched = step.touched[side]
    entries = []
    for price in touched:
        size = levels.size(price)
        if levels.within(price, now if size else was):
            entries.append((price, size))
    if was is not None:
        entries += [level for level in levels.beyond(was, now) if level[0] not in touched]
    return entries


def checksum(book: Book) -> int:
    digits = "".join(
        text(number).replace(".", "").lstrip("0")
        for levels in (book.asks, book.bids)
        for level in levels.top(_CHECKED)
        for number in level
    )
    return crc32(digits.encode())


def _book_frame(
    kind: str, symbol: str, bids: list[tuple[Decimal, Decimal]], asks: list[tuple[Decimal, Decimal]], book: Book
) -> str:
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{_rows(bids)}],'
        f'"asks":[{_rows(asks)}],"checksum":{checksum(book)},"timestamp":"{timestamp()}"}}]}}'
    )


def _rows(levels: list[tuple[Decimal, Decimal]]) -> str:
    return ",".join(f'{{"price":{text(price)},"qty":{text(size)}}}' for price, size in levels)


def _control(message: dict[str, Any]) -> Frame:
    return Frame(msgspec.json.encode(message).decode())
