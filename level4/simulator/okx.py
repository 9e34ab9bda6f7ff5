"""Synthetic OKX v5 (okx.com/docs-v5 and its changelog, 2026): spot, swaps, futures and options on one address.

* `books`: the 400 best levels, snapshot and changes; every change names the number of the one before, numbers jump. A
  book that is quiet for a minute is kept alive by a change without levels and with its own number. The checksum is
  dead: 0.
* `trades` merges the fills of one taker at one price. **The first frame of a subscription repeats the last trade.**
* Raw text `ping` is answered by raw text `pong`; who is neither told anything nor says anything for half a minute is
  cut off. An answer for each topic; a wrong one (other case, unknown name or channel) costs only itself. 480 operations
  an hour.
* Sizes of all but spot are contracts of `ctVal` × `ctMult`. Lists of options need their underlying.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from typing import Any, Final

import trio

from level4.simulator.address import Address
from level4.simulator.book import Levels
from level4.simulator.contracts import Contract, Kind, inverse, linear, options, spot
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, milliseconds, text
from level4.simulator.walk import Fill
from level4.simulator.window import Window

DEPTH: Final = 400
OPERATIONS: Final = 480
"""Subscriptions and their ends in an hour of one connection."""
_GATHER_SECONDS: Final = 0.1
_SILENCE_SECONDS: Final = 30.0
_QUIET_SECONDS: Final = 60.0
_MAX_BYTES: Final = 64 * 1024
_TYPES: Final = {Kind.SPOT: "SPOT", Kind.PERPETUAL: "SWAP", Kind.FUTURE: "FUTURES", Kind.OPTION: "OPTION"}
_COINS: Final = {"BTC": Decimal("0.01"), "ETH": Decimal("0.1")}
"""What a linear contract is of; of the others one."""


@dataclass(slots=True)
class _State:
    """What the subscribers of one market have been sent."""

    window: Window
    seq_id: int
    told: float
    """Monotonic time of the last change."""
    last_trade: dict[str, Any]


@dataclass(slots=True)
class _Client:
    session: Session
    heard: float
    """Monotonic time of its last sign of life, or ours."""
    sent: int = 0
    operations: int = 0


class Okx(Subscribed):
    exchange = "OKX"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        self._contracts = {_native(contract): contract for contract in _listed(list(symbols))}
        markets = [
            Market(name, pace.walk(f"{self.exchange}.{name}", contract.facts))
            for name, contract in self._contracts.items()
        ]
        super().__init__(markets, pace, plan)
        self._states: dict[str, _State] = {}
        self._clients: dict[int, _Client] = {}
        self._ids = count(450_001, 18)
        self._started = milliseconds()

    def speaks(self, address: Address) -> bool:
        return (address.host, address.path) == ("ws.okx.com", "/ws/v5/public")

    def answers(self, address: Address) -> bool:
        return address.host == "www.okx.com"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._run_clocks)
            if self._pace.gather:
                nursery.start_soon(self._run_flushes, _GATHER_SECONDS * self._pace.gather)

    async def _run_clocks(self) -> None:
        """Cut off the silent, keep quiet books alive."""
        while True:
            await trio.sleep(1.0)
            now = trio.current_time()
            for client in self._clients.values():
                if client.session.sent > client.sent:
                    client.sent, client.heard = client.session.sent, now
                elif now - client.heard > _SILENCE_SECONDS:
                    client.session.end(Fault(FaultKind.CLOSE, code=4004))
            for native, state in self._states.items():
                if now - state.told > _QUIET_SECONDS:
                    state.told = now
                    for session in self.subscriptions.of("books", native):
                        session.post(self._book(native, state, "update", state.seq_id, [], []))

    async def _run_flushes(self, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            for native in list(self._states):
                self._flush(self.markets[native])

    # -- the talk -----------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        self._clients[session.number] = _Client(session, trio.current_time())

    def left(self, session: Session) -> None:
        del self._clients[session.number]

    def handle(self, session: Session, message: str) -> None:
        client = self._clients[session.number]
        client.heard = trio.current_time()
        if message == "ping":
            session.post(Frame("pong"))
            return
        request = decoded(message)
        operation = request.get("op") if isinstance(request, dict) else None
        args = request.get("args") if isinstance(request, dict) else None
        client.operations += 1
        if operation not in ("subscribe", "unsubscribe") or not isinstance(args, list) or len(message) > _MAX_BYTES:
            self._error(session, "60012", f"Invalid request: {message[:200]}")
        elif client.operations > OPERATIONS:
            self._error(session, "60014", "Requests too frequent")
        else:
            number = {"id": request["id"]} if "id" in request else {}
            for arg in args:
                told = {name: str(arg.get(name)) for name in ("channel", "instId")} if isinstance(arg, dict) else {}
                self._topic(session, number | {"event": operation}, told)

    def _error(self, session: Session, code: str, said: str) -> None:
        session.post(framed({"event": "error", "code": code, "msg": said, "connId": _connection(session)}))

    def _topic(self, session: Session, answer: dict[str, Any], arg: dict[str, str]) -> None:
        channel, native = arg.get("channel", ""), arg.get("instId", "")
        if channel not in ("books", "trades") or native not in self.markets:
            self._error(session, "60018", f"channel:{channel},instId:{native} doesn't exist")
        elif answer["event"] == "subscribe" and self.refuses(session, native):
            self._error(session, "60018", f"channel:{channel},instId:{native} is refused")
        else:
            session.post(framed(answer | {"arg": arg, "connId": _connection(session)}))
            if answer["event"] == "unsubscribe":
                self.subscriptions.remove(channel, native, session)
            elif self.subscriptions.add(channel, native, session):
                self._welcome(session, channel, self.markets[native])

    # -- the data -----------------------------------------------------------------------------------------------

    def _state(self, market: Market) -> _State:
        if market.native not in self._states:
            earlier = _trade(market.native, market.walk.recent[-1], self._started - 700)
            window = Window(market.walk.book, DEPTH)
            self._states[market.native] = _State(window, next(self._ids), trio.current_time(), earlier)
        return self._states[market.native]

    def _welcome(self, session: Session, channel: str, market: Market) -> None:
        state = self._state(market)
        if channel == "trades":
            session.post(_trades(market.native, state.last_trade))
            return
        shown = state.window.shown
        session.post(self._book(market.native, state, "snapshot", -1, _rows(shown.bids), _rows(shown.asks)))
        market.tally(session).snapshot(shown.best())

    def _book(
        self, native: str, state: _State, action: str, previous: int, bids: list[list[str]], asks: list[list[str]]
    ) -> Frame:
        book = {"asks": asks, "bids": bids, "ts": str(milliseconds()), "checksum": 0}
        book |= {"prevSeqId": previous, "seqId": state.seq_id}
        arg = {"channel": "books", "instId": native}
        return framed({"arg": arg, "action": action, "data": [book]}, Channel.BOOK, native)

    def advance(self, market: Market) -> None:
        state, step, now = self._state(market), market.walk.step(), milliseconds()
        for fill in step.fills:
            state.last_trade = _trade(market.native, fill, now)
            self.publish_trades("trades", market, _trades(market.native, state.last_trade), 1)
        if not self._pace.gather:
            self._flush(market)

    def _flush(self, market: Market) -> None:
        state = self._states[market.native]
        changes = list(state.window.changes(market.walk.book))
        if not changes:
            return
        previous, state.seq_id, state.told = state.seq_id, next(self._ids), trio.current_time()
        bids, asks = ([_level(price, size) for each, price, size in changes if each == side] for side in ("bid", "ask"))
        frame = self._book(market.native, state, "update", previous, bids, asks)
        self.publish_book("books", market, frame, state.window.shown.best())

    # -- REST ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.path == "/api/v5/public/instruments":
            return self._instruments(asked)
        if address.path == "/api/v5/market/books":
            market, depth = self.markets.get(asked.get("instId", "")), asked.get("sz", "1")
            if market is None or not depth.isdigit() or int(depth) > DEPTH:
                return _answer([], "51001", "Instrument ID doesn't exist.")
            state = self._state(market)
            sides = {"asks": state.window.shown.asks, "bids": state.window.shown.bids}
            rows = {name: _rows(levels)[: int(depth)] for name, levels in sides.items()}
            return _answer([{**rows, "ts": str(milliseconds()), "seqId": state.seq_id}])
        return self.refusal(404, "Not found")

    def refusal(self, status: int, reason: str) -> Response:
        return _answer([], "50011" if status == 429 else "50001", reason, status)

    def _instruments(self, asked: dict[str, str]) -> Response:
        kind, family = asked.get("instType"), asked.get("instFamily") or asked.get("uly")
        if kind not in _TYPES.values():
            return _answer([], "51000", "Parameter instType error")
        if kind == "OPTION" and family is None:
            return _answer([], "50015", "Either parameter uly or instFamily is required")
        return _answer(
            [
                _row(native, contract)
                for native, contract in self._contracts.items()
                if _TYPES[contract.kind] == kind and family in (None, _family(contract))
            ]
        )


def _listed(symbols: list[str]) -> Iterator[Contract]:
    yield from spot(symbols, "USDT")
    for each in linear(symbols, "USDT"):
        value = each.facts.price * _COINS.get(each.facts.base, Decimal(1)) / 100
        yield replace(each, facts=replace(each.facts, lot_decimals=2, lot_value=value))
    yield from inverse(symbols, {"BTC": 100}, 10)
    yield from options(symbols, "USD", lot_decimals=0, in_coin=True)


def _family(contract: Contract) -> str:
    return f"{contract.facts.base}-{contract.facts.quote}"


def _native(contract: Contract) -> str:
    if contract.kind is Kind.PERPETUAL:
        return f"{_family(contract)}-SWAP"
    name = _family(contract) + (f"-{contract.expiry:%y%m%d}" if contract.expiry else "")
    return f"{name}-{contract.strike}-{contract.right}" if contract.kind is Kind.OPTION else name


def _connection(session: Session) -> str:
    return f"{session.number:08x}"


def _level(price: Decimal, size: Decimal) -> list[str]:
    return [text(price), text(size), "0", str(1 + int(size) % 5)] if size else [text(price), "0", "0", "0"]


def _rows(levels: Levels) -> list[list[str]]:
    return [_level(price, size) for price, size in levels]


def _trade(native: str, fill: Fill, time: int) -> dict[str, Any]:
    row = {"instId": native, "tradeId": str(fill.trade_id), "px": text(fill.price), "sz": text(fill.size)}
    return row | {"side": fill.taker, "ts": str(time), "count": "1", "source": "0", "seqId": fill.trade_id * 3}


def _trades(native: str, trade: dict[str, Any]) -> Frame:
    return framed({"arg": {"channel": "trades", "instId": native}, "data": [trade]}, Channel.TRADES, native)


def _answer(data: list[dict[str, Any]], code: str = "0", said: str = "", status: int = 200) -> Response:
    return Response.json({"code": code, "data": data, "msg": said}, status)


def _row(native: str, contract: Contract) -> dict[str, Any]:
    facts, kind = contract.facts, contract.kind
    size, multiplier = Decimal(1), Decimal("0.01") if kind is Kind.OPTION else Decimal(1)
    if contract.inverse and kind is not Kind.OPTION:
        size = facts.lot_value or size
    elif kind is not Kind.SPOT:
        size = _COINS.get(facts.base, size) if kind is not Kind.OPTION else size
    derivative = {
        "ctVal": str(size),
        "ctMult": str(multiplier),
        "ctValCcy": facts.quote if contract.inverse and kind is not Kind.OPTION else facts.base,
        "settleCcy": contract.settle,
        "uly": _family(contract),
        "instFamily": _family(contract),
    }
    blank = dict.fromkeys(derivative, "")
    return {
        "alias": "this_quarter" if kind is Kind.FUTURE else "",
        "baseCcy": facts.base if kind is Kind.SPOT else "",
        "quoteCcy": facts.quote if kind is Kind.SPOT else "",
        "category": "1",
        "ctType": "" if kind in (Kind.SPOT, Kind.OPTION) else "inverse" if contract.inverse else "linear",
        **(blank if kind is Kind.SPOT else derivative),
        "expTime": str(contract.expiry_ms or ""),
        "instId": native,
        "instType": _TYPES[kind],
        "lever": "10",
        "listTime": "1548133413000",
        "lotSz": text(facts.lot),
        "minSz": text(facts.lot),
        "optType": contract.right,
        "state": "live",
        "stk": str(contract.strike or ""),
        "tickSz": text(facts.tick),
    }
