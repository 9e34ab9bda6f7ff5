"""Synthetic Deribit, JSON-RPC 2.0 (docs.deribit.com, API v2.1.1, 2026): options, futures, perpetuals and spot.

* `book.NAME.100ms` (or `agg2`, gathered for a second) is the full depth: a snapshot, then rows of `new`, `change` and
  `delete`. Every change names the id of the one before; ids jump. Numbers are JSON numbers with a point, in small ones
  with an exponent.
* `trades.NAME.100ms`, or of a kind and currency (`trades.option.BTC.100ms`): gathered likewise, none from before.
* An unknown channel is missing from the result, without an error; `raw` without a login refuses the whole request.
  Subscribing costs credits, and who has none left is told so and cut off. Heartbeats come to who asks for them, and
  then have to be answered.
* Strikes with a point are spelled with a `d` (`XRP_USDC-25DEC26-1d9-C`); inverse options are priced in the coin and
  are quoted in it too. Linear contracts are listed under the currency USDC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any, Final

import trio

from level4.simulator.address import Address
from level4.simulator.book import Book, Side
from level4.simulator.contracts import Contract, Kind, day, inverse, linear, options, spot
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, milliseconds, text
from level4.simulator.walk import Fill

INTERVALS: Final = {"100ms": 0.1, "agg2": 1.0}
CREDITS: Final = 30_000.0
"""Of a connection."""
_CREDITS_A_SECOND: Final = 10_000.0
_SUBSCRIBING: Final = 3_000.0
_IDS_BETWEEN: Final = 13
_KINDS: Final = {Kind.SPOT: "spot", Kind.PERPETUAL: "future", Kind.FUTURE: "future", Kind.OPTION: "option"}
_ERRORS: Final = {
    "Invalid params": -32602, "Method not found": -32601, "too_many_requests": 10028,
    "raw_subscriptions_not_available_for_unauthorized": 13778,
}  # fmt: skip


@dataclass(slots=True)
class _Stream:
    """What the subscribers to one interval of one market have been sent."""

    shown: Book
    change_id: int
    touched: dict[Side, dict[Decimal, None]] = field(default_factory=lambda: {Side.BID: {}, Side.ASK: {}})
    fills: list[str] = field(default_factory=list)
    """Trades not yet told."""


@dataclass(slots=True)
class _Client:
    session: Session
    channels: dict[str, None] = field(default_factory=dict)
    credits: float = CREDITS
    refilled: float = field(default_factory=trio.current_time)
    interval: float = 0.0
    """Seconds between heartbeats; 0: none wanted."""
    due: float = 0.0
    asked: bool = False
    """A heartbeat waits for its answer."""

    def pays(self) -> bool:
        now = trio.current_time()
        self.credits = min(CREDITS, self.credits + (now - self.refilled) * _CREDITS_A_SECOND) - _SUBSCRIBING
        self.refilled = now
        return self.credits >= 0


class Deribit(Subscribed):
    exchange = "DERIBIT"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        self._contracts = {_native(contract): contract for contract in _listed(list(symbols))}
        markets = [
            Market(name, pace.walk(f"{self.exchange}.{name}", contract.facts))
            for name, contract in self._contracts.items()
        ]
        super().__init__(markets, pace, plan)
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._clients: dict[int, _Client] = {}
        self._ids = count(31_479_219_781, _IDS_BETWEEN)
        self._trade_seq = {market.native: count(market.walk.trade_id // 7) for market in markets}

    def speaks(self, address: Address) -> bool:
        return address.host in ("www.deribit.com", "streams.deribit.com") and address.path == "/ws/api/v2"

    def answers(self, address: Address) -> bool:
        return address.host == "www.deribit.com"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._run_heartbeats)
            for interval, seconds in INTERVALS.items() if self._pace.gather else ():
                nursery.start_soon(self._run_flushes, interval, seconds * self._pace.gather)

    # -- the talk -----------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        self._clients[session.number] = _Client(session)

    def left(self, session: Session) -> None:
        del self._clients[session.number]

    def handle(self, session: Session, message: str) -> None:
        request, client = decoded(message), self._clients[session.number]
        if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
            self._error(session, request, "Invalid params", {"reason": "must be JSON-RPC 2.0"})
            return
        method, params = str(request.get("method")), request.get("params")
        params = params if isinstance(params, dict) else {}
        if method == "public/test":
            client.asked = False
            self._result(session, request, {"version": "1.2.26"})
        elif method == "public/set_heartbeat":
            interval = params.get("interval")
            if not isinstance(interval, int | float) or interval < 10:
                self._error(session, request, "Invalid params", {"reason": "must be 10 or more", "param": "interval"})
                return
            client.interval, client.due = float(interval), trio.current_time() + interval
            self._result(session, request, "ok")
        elif method in ("public/subscribe", "public/unsubscribe", "public/unsubscribe_all"):
            channels = list(client.channels) if method.endswith("_all") else params.get("channels")
            if not client.pays():
                self._error(session, request, "too_many_requests", None)
                session.end(Fault(FaultKind.CLOSE, code=1008))
            elif not isinstance(channels, list):
                self._error(session, request, "Invalid params", {"reason": "value must be a list", "param": "channels"})
            else:
                self._channels(client, request, list(dict.fromkeys(map(str, channels))))
        else:
            self._error(session, request, "Method not found", None)

    def _channels(self, client: _Client, request: dict[str, Any], names: list[str]) -> None:
        if request["method"] == "public/subscribe":
            if any(name.endswith(".raw") for name in names):
                self._error(client.session, request, "raw_subscriptions_not_available_for_unauthorized", None)
                return
            known = [name for name in names if self._natives(name) and not self._is_refused(client, name)]
            self._result(client.session, request, known)
            for name in known:
                if name not in client.channels:
                    client.channels[name] = None
                    self._join(client.session, name)
            return
        joined = [name for name in names if name in client.channels]
        for name in joined:
            del client.channels[name]
            for native in self._natives(name):
                self.subscriptions.remove(name, native, client.session)
        self._result(client.session, request, joined if request["method"] == "public/unsubscribe" else "ok")

    def _is_refused(self, client: _Client, name: str) -> bool:
        return any(self.refuses(client.session, native) for native in self._natives(name))

    def _natives(self, name: str) -> list[str]:
        """The markets whose data a channel carries; none: there is no such channel."""
        parts = name.split(".")
        if len(parts) == 3 and parts[0] in ("book", "trades") and parts[2] in INTERVALS:
            return [parts[1]] if parts[1] in self.markets else []
        if len(parts) == 4 and parts[0] == "trades" and parts[3] in INTERVALS:
            found = self._contracts.items()
            return [native for native, each in found if _of(each, parts[1], parts[2])]
        return []

    def _envelope(self, request: object) -> dict[str, Any]:
        return {"jsonrpc": "2.0"} | ({"id": request["id"]} if isinstance(request, dict) and "id" in request else {})

    def _result(self, session: Session, request: dict[str, Any], result: object) -> None:
        session.post(framed(self._envelope(request) | {"result": result} | _times()))

    def _error(self, session: Session, request: object, message: str, data: dict[str, str] | None) -> None:
        error = {"message": message} | ({} if data is None else {"data": data}) | {"code": _ERRORS[message]}
        session.post(framed(self._envelope(request) | {"error": error} | _times()))

    async def _run_heartbeats(self) -> None:
        while True:
            await trio.sleep(1.0)
            now = trio.current_time()
            for client in [each for each in self._clients.values() if each.interval and now >= each.due]:
                if client.asked:
                    client.session.end(Fault(FaultKind.CLOSE, code=1000))
                client.due, client.asked = now + client.interval, True
                for kind in ("heartbeat", "test_request"):
                    client.session.post(framed({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}))

    # -- the data -----------------------------------------------------------------------------------------------

    def _join(self, session: Session, name: str) -> None:
        interval = name.rpartition(".")[2]
        for native in self._natives(name):
            market = self.markets[native]
            stream = self._stream(market, interval)
            if name.startswith("book."):
                sides = {"bids": stream.shown.bids, "asks": stream.shown.asks}
                rows = {side: [_row("new", *level) for level in levels] for side, levels in sides.items()}
                self._post_book([session], market, interval, "snapshot", stream, None, rows)
                market.tally(session).snapshot(stream.shown.best())
            self.subscriptions.add(name, native, session)

    def _stream(self, market: Market, interval: str) -> _Stream:
        key = market.native, interval
        if key not in self._streams:
            shown = Book(market.walk.book.bids.size(Decimal(0)))
            for side in Side:
                for price, size in market.walk.book[side]:
                    shown[side].set(price, size)
            self._streams[key] = _Stream(shown, next(self._ids))
        return self._streams[key]

    def _post_book(
        self, sessions: list[Session], market: Market, interval: str, kind: str, stream: _Stream, previous: int | None,
        rows: dict[str, list[str]],
    ) -> None:  # fmt: skip
        chain = "" if previous is None else f'"prev_change_id":{previous},'
        data = (
            f'{{"type":"{kind}","timestamp":{milliseconds()},{chain}"instrument_name":"{market.native}",'
            f'"change_id":{stream.change_id},"bids":[{",".join(rows["bids"])}],"asks":[{",".join(rows["asks"])}]}}'
        )
        frame = _notification(f"book.{market.native}.{interval}", data, Channel.BOOK, market.native)
        for session in sessions:
            session.post(frame)

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        streams = [(interval, self._stream(market, interval)) for interval in INTERVALS]
        trades = [self._trade(market, fill) for fill in step.fills]
        for interval, stream in streams:
            for side, prices in step.touched.items():
                stream.touched[side] |= prices
            stream.fills += trades
            if not self._pace.gather:
                self._flush(market, interval)

    async def _run_flushes(self, interval: str, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            for native, kind in list(self._streams):
                if kind == interval:
                    self._flush(self.markets[native], interval)

    def _flush(self, market: Market, interval: str) -> None:
        stream = self._streams[market.native, interval]
        if stream.fills:
            self._tell_trades(market, interval, stream.fills)
            stream.fills = []
        rows: dict[str, list[str]] = {}
        for side, name in ((Side.BID, "bids"), (Side.ASK, "asks")):
            shown, rows[name] = stream.shown[side], []
            for price in stream.touched[side]:
                size = market.walk.book[side].size(price)
                if size != shown.size(price):
                    action = "delete" if not size else "change" if price in shown else "new"
                    rows[name].append(_row(action, price, size))
                    shown.set(price, size)
            stream.touched[side] = {}
        if rows["bids"] or rows["asks"]:
            previous, stream.change_id = stream.change_id, next(self._ids)
            sessions = self.subscriptions.of(f"book.{market.native}.{interval}", market.native)
            self._post_book(sessions, market, interval, "change", stream, previous, rows)
            for session in sessions:
                market.tally(session).frame(stream.shown.best())

    def _tell_trades(self, market: Market, interval: str, trades: list[str]) -> None:
        kind, currency = _KINDS[self._contracts[market.native].kind], _currency(self._contracts[market.native])
        names = [market.native, f"{kind}.{currency}", f"{kind}.any", f"any.{currency}", "any.any"]
        for channel in (f"trades.{name}.{interval}" for name in names):
            frame = _notification(channel, f"[{','.join(trades)}]", Channel.TRADES, market.native)
            self.publish_trades(channel, market, frame, len(trades))

    def _trade(self, market: Market, fill: Fill) -> str:
        contract = self._contracts[market.native]
        iv = '"iv":54.33,' if contract.kind is Kind.OPTION else ""
        pieces = fill.size / _contract_size(contract)
        return (
            f'{{"timestamp":{milliseconds()},"price":{_number(fill.price)},"amount":{_number(fill.size)},'
            f'"direction":"{fill.taker}","index_price":{_number(fill.price)},{iv}"instrument_name":"{market.native}",'
            f'"trade_seq":{next(self._trade_seq[market.native])},"mark_price":{_number(fill.price)},'
            f'"tick_direction":{fill.trade_id % 4},"contracts":{_number(pieces)},"trade_id":"{fill.trade_id}"}}'
        )

    # -- REST ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.path != "/api/v2/public/get_instruments":
            return self.refusal(404, "Not found")
        if "currency" not in asked:
            return self.refusal(400, "Invalid params")
        rows = [
            _listing(native, contract)
            for native, contract in self._contracts.items()
            if _of(contract, asked.get("kind", "any"), asked["currency"]) and asked.get("expired") != "true"
        ]
        return Response.json({"jsonrpc": "2.0", "result": rows} | _times())

    def refusal(self, status: int, reason: str) -> Response:
        error = {"message": reason, "code": 10028 if status == 429 else -32602}
        return Response.json({"jsonrpc": "2.0", "error": error} | _times(), status)


def _listed(symbols: list[str]) -> Iterator[Contract]:
    yield from spot(symbols, "USDC")
    yield from linear(symbols, "USDC")
    for each in inverse(symbols[:2], {}, 1):  # sizes in dollars, of which a contract of BTC is ten
        yield replace(each, facts=replace(each.facts, lot_decimals=-1)) if each.facts.base == "BTC" else each
    yield from options(symbols, "USD", lot_decimals=1, in_coin=True)
    yield from (each for each in options(["XRP/USD"], "USDC", lot_decimals=0) if "XRP/USD" in symbols)


def _native(contract: Contract) -> str:
    base, expiry = contract.facts.base, day(contract.expiry)
    name = base if contract.inverse else f"{base}_{contract.facts.quote}"
    if contract.kind is Kind.OPTION:
        return f"{name}-{expiry}-{str(contract.strike).replace('.', 'd')}-{contract.right}"
    return name if contract.kind is Kind.SPOT else f"{name}-{expiry or 'PERPETUAL'}"


def _currency(contract: Contract) -> str:
    """Under which it is listed."""
    return contract.facts.base if contract.inverse else contract.facts.quote


def _contract_size(contract: Contract) -> Decimal:
    """In dollars for inverse perpetuals and futures, else in the base."""
    return contract.facts.lot if contract.inverse and contract.kind is not Kind.OPTION else Decimal(1)


def _of(contract: Contract, kind: str, currency: str) -> bool:
    return kind in ("any", _KINDS[contract.kind]) and currency in ("any", _currency(contract))


def _notification(channel: str, data: str, kind: Channel, native: str) -> Frame:
    params = f'{{"channel":"{channel}","data":{data}}}'
    return Frame(f'{{"jsonrpc":"2.0","method":"subscription","params":{params}}}', kind, native)


def _times() -> dict[str, Any]:
    now = milliseconds() * 1000
    return {"usIn": now, "usOut": now + 148, "usDiff": 148, "testnet": False}


def _row(action: str, price: Decimal, size: Decimal) -> str:
    return f'["{action}",{_number(price)},{_number(size)}]'


def _number(number: Decimal) -> str:
    """With a point; small ones with an exponent: `2960.0`, `0.0525`, `5.0e-4`."""
    number = number.normalize()
    if number and number.adjusted() < -3:
        mantissa = text(number.scaleb(-number.adjusted()))
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{number.adjusted()}"
    plain = text(number + 0)
    return plain if "." in plain else f"{plain}.0"


def _listing(native: str, contract: Contract) -> dict[str, Any]:
    facts = contract.facts
    row: dict[str, Any] = {
        "kind": _KINDS[contract.kind],
        "instrument_name": native,
        "instrument_id": sum(map(ord, native)),
        "instrument_type": "reversed" if contract.inverse else "linear",
        "base_currency": facts.base,
        "quote_currency": facts.base if contract.inverse and contract.kind is Kind.OPTION else facts.quote,
        "counter_currency": facts.quote,
        "price_index": f"{facts.base}_{facts.quote}".lower(),
        "contract_size": float(_contract_size(contract)),
        "min_trade_amount": float(facts.lot),
        "tick_size": float(facts.tick),
        "tick_size_steps": [],
        "taker_commission": 0.0003,
        "maker_commission": 0.0003,
        "creation_timestamp": 1664524802000,
        "expiration_timestamp": contract.expiry_ms or 32503708800000,
        "is_active": True,
        "state": "open",
    }
    if contract.kind is not Kind.SPOT:
        period = "perpetual" if contract.kind is Kind.PERPETUAL else "month"
        row |= {"settlement_currency": contract.settle, "settlement_period": period}
    if contract.kind is Kind.OPTION:
        row |= {"option_type": "call" if contract.right == "C" else "put", "strike": float(contract.strike)}
    return row
