"""Synthetic BitMEX: spot, perpetuals and dated futures on one socket (wsAPI, API changes of 2023-04 to 2026-05).

* `orderBookL2` is the whole book, rows named by id and side: `partial`, then `delete`, `update` and `insert`, one kind
  a frame. An id belongs to a price and tells nothing about it. Nothing is numbered, nothing is checked.
* A topic's third part is the pool. Here all there is stands in the Primary pool, so Aggregated (what a topic without a
  pool means) is the same book under another tag, and Secondary is empty. Acks name the topic without the pool.
* Sizes are contracts, whole numbers. One of a quanto contract (`ETHUSD`: quoted in dollars, settled in BTC) is worth
  `multiplier` satoshi for each dollar of the price, so that it stands for no fixed amount of the base. BTC is `XBT`.
* The raw text `ping` is answered by `pong`; sizes and prices are JSON numbers. A subscription to `trade` begins with a
  `partial` of the last trade.
* Wrong names are refused topic by topic. (The wording is the sheet's for unknown symbols, and made up for the rest.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final

import msgspec

from level4.simulator.address import Address
from level4.simulator.book import Book, Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import Listed, dollars, listed, next_quarter
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed, whole
from level4.simulator.synthetic import Market, Pace, text, timestamp
from level4.simulator.walk import Fill

_POOLS: Final = ("Aggregated", "Primary", "Secondary")
_SIDES: Final = {Side.BID: "Buy", Side.ASK: "Sell"}
_MONTHS: Final = {3: "H", 6: "M", 9: "U", 12: "Z"}
_SPOT, _PERPETUAL, _DATED = "IFXXXP", "FFWCSX", "FFCCSX"
_QUANTO_MULTIPLIER: Final = 100
"""Satoshi for each dollar of the price, of one quanto contract."""
_SATOSHI: Final = 10**8
_BOOK_TYPES: Final = {
    "symbol": "symbol", "id": "long", "side": "symbol", "size": "long", "price": "float", "timestamp": "timestamp",
    "transactTime": "timestamp", "pool": "symbol",
}  # fmt: skip
_TRADE_TYPES: Final = {
    "timestamp": "timestamp", "symbol": "symbol", "side": "symbol", "size": "long", "price": "float",
    "tickDirection": "symbol", "trdMatchID": "guid", "grossValue": "long", "homeNotional": "float",
    "foreignNotional": "float", "trdType": "symbol", "pool": "symbol",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Contract:
    native: str
    typ: str
    multiplier: int | None
    """Contracts for one unit of the base; None: a contract is a dollar, or quanto."""
    expiry: datetime | None = None
    quanto: bool = False

    @property
    def inverse(self) -> bool:
        return self.multiplier is None and not self.quanto

    def home(self, size: Decimal, price: Decimal) -> Decimal:
        """So many contracts in the base currency, at a price."""
        if self.quanto:
            return size * _QUANTO_MULTIPLIER / _SATOSHI * dollars("BTC")
        return size / (price if self.multiplier is None else self.multiplier)


@dataclass(slots=True)
class _State:
    shown: Book
    """What subscribers have been sent."""
    next_id: count[int]
    ids: dict[Decimal, int] = field(default_factory=dict)

    def id(self, price: Decimal) -> int:
        if price not in self.ids:
            self.ids[price] = next(self.next_id)
        return self.ids[price]


class Bitmex(Subscribed):
    exchange = "BITMEX"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Symbols in dollars are listed as spot, perpetual and future in USDT, BTC as inverse contracts too and ETH as
        a quanto perpetual; others as spot."""
        self._contracts: dict[str, _Contract] = {}
        markets: list[Market] = []
        for symbol in symbols:
            for contract, facts in _listings(listed(symbol)):
                self._contracts[contract.native] = contract
                markets.append(Market(contract.native, pace.walk(f"BITMEX.{contract.native}", facts)))
        super().__init__(markets, pace, plan)
        self._states: dict[str, _State] = {}
        self._ids = count(62_400_000_000, 12_000_017)

    def speaks(self, address: Address) -> bool:
        return address.host in ("ws.bitmex.com", "www.bitmex.com") and address.path == "/realtime"

    def answers(self, address: Address) -> bool:
        return address.host == "www.bitmex.com"

    def greet(self, session: Session) -> None:
        welcome = {"info": "Welcome to the BitMEX Realtime API.", "version": "2.0.0", "timestamp": timestamp(3)}
        session.post(
            framed(
                welcome
                | {"docs": "https://www.bitmex.com/app/wsAPI", "heartbeatEnabled": False, "appName": "ws-feedhandler"}
            )
        )

    def handle(self, session: Session, message: str) -> None:
        if message == "ping":
            session.post(Frame("pong"))
            return
        request = decoded(message)
        if not isinstance(request, dict) or request.get("op") not in ("subscribe", "unsubscribe"):
            self._error(session, "Unrecognized request. See the help for usage.", request)
            return
        args = request.get("args", [])
        for topic in [args] if isinstance(args, str) else args if isinstance(args, list) else []:
            self._topic(session, request, str(topic))

    def _error(self, session: Session, reason: str, request: object) -> None:
        session.post(framed({"status": 400, "error": reason, "meta": {}, "request": request}))

    def _topic(self, session: Session, request: dict[str, Any], topic: str) -> None:
        table, _, rest = topic.partition(":")
        native, _, pool = rest.partition(":")
        pool = pool or "Aggregated"
        if table not in ("orderBookL2", "trade"):
            self._error(session, f"Unknown table: {table}", request)
        elif native not in self.markets:
            self._error(session, f"Unknown symbol: {native}", request)
        elif pool not in _POOLS:
            self._error(session, f"Unknown pool: {pool}", request)
        elif request["op"] == "unsubscribe":
            if self.subscriptions.remove(f"{table}:{pool}", native, session):
                session.post(framed({"success": True, "unsubscribe": f"{table}:{native}", "request": request}))
            else:
                self._error(session, f"Not subscribed to {table}:{native}", request)
        elif self.subscriptions.has(f"{table}:{pool}", native, session):
            self._error(session, f"You are already subscribed to this topic: {table}:{native}", request)
        elif self.refuses(session, native):
            self._error(session, f"Refused symbol: {native}", request)
        else:
            ack = {"success": True, "subscribe": f"{table}:{native}", "pool": pool, "request": request}
            session.post(framed(ack))
            self._welcome(session, self.markets[native], table, pool)
            self.subscriptions.add(f"{table}:{pool}", native, session)

    def _state(self, market: Market) -> _State:
        if market.native not in self._states:
            shown = Book()
            for side in Side:
                for price, size in market.walk.book[side]:
                    shown[side].set(price, size)
            self._states[market.native] = _State(shown, self._ids)
        return self._states[market.native]

    def _welcome(self, session: Session, market: Market, table: str, pool: str) -> None:
        state, now = self._state(market), timestamp(3)
        if table == "trade":
            fills = list(market.walk.recent)[-1:] if pool != "Secondary" else []
            rows = [self._trade(market, fill, now) for fill in fills]
            session.post(Frame(_partial(table, [], _TRADE_TYPES, market, pool, rows), Channel.TRADES, market.native))
            return
        rows = [] if pool == "Secondary" else [
            _row(market, state, side, price, size, pool, now)
            for side in (Side.ASK, Side.BID)
            for price, size in sorted(state.shown[side], reverse=True)
        ]  # fmt: skip
        keys = ["symbol", "id", "side"]
        session.post(Frame(_partial(table, keys, _BOOK_TYPES, market, pool, rows), Channel.BOOK, market.native))
        market.tally(session).snapshot((None, None) if pool == "Secondary" else state.shown.best())

    def advance(self, market: Market) -> None:
        state, step, now = self._state(market), market.walk.step(), timestamp(3)
        if step.fills:
            rows = ",".join(self._trade(market, fill, now) for fill in step.fills)
            frame = Frame(f'{{"table":"trade","action":"insert","data":[{rows}]}}', Channel.TRADES, market.native)
            for pool in ("Aggregated", "Primary"):
                self.publish_trades(f"trade:{pool}", market, frame, len(step.fills))
        changes: dict[str, list[tuple[Side, Decimal, Decimal]]] = {"delete": [], "update": [], "insert": []}
        for side, prices in step.touched.items():
            for price in prices:
                size, known = market.walk.book[side].size(price), price in state.shown[side]
                if known and not size:
                    changes["delete"].append((side, price, size))
                elif size and size != state.shown[side].size(price):
                    changes["update" if known else "insert"].append((side, price, size))
        for action, levels in changes.items():
            for side, price, size in levels:
                state.shown[side].set(price, size)
            for pool in ("Aggregated", "Primary") if levels else ():
                rows = ",".join(_row(market, state, *level, pool, now) for level in levels)
                data = f'{{"table":"orderBookL2","action":"{action}","data":[{rows}]}}'
                frame = Frame(data, Channel.BOOK, market.native)
                self.publish_book(f"orderBookL2:{pool}", market, frame, state.shown.best())

    def _trade(self, market: Market, fill: Fill, now: str) -> str:
        home = self._contracts[market.native].home(fill.size, fill.price)
        number = f"00000000-006d-1000-0000-{fill.trade_id:012x}"
        return (
            f'{{"timestamp":"{now}","symbol":"{market.native}","side":"{fill.taker.title()}","size":{fill.size},'
            f'"price":{text(fill.price)},"tickDirection":"ZeroPlusTick","trdMatchID":"{number}",'
            f'"grossValue":{int(home * 10**8)},"homeNotional":{text(round(home, 8))},'
            f'"foreignNotional":{text(round(home * fill.price, 4))},"trdType":"Regular","pool":"Primary"}}'
        )

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.path == "/api/v1/instrument/active":
            rows = [_instrument(self._contracts[native], market) for native, market in self.markets.items()]
            return Response(200, f"[{','.join([*rows, _INDEX])}]".encode())
        if address.path == "/api/v1/orderBook/L2":
            market = self.markets.get(asked.get("symbol", ""))
            if market is None:
                return self.refusal(400, f"Unknown symbol: {asked.get('symbol')}")
            state, depth, now = self._state(market), whole(asked.get("depth"), 25), timestamp(3)
            levels = [(side, *level) for side in Side for level in state.shown[side].top(depth or 1_000_000)]
            return Response(
                200, f"[{','.join(_row(market, state, *level, 'Aggregated', now) for level in levels)}]".encode()
            )
        return self.refusal(404, "Not Found")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"error": {"message": reason, "name": "HTTPError"}}, status)


_INDEX: Final = (
    '{"symbol":".BXBT","rootSymbol":"XBT","state":"Unlisted","typ":"MRCXXX","listing":null,"expiry":null,'
    '"underlying":"XBT","quoteCurrency":"USD","tickSize":0.01}'
)


def _listings(facts: Listed) -> Iterable[tuple[_Contract, Listed]]:
    """Contracts and their markets: price and size on the wire, the size in contracts."""
    base = "XBT" if facts.base == "BTC" else facts.base
    quote = "USDT" if facts.quote == "USD" else facts.quote
    expiry = datetime.combine(next_quarter(datetime.now(UTC).date()), datetime.min.time(), UTC).replace(hour=12)
    ending = f"{_MONTHS[expiry.month]}{expiry:%y}"
    multiplier = 10**facts.lot_decimals
    linear = replace(facts, quote=quote, lot_decimals=0, lot_value=facts.price / multiplier)
    yield _Contract(f"{base}_{quote}", _SPOT, multiplier), linear
    if facts.quote == "USD":
        yield _Contract(f"{base}USDT", _PERPETUAL, multiplier), linear
        yield _Contract(f"{base}USDT{ending}", _DATED, multiplier, expiry), linear
    if (facts.base, facts.quote) == ("BTC", "USD"):
        of_a_dollar = replace(facts, lot_decimals=0, lot_value=Decimal(1))
        yield _Contract("XBTUSD", _PERPETUAL, None), of_a_dollar
        yield _Contract(f"XBT{ending}", _DATED, None, expiry), of_a_dollar
    if (facts.base, facts.quote) == ("ETH", "USD"):
        worth = facts.price * _QUANTO_MULTIPLIER / _SATOSHI * dollars("BTC")
        yield _Contract("ETHUSD", _PERPETUAL, None, quanto=True), replace(facts, lot_decimals=0, lot_value=worth)


def _instrument(contract: _Contract, market: Market) -> str:
    facts, inverse, quanto = market.walk.listed, contract.inverse, contract.quanto
    settle = None if contract.typ == _SPOT else "XBt" if inverse or quanto else "USDt"
    base = "XBT" if facts.base == "BTC" else facts.base
    row = {
        "symbol": contract.native,
        "rootSymbol": base,
        "state": "Open",
        "typ": contract.typ,
        "listing": "2016-05-13T12:00:00.000Z",
        "expiry": f"{contract.expiry:%Y-%m-%dT%H:%M:%S}.000Z" if contract.expiry else None,
        "underlying": base,
        "quoteCurrency": facts.quote,
        "settlCurrency": settle,
        "lotSize": 1,
        "tickSize": msgspec.Raw(text(facts.tick).encode()),
        "multiplier": -_SATOSHI if inverse else _QUANTO_MULTIPLIER if quanto else 1,
        "underlyingToPositionMultiplier": contract.multiplier,
        "underlyingToSettleMultiplier": -_SATOSHI if inverse else None,
        "quoteToSettleMultiplier": None if inverse or quanto else 1_000_000,
        "isQuanto": quanto,
        "isInverse": inverse,
    }
    return msgspec.json.encode(row).decode()


def _partial(table: str, keys: list[str], types: dict[str, str], market: Market, pool: str, rows: list[str]) -> str:
    head = {"table": table, "action": "partial", "keys": keys, "types": types}
    start = msgspec.json.encode(head | {"filter": {"pool": pool, "symbol": market.native}}).decode()
    return f'{start[:-1]},"data":[{",".join(rows)}]}}'


def _row(market: Market, state: _State, side: Side, price: Decimal, size: Decimal, pool: str, now: str) -> str:
    """A row; without size that of a deleted level."""
    told = f'"size":{size},' if size else ""
    return (
        f'{{"symbol":"{market.native}","id":{state.id(price)},"side":"{_SIDES[side]}",{told}"price":{text(price)},'
        f'"pool":"{pool}","timestamp":"{now}","transactTime":"{now}"}}'
    )
