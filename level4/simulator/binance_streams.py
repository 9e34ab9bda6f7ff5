"""What Binance's markets share: named streams on one socket, differences gathered over a while, a snapshot by REST
within a weight budget (binance-spot-api-docs as of 2026-07, developers.binance.com as of 2026-08).

* Streams are acknowledged whatever they are called; one of an unknown symbol, in upper case or on the wrong route stays
  silent. More messages a second from the client than are allowed end the connection.
* REST has a weight budget: beyond it 429, and 418 for a client that goes on regardless.
* A consumer's book starts with the REST snapshot, so that is where its counts begin. The snapshot is not tied to a
  connection: it starts the counts of every connection that has the stream and no snapshot yet. A difference that is
  under way at that moment is counted; a consumer may apply it together with the snapshot and see one change less.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec
import trio

from level4.simulator.book import Side
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.rest import Response
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, Pace, Synthetic
from level4.simulator.walk import Fill

_PATIENCE: Final = 5
"""How many requests are answered 429 before the ban."""
_BAN_SECONDS: Final = 120

Levels = list[tuple[str, str]]


@dataclass(slots=True)
class Difference:
    """What changed since the last frame of one stream."""

    previous: int
    """The last update id of that frame."""
    first: int = 0
    touched: dict[Side, dict[Decimal, None]] = field(default_factory=lambda: {Side.BID: {}, Side.ASK: {}})


@dataclass(slots=True)
class _State:
    update_id: int
    differences: dict[str, Difference]
    """By the stream's ending."""
    snapshot_ids: dict[int, int] = field(default_factory=dict)
    """By session: the update id at which its counts began."""


class Budget:
    """REST weight by minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
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
        if self.used <= self.limit:
            return None
        self._refused += 1
        if self._refused > _PATIENCE:
            self._banned_until = now + _BAN_SECONDS
            return 418, _BAN_SECONDS
        return 429, int(60 - now % 60) + 1


class BinanceStreams(Synthetic):
    """A made-up part of Binance."""

    messages_per_second: ClassVar[int]
    max_streams: ClassVar[int]
    ping_seconds: ClassVar[float]
    pong_seconds: ClassVar[float]
    routes: ClassVar[tuple[str, ...]] = ()
    """Known beginnings of paths, each for a class of streams."""
    speeds: ClassVar[dict[str, float]]
    """Endings of the streams of differences, and how long they gather."""

    def __init__(self, markets: Iterable[Market], pace: Pace, plan: FaultPlan) -> None:
        super().__init__(markets, pace, plan)
        self._states: dict[str, _State] = {}
        for market in self.markets.values():
            start = 1_000_000 + market.walk.trade_id
            self._states[market.native] = _State(start, {speed: Difference(start) for speed in self.speeds})
        self._streams: dict[str, dict[int, Session]] = {}

    @abstractmethod
    def difference(
        self, market: Market, first: int, last: int, previous: int, bids: Levels, asks: Levels
    ) -> dict[str, Any]:
        """The message of a difference."""

    @abstractmethod
    def traded(self, market: Market, fills: list[Fill]) -> None:
        """Tell what a taker did, now or later."""

    @abstractmethod
    def trade_streams(self, market: Market) -> list[str]:
        """Names of the streams that carry a market's trades."""

    def level(self, price: Decimal, size: Decimal) -> tuple[str, str]:
        return format(price, "f"), format(size, "f")

    def carries(self, route: str, stream: str) -> bool:
        """Whether a stream comes on a route."""
        return True

    def step_ids(self, changes: int) -> int:
        """How far a step of so many changes moves the update id."""
        return changes

    def route(self, path: str) -> tuple[str, str]:
        """A path's route (empty: none), and what follows it."""
        for route in self.routes:
            if path == f"/{route}" or path.startswith(f"/{route}/"):
                return route, path[len(route) + 1 :]
        return "", path

    def known_path(self, path: str) -> bool:
        rest = self.route(path)[1]
        return rest in ("/stream", "/ws") or rest.startswith("/ws/")

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            for speed, seconds in self.speeds.items() if self._pace.gather else ():
                nursery.start_soon(self._run_flushes, speed, seconds * self._pace.gather)

    async def serve(self, session: Session) -> None:
        path = self.route(session.address.path)[1]
        streams = session.address.parameters().get("streams", "") if path == "/stream" else path.removeprefix("/ws")
        for stream in filter(None, streams.split("/")):
            self._streams.setdefault(stream, {})[session.number] = session
        self._count_listeners()
        times: deque[float] = deque(maxlen=self.messages_per_second)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pings, session)
                while True:
                    message = await session.receive()
                    now = trio.current_time()
                    if len(times) == self.messages_per_second and now - times[0] < 1:
                        session.end(Fault(FaultKind.CLOSE, code=1008))
                    times.append(now)
                    session.post(Frame(msgspec.json.encode(self._handle(session, message)).decode()))
        finally:
            for group in self._streams.values():
                group.pop(session.number, None)
            for state in self._states.values():
                state.snapshot_ids.pop(session.number, None)
            self._count_listeners()
            self.close_tallies(session)

    async def _pings(self, session: Session) -> None:
        while True:
            await trio.sleep(self.ping_seconds)
            with trio.move_on_after(self.pong_seconds) as waiting:
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
        if not self.is_id(number):
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
            if len({*joined, *streams}) > self.max_streams:
                return {"code": 2, "msg": "Invalid request: too many parameters", "id": number}
            natives = [stream.partition("@")[0].upper() for stream in streams]
            if any(self.plan.for_subscription(self.exchange, session.number, native) for native in natives):
                return {"code": 2, "msg": "Invalid request: refused", "id": number}
            for stream in streams:
                self._streams.setdefault(stream, {})[session.number] = session
        self._count_listeners()
        return {"result": None, "id": number}

    def is_id(self, number: object) -> bool:
        """Whether a request may be numbered like this."""
        return type(number) is int and number >= 0

    def listening(self, stream: str) -> list[Session]:
        """The sessions that a stream's frames are sent to."""
        group = self._streams.get(stream)
        if not group:
            return []
        return [each for each in group.values() if self.carries(self.route(each.address.path)[0], stream)]

    def _count_listeners(self) -> None:
        self._streams = {stream: group for stream, group in self._streams.items() if group}
        for market in self.markets.values():
            name = market.native.lower()
            streams = [*(name + speed for speed in self.speeds), *self.trade_streams(market)]
            market.listeners = sum(len(self.listening(stream)) for stream in streams)

    def advance(self, market: Market) -> None:
        state = self._states[market.native]
        step = market.walk.step()
        changes = sum(map(len, step.touched.values()))
        for difference in state.differences.values():
            difference.first = difference.first or state.update_id + self.step_ids(1)
            for side, prices in step.touched.items():
                difference.touched[side] |= prices
        state.update_id += self.step_ids(changes)
        if step.fills:
            self.traded(market, step.fills)
        for speed in () if self._pace.gather else self.speeds:
            self._flush(market, speed)

    async def _run_flushes(self, speed: str, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            for market in self.markets.values():
                self._flush(market, speed)

    def _flush(self, market: Market, speed: str) -> None:
        state, stream = self._states[market.native], f"{market.native.lower()}{speed}"
        told = state.differences[speed]
        if not told.first:
            return
        state.differences[speed] = Difference(state.update_id)
        sessions = self.listening(stream)
        if not sessions:
            return
        book = market.walk.book
        bids, asks = (
            [self.level(price, book[side].size(price)) for price in told.touched[side]] for side in (Side.BID, Side.ASK)
        )
        data = self.difference(market, told.first, state.update_id, told.previous, bids, asks)
        self.post(sessions, stream, data, Channel.BOOK, market.native)
        for session in sessions:
            if state.update_id > state.snapshot_ids.get(session.number, 0):
                market.tally(session).frame(book.best())

    def post(
        self, sessions: Iterable[Session], stream: str, data: dict[str, Any], channel: Channel, native: str
    ) -> None:
        raw = msgspec.json.encode(data).decode()
        combined = f'{{"stream":"{stream}","data":{raw}}}'
        for session in sessions:
            wrapped = session.address.path.endswith("/stream")
            session.post(Frame(combined if wrapped else raw, channel, native))

    def snapshot(self, market: Market, limit: int) -> tuple[int, Levels, Levels]:
        """Update id and best levels; counts of those who listen and had none begin."""
        state, book = self._states[market.native], market.walk.book
        for speed in self.speeds:
            for session in self.listening(f"{market.native.lower()}{speed}"):
                if session.number not in state.snapshot_ids:
                    state.snapshot_ids[session.number] = state.update_id
                    market.tally(session).snapshot(book.best())
        bids, asks = ([self.level(*level) for level in side.top(limit)] for side in (book.bids, book.asks))
        return state.update_id, bids, asks

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"code": -1003 if status in (418, 429) else -1000, "msg": reason}, status)

    def invalid_symbol(self) -> Response:
        return Response.json({"code": -1121, "msg": "Invalid symbol."}, 400)

    def overspent(self, refused: tuple[int, int]) -> Response:
        status, wait = refused
        response = self.refusal(status, "Too much request weight used")
        response.headers["Retry-After"] = str(wait)
        return response
