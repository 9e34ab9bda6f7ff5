"""Synthetic Kraken derivatives, `futures.kraken.com/ws/v1` (docs.kraken.com, 2026-11; frames of 2021).

* Full depth; every frame is one level of one side. `seq` is counted per product, shared by snapshot and changes, and
  rises by one. Numbers are JSON numbers with a point. No checksum.
* A subscription to trades begins with the last hundred, newest first; trades have a count of their own.
* `PF_` and `FF_` are linear with sizes in the base, `PI_` and `FI_` are inverse in contracts of a dollar. Bitcoin is
  `XBT` in names and `BTC` in the list's `base`. Requests may spell names in lower case, data never do.
* An unknown product is an error that does not say which. A client must send a WebSocket ping a minute, which nobody
  checks here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any, Final
from uuid import UUID

import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.contracts import Contract, Kind, inverse, linear
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, milliseconds, text, timestamp
from level4.simulator.walk import Fill
from level4.simulator.window import Window

HISTORY: Final = 100
_HEARTBEAT_SECONDS: Final = 1.0
_FEEDS: Final = ("book", "trade", "heartbeat")
_EVERYTHING: Final = 10**9
"""Levels: full depth."""
_CODES: Final = {"BTC": "XBT", "DOGE": "XDG"}


class _State:
    """What the subscribers of one product have been sent."""

    def __init__(self, market: Market) -> None:
        self.window = Window(market.walk.book, _EVERYTHING)
        self.seq = 2_000_000 + market.walk.trade_id % 1_000_000
        self.history: deque[str] = deque(maxlen=HISTORY)
        """Frames of the last trades, oldest first."""
        self.trade_seq = count(market.walk.trade_id % 100_000)


class KrakenFutures(Subscribed):
    exchange = "KRAKEN_FUTURES"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        self._contracts = {native(contract): contract for contract in contracts(symbols)}
        markets = [
            Market(name, pace.walk(f"{self.exchange}.{name}", contract.facts))
            for name, contract in self._contracts.items()
        ]
        super().__init__(markets, pace, plan)
        self._spelled = {name.lower(): name for name in self._contracts} | {name: name for name in self._contracts}
        self._states: dict[str, _State] = {}
        self._beating: dict[int, Session] = {}
        """Who asked for heartbeats."""

    def speaks(self, address: Address) -> bool:
        return (address.host, address.path) == ("futures.kraken.com", "/ws/v1")

    def answers(self, address: Address) -> bool:
        return address.host == "futures.kraken.com"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._run_heartbeats)

    async def _run_heartbeats(self) -> None:
        while True:
            await trio.sleep(_HEARTBEAT_SECONDS)
            for session in self._beating.values():
                session.post(framed({"feed": "heartbeat", "time": milliseconds()}))

    def greet(self, session: Session) -> None:
        session.post(framed({"event": "info", "version": 1}))

    def left(self, session: Session) -> None:
        self._beating.pop(session.number, None)

    def handle(self, session: Session, message: str) -> None:
        request = decoded(message)
        event = request.get("event") if isinstance(request, dict) else None
        if event not in ("subscribe", "unsubscribe"):
            session.post(framed({"event": "alert", "message": "Bad request"}))
        elif request.get("feed") not in _FEEDS:
            session.post(framed({"event": "error", "message": "Invalid feed"}))
        elif request["feed"] == "heartbeat":
            if event == "subscribe":
                self._beating[session.number] = session
            else:
                self._beating.pop(session.number, None)
            session.post(framed({"event": f"{event}d", "feed": "heartbeat"}))
        elif not isinstance(products := request.get("product_ids"), list) or not products:
            session.post(framed({"event": "error", "message": "Json Error"}))
        else:
            for product in products:
                self._product(session, event, request["feed"], self._spelled.get(str(product)))

    def _product(self, session: Session, event: str, feed: str, name: str | None) -> None:
        if name is None:
            session.post(framed({"event": "error", "message": "Invalid product id"}))
            return
        if event == "unsubscribe":
            done = self.subscriptions.remove(feed, name, session)
        else:
            done = not self.refuses(session, name) and not self.subscriptions.has(feed, name, session)
        answer = f"{event}d" if done else f"{event}d_failed"
        session.post(framed({"event": answer, "feed": feed, "product_ids": [name]}))
        if done and event == "subscribe":
            self._welcome(session, feed, self.markets[name])
            self.subscriptions.add(feed, name, session)

    def _state(self, market: Market) -> _State:
        state = self._states.get(market.native)
        if state is None:
            state = self._states[market.native] = _State(market)
            for fill in market.walk.recent:
                state.history.append(_trade(market.native, fill, next(state.trade_seq), milliseconds() - 60_000))
        return state

    def _welcome(self, session: Session, feed: str, market: Market) -> None:
        state = self._state(market)
        if feed == "trade":
            trades = ",".join(reversed(state.history))
            data = f'{{"feed":"trade_snapshot","product_id":"{market.native}","trades":[{trades}]}}'
            session.post(Frame(data, Channel.TRADES, market.native))
            return
        shown = state.window.shown
        bids, asks = (
            ",".join(f'{{"price":{_number(price)},"qty":{_number(size)}}}' for price, size in side)
            for side in (shown.bids, shown.asks)
        )
        head = f'{{"feed":"book_snapshot","product_id":"{market.native}","timestamp":{milliseconds()},"seq":{state.seq}'
        data = f'{head},"tickSize":null,"bids":[{bids}],"asks":[{asks}]}}'
        session.post(Frame(data, Channel.BOOK, market.native))
        market.tally(session).snapshot(shown.best())

    def advance(self, market: Market) -> None:
        state, step, now = self._state(market), market.walk.step(), milliseconds()
        for fill in step.fills:
            data = _trade(market.native, fill, next(state.trade_seq), now)
            state.history.append(data)
            self.publish_trades("trade", market, Frame(data, Channel.TRADES, market.native), 1)
        for side, price, size in state.window.changes(market.walk.book):
            state.seq += 1
            data = (
                f'{{"feed":"book","product_id":"{market.native}","side":"{"buy" if side is Side.BID else "sell"}",'
                f'"seq":{state.seq},"price":{_number(price)},"qty":{_number(size)},"timestamp":{now}}}'
            )
            frame = Frame(data, Channel.BOOK, market.native)
            self.publish_book("book", market, frame, state.window.shown.best())

    async def answer(self, request: Request) -> Response:
        if request.address.path != "/derivatives/api/v3/instruments":
            return self.refusal(404, "apiNotFound")
        rows = [_INDEX, *(_row(name, contract) for name, contract in self._contracts.items())]
        return Response.json({"result": "success", "instruments": rows, "serverTime": timestamp(3)})

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"result": "error", "error": reason, "serverTime": timestamp(3)}, status)


_INDEX: Final = {"symbol": "in_xbtusd", "type": "spot index", "tradeable": False}


def contracts(symbols: Iterable[str]) -> Iterator[Contract]:
    names = list(symbols)
    yield from linear(names, "USD")
    yield from inverse(names, {}, 1)


def native(contract: Contract) -> str:
    base = _CODES.get(contract.facts.base, contract.facts.base)
    letters = ("F" if contract.kind is Kind.FUTURE else "P") + ("I" if contract.inverse else "F")
    return f"{letters}_{base}USD" + (f"_{contract.expiry:%y%m%d}" if contract.expiry else "")


def _number(number: Decimal) -> str:
    """With a point, as in the recordings."""
    plain = text(number.normalize() + 0)
    return plain if "." in plain else f"{plain}.0"


def _trade(product: str, fill: Fill, seq: int, time: int) -> str:
    uid = UUID(int=fill.trade_id | 4 << 76 | 8 << 60)
    return (
        f'{{"feed":"trade","product_id":"{product}","uid":"{uid}","side":"{fill.taker}","type":"fill","seq":{seq},'
        f'"time":{time},"qty":{_number(fill.size)},"price":{_number(fill.price)}}}'
    )


def _row(name: str, contract: Contract) -> dict[str, Any]:
    facts = contract.facts
    dated = {"lastTradingTime": f"{contract.expiry:%Y-%m-%dT%H:%M:%S}.000Z"} if contract.expiry else {}
    return {
        "symbol": name,
        "type": "futures_inverse" if contract.inverse else "flexible_futures",
        "underlying": f"rr_{name.split('_')[1].lower()}",
        **dated,
        "tickSize": float(facts.tick),
        "contractSize": 1,
        "tradeable": True,
        "impactMidSize": 1.0,
        "maxPositionSize": 1000000.0,
        "openingDate": "2022-03-22T13:18:45Z",
        "contractValueTradePrecision": facts.lot_decimals,
        "postOnly": False,
        "base": facts.base,
        "quote": facts.quote,
        "pair": f"{facts.base}:{facts.quote}",
        "isin": "GB00BQ84K502",
    }
