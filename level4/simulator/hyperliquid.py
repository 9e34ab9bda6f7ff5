"""Synthetic Hyperliquid, spot and perpetuals (hyperliquid.gitbook.io as of 2026; a third party's probe of 2026-09).

* One subscription a message. A name that is not listed ends the connection without a close frame; a delisted one is
  acknowledged and shows an empty book. What cannot be read is told as an error that repeats it, also more than one name
  at once. Aggregated books (`nSigFigs`) and requests over the socket (`post`) are not played.
* `l2Book` tells 20 levels whole every 5.4 s, with `fast` five every 0.54 s, changed or not, the first at once; all
  markets of a push bear one `time`. `bbo` tells the touch when it has changed in a block; every step is a block here.
  Times of a market rise.
* Trades: `side` B is a taker who bought; ids are without order. The first frame tells trades before the subscription.
* The server closes what it has told nothing for 60 s. One address may hold 10 connections and 1000 subscriptions and
  say 2000 messages a minute; what the real one does beyond is not known: here it says no, or cuts.
* A consumer's book starts with the first `l2Book`; it and every `bbo` are frames that may change the best.
* Prices and sizes are texts as of floats: whole ones end in `.0`. A price has five significant digits at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import trio

from level4.simulator.address import Address
from level4.simulator.contracts import bases
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.listing import Listed, listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, milliseconds, number
from level4.simulator.tally import Touch
from level4.simulator.walk import Fill

FAST_SECONDS = 0.54
SLOW_SECONDS = 5.4
IDLE_SECONDS = 60.0
MAX_CONNECTIONS: Final = 10
MAX_SUBSCRIPTIONS = 1000
MAX_MESSAGES_A_MINUTE = 2000
DEPTHS: Final = {"l2Book": 20, "l2Book fast": 5}
_HISTORY: Final = 10
_SIGNIFICANT: Final = 5
_DELISTED: Final = "MATIC"
_DEX: Final = "xyz"
_RESET: Final = Fault(FaultKind.RESET)


class Hyperliquid(Subscribed):
    exchange = "HYPERLIQUID"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Markets in dollars are in USDC; each of them has a perpetual too, the first one another on a dex `xyz`."""
        symbols = list(symbols)
        dollars = [f"{base}/USDC" for base in bases(symbols)]
        spot = [symbol for symbol in symbols if not symbol.upper().endswith(("/USD", "/USDT"))]
        self._spot = {
            _name(place, facts): facts for place, facts in enumerate(_facts(s, 8) for s in [*dollars, *spot])
        }
        self._perpetuals = {facts.base: facts for facts in (_facts(symbol, 6) for symbol in dollars)}
        self._others = {f"{_DEX}:{base}": facts for base, facts in list(self._perpetuals.items())[:1]}
        everything = self._spot | self._perpetuals | self._others
        markets = [Market(name, pace.walk(f"HYPERLIQUID.{name}", facts)) for name, facts in everything.items()]
        super().__init__(markets, pace, plan)
        self._times = dict.fromkeys(self.markets, 0)
        """Of the last block of each market."""
        self._sessions: dict[int, tuple[Session, float]] = {}
        """With the time of the last word to each."""
        self._messages: deque[float] = deque(maxlen=MAX_MESSAGES_A_MINUTE)

    def speaks(self, address: Address) -> bool:
        return address.host == "api.hyperliquid.xyz" and address.path == "/ws"

    def answers(self, address: Address) -> bool:
        return address.host == "api.hyperliquid.xyz"

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._push, "l2Book")
            nursery.start_soon(self._push, "l2Book fast")

    # -- the talk -------------------------------------------------------------------------------------------------

    def greet(self, session: Session) -> None:
        self._sessions[session.number] = session, trio.current_time()
        if len(self._sessions) > MAX_CONNECTIONS:
            session.end(Fault(FaultKind.CLOSE, code=1008))

    def left(self, session: Session) -> None:
        self._sessions.pop(session.number, None)

    def _tell(self, session: Session, frame: Frame) -> None:
        self._sessions[session.number] = session, trio.current_time()
        session.post(frame)

    def handle(self, session: Session, message: str) -> None:
        now = trio.current_time()
        if len(self._messages) == MAX_MESSAGES_A_MINUTE and now - self._messages[0] < 60:
            session.end(_RESET)
            return
        self._messages.append(now)
        match decoded(message):
            case {"method": "ping"}:
                self._tell(session, framed({"channel": "pong"}))
            case {
                "method": "subscribe" | "unsubscribe" as method,
                "subscription": {"type": "l2Book" | "bbo" | "trades" as kind, "coin": str(coin)} as asked,
            } if isinstance(asked.get("fast"), bool | None):
                self._subscription(session, method, _echo(kind, coin, asked), message)
            case _:
                self._error(session, f"Error parsing JSON into valid websocket request: {message}")

    def _error(self, session: Session, text: str) -> None:
        self._tell(session, framed({"channel": "error", "data": text}))

    def _subscription(self, session: Session, method: str, echo: dict[str, Any], message: str) -> None:
        coin, channel = echo["coin"], echo["type"] + (" fast" if echo.get("fast") else "")
        market = self.markets.get(coin)
        aggregated = any(echo.get(name) is not None for name in ("nSigFigs", "mantissa"))
        if aggregated or (market is None and coin != _DELISTED):
            session.end(_RESET)
            return
        there = market is not None and self.subscriptions.has(channel, coin, session)
        acknowledged = framed({"channel": "subscriptionResponse", "data": {"method": method, "subscription": echo}})
        if method == "unsubscribe":
            if not there:
                self._error(session, f"Already unsubscribed: {_json(echo)}")
                return
            self.subscriptions.remove(channel, coin, session)
            self._tell(session, acknowledged)
        elif there:
            self._error(session, f"Already subscribed: {_json(echo)}")
        elif self.refuses(session, coin) or sum(each.listeners for each in self.markets.values()) >= MAX_SUBSCRIPTIONS:
            self._error(session, f"Cannot subscribe: {message}")
        else:
            self._tell(session, acknowledged)
            if market is None:
                self._tell(session, _book_frame(coin, milliseconds(), [], []))
            else:
                self.subscriptions.add(channel, coin, session)
                self._first(session, channel, market)

    def _first(self, session: Session, channel: str, market: Market) -> None:
        """What a new subscriber is told at once."""
        if channel in DEPTHS:
            book = market.walk.book
            self._tell(session, self._whole(market, channel, self._block(market)))
            market.tally(session).snapshot(book.best())
        elif channel == "trades":
            then = milliseconds() - 20_000
            rows = [_trade(market, fill, then + i) for i, fill in enumerate(list(market.walk.recent)[-_HISTORY:])]
            self._tell(session, framed({"channel": "trades", "data": rows}))

    # -- books and trades -----------------------------------------------------------------------------------------

    def _block(self, *markets: Market) -> int:
        """The time of a block of these markets that comes now."""
        now = max(milliseconds(), *(self._times[market.native] + 1 for market in markets))
        self._times.update(dict.fromkeys((market.native for market in markets), now))
        return now

    def advance(self, market: Market) -> None:
        before = market.walk.book.best()
        step, now = market.walk.step(), self._block(market)
        best = market.walk.book.best()
        if step.fills and (listening := self.subscriptions.of("trades", market.native)):
            rows = [_trade(market, fill, now) for fill in step.fills]
            frame = framed({"channel": "trades", "data": rows}, Channel.TRADES, market.native)
            for session in listening:
                self._tell(session, frame)
                market.tally(session).trades += len(rows)
        if best != before and (listening := self.subscriptions.of("bbo", market.native)):
            data = {"coin": market.native, "time": now, "bbo": [_level(market, touch) for touch in best]}
            frame = framed({"channel": "bbo", "data": data}, Channel.BOOK, market.native)
            for session in listening:
                self._tell(session, frame)
                market.tally(session).frame(best)

    async def _push(self, channel: str) -> None:
        """All books at once, again and again; and goodbye to whom nothing was told for long."""
        while True:
            await trio.sleep(SLOW_SECONDS if channel == "l2Book" else FAST_SECONDS)
            listened = [market for market in self.markets.values() if self.subscriptions.of(channel, market.native)]
            now = self._block(*listened) if listened else 0
            for market in listened:
                frame = self._whole(market, channel, now)
                for session in self.subscriptions.of(channel, market.native):
                    self._tell(session, frame)
                    market.tally(session).frame(market.walk.book.best())
            for session, told in list(self._sessions.values()):
                if trio.current_time() - told > IDLE_SECONDS:
                    session.end(_RESET)

    def _whole(self, market: Market, channel: str, now: int) -> Frame:
        book, depth = market.walk.book, DEPTHS[channel]
        bids, asks = ([_level(market, level) for level in side.top(depth)] for side in (book.bids, book.asks))
        return _book_frame(market.native, now, bids, asks)

    # -- REST -----------------------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Response:
        if request.address.path != "/info":
            return self.refusal(404, "Not Found")
        if request.method != "POST":
            return self.refusal(405, "Method Not Allowed")
        match decoded(request.body.decode(errors="replace")):
            case {"type": "spotMeta"}:
                return Response.json(_spot_meta(self._spot))
            case {"type": "meta", **asked}:
                found = {"": self._perpetuals, _DEX: self._others}.get(str(asked.get("dex", "")))
                return Response.json(None if found is None else _meta(found))
            case {"type": "allPerpMetas"}:
                return Response.json([_meta(self._perpetuals), _meta(self._others)])
            case {"type": "perpDexs"}:
                return Response.json([None, {"name": _DEX, "fullName": "XYZ"}])
            case {"type": "l2Book", "coin": str(coin)}:
                market = self.markets.get(coin)
                book = None if market is None else decoded(str(self._whole(market, "l2Book", milliseconds()).data))
                return Response.json(None if book is None else book["data"])
            case _:
                return self.refusal(422, "Failed to deserialize the JSON body into the target type")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json(reason, status)


def _facts(symbol: str, decimals: int) -> Listed:
    """By the exchange's rules: `decimals` less those of sizes, and five significant digits at most."""
    facts = listed(symbol)
    places = max(0, min(_SIGNIFICANT - 1 - facts.price.adjusted(), decimals - facts.lot_decimals))
    return replace(facts, price=round(facts.price, places), price_decimals=places)


def _name(place: int, facts: Listed) -> str:
    """The first spot market has a name, the others numbers."""
    return f"@{place}" if place else f"{facts.base}/{facts.quote}"


def _echo(kind: str, coin: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The subscription with its defaults filled in."""
    if kind != "l2Book":
        return {"type": kind, "coin": coin}
    aggregation = {name: asked.get(name) for name in ("nSigFigs", "mantissa")}
    return {"type": kind, "coin": coin, **aggregation, "fast": bool(asked.get("fast"))}


def _json(content: object) -> str:
    return str(framed(content).data)


def _level(market: Market, touch: Touch) -> dict[str, Any] | None:
    if touch is None:
        return None
    price, size = touch
    orders = 1 + int(size.scaleb(market.walk.listed.lot_decimals)) % 40
    return {"px": number(price), "sz": number(size), "n": orders}


def _book_frame(coin: str, now: int, bids: list[Any], asks: list[Any]) -> Frame:
    data = {"coin": coin, "time": now, "levels": [bids, asks]}
    return framed({"channel": "l2Book", "data": data}, Channel.BOOK, coin)


def _trade(market: Market, fill: Fill, now: int) -> dict[str, Any]:
    digits = sha256(f"{market.native} {fill.trade_id}".encode()).hexdigest()
    return {
        "coin": market.native,
        "side": "B" if fill.taker == "buy" else "A",
        "px": number(fill.price),
        "sz": number(fill.size),
        "time": now,
        "hash": f"0x{digits}",
        "tid": int(digits[:12], 16),
        "users": [f"0x{digits[:40]}", f"0x{digits[24:]}"],
    }


def _meta(perpetuals: dict[str, Listed]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {"szDecimals": facts.lot_decimals, "name": name, "maxLeverage": 20, "marginTableId": 20}
        for name, facts in perpetuals.items()
    ]
    if not any(":" in name for name in perpetuals):
        rows.append({"szDecimals": 1, "name": _DELISTED, "maxLeverage": 20, "marginTableId": 20, "isDelisted": True})
    return {"universe": rows, "marginTables": [], "collateralToken": 0}


def _spot_meta(spot: dict[str, Listed]) -> dict[str, Any]:
    decimals = {"USDC": 8, **{facts.base: facts.lot_decimals for facts in spot.values()}}
    decimals = {**dict.fromkeys((facts.quote for facts in spot.values()), 8), **decimals}
    places = {name: place for place, name in enumerate(sorted(decimals, key=lambda name: name != "USDC"))}
    tokens = [
        {
            "name": name,
            "szDecimals": decimals[name],
            "weiDecimals": 8,
            "index": place,
            "tokenId": f"0x{place:032x}",
            "isCanonical": place < 2,
            "evmContract": None,
            "fullName": None,
        }
        for name, place in places.items()
    ]
    universe = [
        {"tokens": [places[facts.base], places[facts.quote]], "name": name, "index": index, "isCanonical": not index}
        for index, (name, facts) in enumerate(spot.items())
    ]
    return {"universe": universe, "tokens": tokens}
