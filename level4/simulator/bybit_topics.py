"""What the categories of Bybit v5 share (bybit-exchange/docs, 2026-07): topics on one socket for each category.

* `orderbook.N`: the N best levels, a snapshot and then changes; `u` rises by one with every message of a topic. Now and
  then a snapshot comes unasked, in the place of a change; and now and then `u` starts again at 1, as when the service
  was restarted. `orderbook.1` is snapshots only, repeated after three seconds without a change.
* Strict: at most ten topics a request on spot, unknown topics and second subscriptions are refused (with their whole
  request, which is not documented; options tell good and bad topics apart). Only the application's ping is a sign of
  life, and silence of ten minutes ends the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

import trio

from level4.simulator.address import Address
from level4.simulator.contracts import Contract, day
from level4.simulator.faults import Channel, FaultPlan
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, levels_text, milliseconds, text
from level4.simulator.walk import Fill
from level4.simulator.window import Window

SNAPSHOT_EVERY: Final = 400
"""Messages of a topic."""
RESTART_EVERY: Final = 1_500
MAX_ARGS_CHARACTERS: Final = 21_000
REPEAT_SECONDS: Final = 3.0
_DEPTHS: Final = {1: 0.01, 50: 0.02, 200: 0.1, 1000: 0.2}
_RULE: Final = "error:handler not found,topic:"


@dataclass(slots=True)
class _Topic:
    """What the subscribers to one depth of one market have been sent."""

    window: Window
    u: int
    messages: int = 0
    told: float = 0.0
    """Monotonic time of the last message."""


class BybitCategory(Subscribed):
    """One category."""

    patience_seconds = 600.0
    category: ClassVar[str]
    depths: ClassVar[dict[int, float]] = _DEPTHS
    """Levels, and seconds that changes are gathered."""

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        self._contracts = {self.native(contract): contract for contract in self.contracts(list(symbols))}
        markets = [
            Market(native, pace.walk(f"{self.exchange}.{native}", contract.facts))
            for native, contract in self._contracts.items()
        ]
        super().__init__(markets, pace, plan)
        self._books: dict[tuple[int, str], _Topic] = {}
        self._topics: dict[int, dict[str, None]] = {}
        """By session, what it has subscribed to."""

    def contracts(self, symbols: list[str]) -> Iterator[Contract]:
        raise NotImplementedError

    def native(self, contract: Contract) -> str:
        ending = f"-{day(contract.expiry)}" if contract.expiry else ""
        return contract.facts.base + contract.facts.quote + ending

    def speaks(self, address: Address) -> bool:
        return address.host == "stream.bybit.com" and address.path == f"/v5/public/{self.category}"

    def answers(self, address: Address) -> bool:
        known = address.host in ("api.bybit.com", "api.bytick.com")
        return known and address.parameters().get("category") == self.category

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            for depth, seconds in self.depths.items() if self._pace.gather else ():
                nursery.start_soon(self._run_flushes, depth, seconds * self._pace.gather)
            if 1 in self.depths:
                nursery.start_soon(self._run_repeats)

    # -- the talk -----------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        self._topics[session.number] = {}

    def left(self, session: Session) -> None:
        del self._topics[session.number]

    def handle(self, session: Session, message: str) -> None:
        request = decoded(message)
        operation = request.get("op") if isinstance(request, dict) else None
        if operation == "ping":
            session.post(framed(self.pong(session, request)))
            return
        args = request.get("args") if isinstance(request, dict) else None
        if operation not in ("subscribe", "unsubscribe") or not isinstance(args, list):
            told = {"op": operation if isinstance(operation, str) else "", "args": args}
            said = {"success": False, "ret_msg": "error:invalid op", "conn_id": connection_id(session)}
            session.post(framed(said | {"request": told}))
            return
        fresh = list(dict.fromkeys(map(str, args)))
        if operation == "unsubscribe":
            for topic in fresh:
                if self._topics[session.number].pop(topic, True) is None:
                    self._leave(session, topic)
            session.post(framed(self._reply(session, request, True, "")))
        else:
            self.subscribe(session, request, fresh)

    def subscribe(self, session: Session, request: dict[str, Any], topics: list[str]) -> None:
        error = next(filter(None, (self.error(session, topic) for topic in topics)), None)
        if len(topics) > 10 and self.category == "spot":
            error = "args size >10"
        elif self._too_long(session, topics):
            error = f"error:args length exceeds {MAX_ARGS_CHARACTERS}"
        said = "subscribe" if self.category == "spot" else ""
        session.post(framed(self._reply(session, request, error is None, error or said)))
        for topic in topics if error is None else ():
            self.join(session, topic)

    def _too_long(self, session: Session, topics: list[str]) -> bool:
        return sum(map(len, [*self._topics[session.number], *topics])) > MAX_ARGS_CHARACTERS

    def pong(self, session: Session, request: dict[str, Any]) -> dict[str, Any]:
        number = {} if self.category == "spot" else {"req_id": str(request.get("req_id", ""))}
        return {"success": True, "ret_msg": "pong", "conn_id": connection_id(session)} | number | {"op": "ping"}

    def _reply(self, session: Session, request: dict[str, Any], success: bool, said: str) -> dict[str, Any]:
        head = {"success": success, "ret_msg": said, "conn_id": connection_id(session)}
        return head | {"req_id": str(request.get("req_id", "")), "op": request["op"]}

    def error(self, session: Session, topic: str) -> str | None:
        """Why a topic cannot be subscribed."""
        natives = self.natives(topic)
        if not natives:
            return _RULE + topic
        if topic in self._topics[session.number]:
            return f"error:already subscribed,topic:{topic}"
        return f"error:refused,topic:{topic}" if any(self.refuses(session, native) for native in natives) else None

    def natives(self, topic: str) -> list[str]:
        """The markets whose data a topic carries; none: there is no such topic."""
        kind, _, rest = topic.partition(".")
        depth, _, native = rest.partition(".")
        if kind == "orderbook" and depth.isdigit() and int(depth) in self.depths and str(int(depth)) == depth:
            return [native] if native in self.markets else []
        return self.traded_by(rest) if kind == "publicTrade" else []

    def traded_by(self, name: str) -> list[str]:
        """The markets whose trades come under a name."""
        return [name] if name in self.markets else []

    def join(self, session: Session, topic: str) -> None:
        self._topics[session.number][topic] = None
        channel = _channel(topic)
        for native in self.natives(topic):
            if channel != "publicTrade":
                self._welcome(session, self.markets[native], int(channel.rpartition(".")[2]))
            self.subscriptions.add(channel, native, session)

    def _leave(self, session: Session, topic: str) -> None:
        for native in self.natives(topic):
            self.subscriptions.remove(_channel(topic), native, session)

    # -- the data -----------------------------------------------------------------------------------------------

    def _welcome(self, session: Session, market: Market, depth: int) -> None:
        key = depth, market.native
        topic = self._books.get(key)
        if topic is None or not self.subscriptions.of(f"orderbook.{depth}", market.native):
            topic = self._books[key] = _Topic(Window(market.walk.book, depth), topic.u + 1 if topic else 18_000_000)
        data = self._book(market, topic, "snapshot", *self._whole(topic))
        session.post(framed(data, Channel.BOOK, market.native))
        market.tally(session).snapshot(topic.window.shown.best())

    def _whole(self, topic: _Topic) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        shown = topic.window.shown
        return levels_text(list(shown.bids)), levels_text(list(shown.asks))

    def _book(
        self, market: Market, topic: _Topic, kind: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]]
    ) -> dict[str, Any]:
        now = milliseconds()
        name = f"orderbook.{topic.window.depth}.{market.native}"
        data = {"s": market.native, "b": bids, "a": asks, "u": topic.u, "seq": topic.u * 3 + market.walk.trade_id}
        head = {"id": f"{name}-{topic.u}-{now}"} if self.category == "option" else {}
        return head | {"topic": name, "type": kind, "ts": now, "data": data, "cts": now - 2}

    async def _run_flushes(self, depth: int, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            for topic_depth, native in list(self._books):
                if topic_depth == depth:
                    self._flush(self.markets[native], depth)

    def _flush(self, market: Market, depth: int) -> None:
        topic = self._books.get((depth, market.native))
        if topic is None or not (sessions := self.subscriptions.of(f"orderbook.{depth}", market.native)):
            return
        changes = list(topic.window.changes(market.walk.book))
        if not changes:
            return
        topic.u += 1
        topic.messages += 1
        topic.told = trio.current_time()
        unasked = topic.messages % SNAPSHOT_EVERY == 0
        if topic.messages % RESTART_EVERY == 0:
            topic.u, unasked = 1, True
        if unasked or depth == 1:
            data = self._book(market, topic, "snapshot", *self._whole(topic))
        else:
            bids, asks = (
                [(text(price), text(size) if size else "0") for side, price, size in changes if side == wanted]
                for wanted in ("bid", "ask")
            )
            data = self._book(market, topic, "delta", bids, asks)
        frame = framed(data, Channel.BOOK, market.native)
        self.publish_book(f"orderbook.{depth}", market, frame, topic.window.shown.best())
        for session in sessions if unasked else ():
            market.tally(session).snapshots += 1

    async def _run_repeats(self) -> None:
        while True:
            await trio.sleep(REPEAT_SECONDS / 6)
            for (depth, native), topic in self._books.items():
                if depth == 1 and trio.current_time() - topic.told > REPEAT_SECONDS:
                    topic.told = trio.current_time()
                    data = self._book(self.markets[native], topic, "snapshot", *self._whole(topic))
                    for session in self.subscriptions.of("orderbook.1", native):
                        session.post(framed(data, Channel.BOOK, native))

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        if step.fills:
            now = milliseconds()
            message = {"topic": f"publicTrade.{self.trade_name(market)}", "type": "snapshot", "ts": now}
            if self.category == "option":
                message = {"id": f"publicTrade.{self.trade_name(market)}-{market.walk.trade_id}-{now}"} | message
            rows = [self.trade(market, fill, now - 1) for fill in step.fills]
            frame = framed(message | {"data": rows}, Channel.TRADES, market.native)
            self.publish_trades("publicTrade", market, frame, len(rows))
        for depth in () if self._pace.gather else self.depths:
            self._flush(market, depth)

    def trade_name(self, market: Market) -> str:
        """Under which name its trades come."""
        return market.native

    def trade(self, market: Market, fill: Fill, time: int) -> dict[str, Any]:
        number = UUID(int=fill.trade_id | 5 << 76)
        row = {"T": time, "s": market.native, "S": fill.taker.title(), "v": text(fill.size), "p": text(fill.price)}
        return row | {"L": "ZeroMinusTick", "i": str(number), "BT": False, "RPI": False, "seq": fill.trade_id * 3}

    # -- REST ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.path == "/v5/market/instruments-info":
            rows = [self.row(native, each) for native, each in self._contracts.items() if self.listed_for(each, asked)]
            return self.page(rows, asked)
        return self.refusal(404, "Not found")

    def refusal(self, status: int, reason: str) -> Response:
        return result({}, 10006 if status in (403, 429) else 10001, reason, status)

    def listed_for(self, contract: Contract, asked: dict[str, str]) -> bool:
        """Whether a list that was asked for contains it."""
        return True

    def page(self, rows: list[dict[str, Any]], asked: dict[str, str]) -> Response:
        limit, start = asked.get("limit", "500"), asked.get("cursor") or "0"
        if not (limit.isdigit() and 1 <= int(limit) <= 1000 and start.isdigit()):
            return result({}, 10001, "Invalid limit or cursor")
        end = int(start) + int(limit)
        following = str(end) if end < len(rows) else ""
        return result({"category": self.category, "list": rows[int(start) : end], "nextPageCursor": following})

    def row(self, native: str, contract: Contract) -> dict[str, Any]:
        facts = contract.facts
        kind = ("Inverse" if contract.inverse else "Linear") + ("Futures" if contract.expiry else "Perpetual")
        return {
            "symbol": native,
            "symbolId": 5,
            "contractType": kind,
            "status": "Trading",
            "baseCoin": facts.base,
            "quoteCoin": facts.quote,
            "settleCoin": contract.settle,
            "launchTime": "1585526400000",
            "deliveryTime": str(contract.expiry_ms),
            "priceScale": str(facts.price_decimals),
            "priceFilter": {"minPrice": text(facts.tick), "maxPrice": "1999999.80", "tickSize": text(facts.tick)},
            "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": text(facts.lot), "qtyStep": text(facts.lot)},
            "isPreListing": False,
            "symbolType": "",
        }


def connection_id(session: Session) -> str:
    return f"{session.number:08x}-36ec-4e93-afa9-39d7d871d5d2"


def result(result: dict[str, Any], code: int = 0, said: str = "OK", status: int = 200) -> Response:
    envelope = {"retCode": code, "retMsg": said, "result": result, "retExtInfo": {}, "time": milliseconds()}
    return Response.json(envelope, status)


def _channel(topic: str) -> str:
    """`orderbook.50` or `publicTrade`. What follows may have points of its own: the strike of an option."""
    kind, _, rest = topic.partition(".")
    return f"{kind}.{rest.partition('.')[0]}" if kind == "orderbook" else kind
