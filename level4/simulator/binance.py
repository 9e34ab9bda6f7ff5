"""Synthetic Binance spot (binance-spot-api-docs as of 2026-07).

* The book comes as differences gathered over 100 ms (or 1 s) and a snapshot by REST: update ids are counted per
  changed level, a difference covers `U` … `u`, and differences follow each other without a hole.
* A stream of an unknown symbol is acknowledged and stays silent. More than five messages a second from the client end
  the connection. REST has a weight budget: beyond it 429, and 418 for a client that goes on regardless.
* A consumer's book starts with the REST snapshot, so that is where its counts begin. The snapshot is not tied to a
  connection: it starts the counts of every connection that has the stream and no snapshot yet. A difference that is
  under way at that moment is counted; a consumer may apply it together with the snapshot and see one change less.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import msgspec
import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, Pace, Synthetic

MESSAGES_PER_SECOND: Final = 5
MAX_STREAMS: Final = 1024
_FLUSH_SECONDS: Final = 0.1
_PING_SECONDS: Final = 20.0
_PONG_SECONDS: Final = 60.0
_PATIENCE: Final = 5
"""How many requests are answered 429 before the ban."""
_BAN_SECONDS: Final = 120
_WIRE: Final = Decimal("0.00000001")
_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (5000, 250))
_FAST, _SLOW = "@depth@100ms", "@depth"


@dataclass(slots=True)
class _Difference:
    """What changed since the last frame of one stream."""

    first: int = 0
    touched: dict[Side, dict[Decimal, None]] = field(default_factory=lambda: {Side.BID: {}, Side.ASK: {}})


@dataclass(slots=True)
class _State:
    update_id: int
    snapshot_ids: dict[int, int] = field(default_factory=dict)
    """By session: the update id at which its counts began."""
    differences: dict[str, _Difference] = field(default_factory=lambda: {_FAST: _Difference(), _SLOW: _Difference()})


class _Budget:
    """REST weight by minute."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._limit = limit
        self._minute = 0
        self._refused = 0
        self._banned_until = 0.0

    def spend(self, weight: int) -> tuple[int, int] | None:
        """Refusal as status and seconds to wait, or None."""
        now = trio.current_time()
        if now < self._banned_until:
            return 418, int(self._banned_until - now) + 1
        if int(now / 60) != self._minute:
            self._minute, self.used, self._refused = int(now / 60), 0, 0
        self.used += weight
        if self.used <= self._limit:
            return None
        self._refused += 1
        if self._refused > _PATIENCE:
            self._banned_until = now + _BAN_SECONDS
            return 418, _BAN_SECONDS
        return 429, int(60 - now % 60) + 1


class Binance(Synthetic):
    exchange = "BINANCE"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan, weight: int = 6000) -> None:
        """Markets in USD are listed in USDT. `weight`: the REST budget a minute."""
        markets = []
        for symbol in symbols:
            base, _, quote = symbol.upper().partition("/")
            facts = listed(f"{base}/{'USDT' if quote == 'USD' else quote}")
            markets.append(Market(facts.base + facts.quote, pace.walk(self.exchange, facts)))
        super().__init__(markets, pace, plan)
        self._states = {market.native: _State(1_000_000 + market.walk.trade_id) for market in markets}
        self._streams: dict[str, dict[int, Session]] = {}
        self._budget = _Budget(weight)
        self._weight = weight

    def speaks(self, address: Address) -> bool:
        known = address.host in ("stream.binance.com", "data-stream.binance.vision")
        return known and (address.path in ("/stream", "/ws") or address.path.startswith("/ws/"))

    def answers(self, address: Address) -> bool:
        return address.host in ("api.binance.com", "api-gcp.binance.com", "data-api.binance.vision") or (
            address.host.startswith("api") and address.host.endswith(".binance.com") and address.host[3:4].isdigit()
        )

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._flush)

    async def serve(self, session: Session) -> None:
        path = session.address.path
        streams = session.address.parameters().get("streams", "") if path == "/stream" else path.removeprefix("/ws")
        for stream in filter(None, streams.split("/")):
            self._streams.setdefault(stream, {})[session.number] = session
        self._count_listeners()
        times: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pings, session)
                while True:
                    message = await session.receive()
                    now = trio.current_time()
                    if len(times) == MESSAGES_PER_SECOND and now - times[0] < 1:
                        session.end(Fault(FaultKind.CLOSE, code=1008))
                    times.append(now)
                    session.post(_control(self._handle(session, message)))
        finally:
            for group in self._streams.values():
                group.pop(session.number, None)
            for state in self._states.values():
                state.snapshot_ids.pop(session.number, None)
            self._count_listeners()
            self.close_tallies(session)

    async def _pings(self, session: Session) -> None:
        while True:
            await trio.sleep(_PING_SECONDS)
            with trio.move_on_after(_PONG_SECONDS) as waiting:
                await session.ping()
            if waiting.cancelled_caught:
                session.end(Fault(FaultKind.CLOSE, code=1008))

    def _handle(self, session: Session, message: str) -> dict[str, Any]:
        """The reply to a client's message."""
        try:
            request: Any = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}
        if not isinstance(request, dict) or "method" not in request:
            return {"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 73"}
        number, method, streams = request.get("id"), request["method"], request.get("params", [])
        if not (number is None or type(number) is int or (isinstance(number, str) and len(number) <= 36)):
            return {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}
        if method == "LIST_SUBSCRIPTIONS":
            joined = [stream for stream, group in self._streams.items() if session.number in group]
            return {"result": joined, "id": number}
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            expected = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
            said = f"Invalid request: unknown variant {method}, expected one of {expected} at line 1 column 28"
            return {"code": 2, "msg": said, "id": number}
        if not isinstance(streams, list) or not all(isinstance(stream, str) for stream in streams) or not streams:
            return {"code": 1, "msg": "Invalid value type: expected array of strings", "id": number}
        if method == "UNSUBSCRIBE":
            for stream in streams:
                self._streams.get(stream, {}).pop(session.number, None)
        else:
            joined = [stream for stream, group in self._streams.items() if session.number in group]
            if len({*joined, *streams}) > MAX_STREAMS:
                return {"code": 2, "msg": "Invalid request: too many parameters", "id": number}
            natives = [stream.partition("@")[0].upper() for stream in streams]
            if any(self.plan.for_subscription(self.exchange, session.number, native) for native in natives):
                return {"code": 2, "msg": "Invalid request: refused", "id": number}
            for stream in streams:  # an upper-case or unknown name is acknowledged, and nothing ever comes
                self._streams.setdefault(stream, {})[session.number] = session
        self._count_listeners()
        return {"result": None, "id": number}

    def _count_listeners(self) -> None:
        self._streams = {stream: group for stream, group in self._streams.items() if group}
        for market in self.markets.values():
            name = market.native.lower()
            streams = (f"{name}{_FAST}", f"{name}{_SLOW}", f"{name}@trade")
            market.listeners = sum(len(self._streams.get(stream, ())) for stream in streams)

    def advance(self, market: Market) -> None:
        state = self._states[market.native]
        step = market.walk.step()
        for difference in state.differences.values():
            difference.first = difference.first or state.update_id + 1
            for side, prices in step.touched.items():
                difference.touched[side] |= prices
        state.update_id += sum(map(len, step.touched.values()))
        group = self._streams.get(f"{market.native.lower()}@trade", {})
        for fill in step.fills if group else ():
            now = _milliseconds()
            data = {
                "e": "trade", "E": now, "s": market.native, "t": fill.trade_id, "p": _text(fill.price),
                "q": _text(fill.size), "T": now, "m": fill.taker == "sell", "M": True,
            }  # fmt: skip
            self._post(group, f"{market.native.lower()}@trade", data, Channel.TRADES, market.native)
            for session in group.values():
                market.tally(session).trades += 1

    async def _flush(self) -> None:
        rounds = 0
        while True:
            await trio.sleep(_FLUSH_SECONDS)
            rounds += 1
            for market in self.markets.values():
                self._flush_one(market, _FAST)
                if rounds % 10 == 0:
                    self._flush_one(market, _SLOW)

    def _flush_one(self, market: Market, kind: str) -> None:
        state, stream = self._states[market.native], f"{market.native.lower()}{kind}"
        difference = state.differences[kind]
        if not difference.first:
            return
        state.differences[kind] = _Difference()
        group = self._streams.get(stream)
        if not group:
            return
        book = market.walk.book
        sides = {
            name: [(_text(price), _text(book[side].size(price))) for price in difference.touched[side]]
            for name, side in (("b", Side.BID), ("a", Side.ASK))
        }
        data = {
            "e": "depthUpdate", "E": _milliseconds(), "s": market.native, "U": difference.first, "u": state.update_id,
        } | sides  # fmt: skip
        self._post(group, stream, data, Channel.BOOK, market.native)
        for session in group.values():
            if state.update_id > state.snapshot_ids.get(session.number, 0):
                market.tally(session).frame(book.best())

    def _post(
        self, group: dict[int, Session], stream: str, data: dict[str, Any], channel: Channel, native: str
    ) -> None:
        raw = msgspec.json.encode(data).decode()
        combined = f'{{"stream":"{stream}","data":{raw}}}'
        for session in group.values():
            session.post(Frame(combined if session.address.path == "/stream" else raw, channel, native))

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        limit = int(asked["limit"]) if asked.get("limit", "").isdigit() else 100
        weight = 1
        if address.path == "/api/v3/exchangeInfo":
            weight = 20
        elif address.path == "/api/v3/depth":
            weight = next((weight for most, weight in _DEPTH_WEIGHTS if limit <= most), 250)
        if (refused := self._budget.spend(weight)) is not None:
            status, wait = refused
            response = self.refusal(status, "Too much request weight used")
            response.headers["Retry-After"] = str(wait)
        elif address.path == "/api/v3/exchangeInfo":
            response = self._exchange_info(asked.get("symbol"))
        elif address.path == "/api/v3/depth":
            response = self._depth(asked.get("symbol", ""), min(max(limit, 1), 5000))
        elif address.path == "/api/v3/ping":
            response = Response.json({})
        elif address.path == "/api/v3/time":
            response = Response.json({"serverTime": _milliseconds()})
        else:
            response = self.refusal(404, "Not found")
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(self._budget.used)
        return response

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"code": -1003 if status in (418, 429) else -1000, "msg": reason}, status)

    def _exchange_info(self, symbol: str | None) -> Response:
        if symbol is not None and symbol not in self.markets:
            return Response.json({"code": -1121, "msg": "Invalid symbol."}, 400)
        limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self._weight},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ]
        rows = [_row(market) for market in self.markets.values() if symbol in (None, market.native)]
        return Response.json(
            {"timezone": "UTC", "serverTime": _milliseconds(), "rateLimits": limits, "exchangeFilters": []}
            | {"symbols": rows}
        )

    def _depth(self, symbol: str, limit: int) -> Response:
        market = self.markets.get(symbol)
        if market is None:
            return Response.json({"code": -1121, "msg": "Invalid symbol."}, 400)
        state, book = self._states[symbol], market.walk.book
        sessions = {
            number: session
            for kind in (_FAST, _SLOW)
            for number, session in self._streams.get(f"{symbol.lower()}{kind}", {}).items()
        }
        for session in sessions.values():
            if session.number not in state.snapshot_ids:
                state.snapshot_ids[session.number] = state.update_id
                market.tally(session).snapshot(book.best())
        sides = {"bids": book.bids.top(limit), "asks": book.asks.top(limit)}
        levels = {name: [(_text(p), _text(s)) for p, s in side] for name, side in sides.items()}
        return Response.json({"lastUpdateId": state.update_id} | levels)


def _row(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    tick, lot = _text(facts.tick), _text(facts.lot)
    return {
        "symbol": market.native,
        "status": "TRADING",
        "baseAsset": facts.base,
        "baseAssetPrecision": 8,
        "quoteAsset": facts.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _text(number: Decimal) -> str:
    return format(number.quantize(_WIRE), "f")


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _control(message: dict[str, Any]) -> Frame:
    return Frame(msgspec.json.encode(message).decode())
