"""Synthetic Bitstamp spot, WebSocket v2 (bitstamp.net/websocket/v2 and /api as of 2026-09).

* `order_book_` sends the 100 best levels whole with every change, `diff_order_book_` what has changed; nothing comes on
  subscribing, and the book itself comes by REST. `microtimestamp` orders the messages of a market and joins both; it
  rises by at least one with every step. (The real one gathers for about 100 ms; here every step is a message.)
* One channel a message, and no more than 512 bytes. A name of unknown form is refused; an unknown lower-case market is
  acknowledged and then silent.
* A consumer's book starts with the REST snapshot or, on `order_book_`, with the first message. The snapshot is not tied
  to a connection: it starts the counts of every connection that has the channel and no book yet.
* Trades: type 0 is a taker who bought. Nothing old comes on subscribing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Final

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed
from level4.simulator.synthetic import Market, Pace, levels_text, text
from level4.simulator.walk import Fill

MAX_MESSAGE_BYTES: Final = 512
MAX_CHANNELS: Final = 1024
TOP: Final = 100
_NAME: Final = re.compile(r"(order_book|diff_order_book|live_trades)_([a-z0-9-]+)")
_TOO_BIG: Final = 1009


class Bitstamp(Subscribed):
    exchange = "BITSTAMP"
    ping_seconds = 54.0

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        facts = [listed(symbol, 8) for symbol in symbols]
        markets = [Market(f"{each.base}{each.quote}".lower(), pace.walk(self.exchange, each)) for each in facts]
        super().__init__(markets, pace, plan)
        self._times = dict.fromkeys(self.markets, 0)
        """The microtimestamp of the last step."""
        self._begun: dict[str, dict[int, int]] = {native: {} for native in self.markets}
        """By market and session: the microtimestamp at which its counts began."""
        self._silent: dict[int, set[str]] = {}
        """Acknowledged channels of unknown markets."""

    def speaks(self, address: Address) -> bool:
        return address.host == "ws.bitstamp.net"

    def answers(self, address: Address) -> bool:
        return address.host == "www.bitstamp.net"

    def left(self, session: Session) -> None:
        self._silent.pop(session.number, None)
        for begun in self._begun.values():
            begun.pop(session.number, None)

    def handle(self, session: Session, message: str) -> None:
        if len(message.encode()) > MAX_MESSAGE_BYTES:
            session.end(Fault(FaultKind.CLOSE, code=_TOO_BIG))
            return
        request = decoded(message)
        if not isinstance(request, dict):
            self._error(session, "", "Incorrect JSON format.")
            return
        event, data = request.get("event"), request.get("data")
        if event == "bts:heartbeat":
            session.post(framed({"event": event, "channel": "", "data": {"status": "success"}}))
        elif event not in ("bts:subscribe", "bts:unsubscribe") or not isinstance(data, dict):
            self._error(session, "", "Bad subscription string.")
        else:
            self._subscription(session, event, str(data.get("channel")))

    def _error(self, session: Session, channel: str, reason: str) -> None:
        session.post(framed({"event": "bts:error", "channel": channel, "data": {"code": None, "message": reason}}))

    def _subscription(self, session: Session, event: str, name: str) -> None:
        found = _NAME.fullmatch(name)
        if found is None:
            self._error(session, "", "Invalid channel provided.")
            return
        channel, native = found.groups()
        silent = self._silent.setdefault(session.number, set())
        if event == "bts:unsubscribe":
            silent.discard(name)
            if native in self.markets:
                self.subscriptions.remove(channel, native, session)
                self._begun[native].pop(session.number, None)
            session.post(framed({"event": "bts:unsubscription_succeeded", "channel": name, "data": {}}))
        elif len(self.subscriptions.names(session)) + len(silent) >= MAX_CHANNELS:
            session.end(Fault(FaultKind.CLOSE, code=1000))
        elif self.refuses(session, native):
            self._error(session, name, "Subscription refused.")
        else:
            session.post(framed({"event": "bts:subscription_succeeded", "channel": name, "data": {}}))
            if native in self.markets:
                self.subscriptions.add(channel, native, session)
            else:
                silent.add(name)

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        now = self._times[market.native] = max(_microseconds(), self._times[market.native] + 1)
        for fill in step.fills:
            self.publish_trades("live_trades", market, _trade(market, fill, now), 1)
        book, times = market.walk.book, {"timestamp": str(now // 1_000_000), "microtimestamp": str(now)}
        tops = {side: book[side].top(TOP) for side in Side}
        changed = {side: [(price, book[side].size(price)) for price in prices] for side, prices in step.touched.items()}
        for channel, sides in (("order_book", tops), ("diff_order_book", changed)):
            listening = self.subscriptions.of(channel, market.native)
            if not listening:
                continue
            levels = {"bids": levels_text(sides[Side.BID]), "asks": levels_text(sides[Side.ASK])}
            message = {"data": times | levels, "channel": f"{channel}_{market.native}", "event": "data"}
            frame = framed(message, Channel.BOOK, market.native)
            for session in listening:
                session.post(frame)
                begun = self._begun[market.native]
                if session.number in begun:
                    market.tally(session).frame(book.best())
                elif channel == "order_book":
                    begun[session.number] = now
                    market.tally(session).snapshot(book.best())

    async def answer(self, request: Request) -> Response:
        match request.address.path.strip("/").split("/"):
            case ["api", "v2", "markets"]:
                return Response.json([_row(market) for market in self.markets.values()])
            case ["api", "v2", "order_book", native] if native in self.markets:
                return self._order_book(self.markets[native])
            case _:
                return self.refusal(404, "Not found")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"status": "error", "reason": reason, "code": "404.001"}, status)

    def _order_book(self, market: Market) -> Response:
        book, begun = market.walk.book, self._begun[market.native]
        now = self._times[market.native] = self._times[market.native] or _microseconds()
        for channel in ("order_book", "diff_order_book"):
            for session in self.subscriptions.of(channel, market.native):
                if session.number not in begun:
                    begun[session.number] = now
                    market.tally(session).snapshot(book.best())
        sides = {"bids": levels_text(list(book.bids)), "asks": levels_text(list(book.asks))}
        return Response.json({"timestamp": str(now // 1_000_000), "microtimestamp": str(now)} | sides)


def _trade(market: Market, fill: Fill, now: int) -> Frame:
    orders = (fill.trade_id * 2, fill.trade_id * 2 + 1)
    buy, sell = orders if fill.taker == "sell" else orders[::-1]  # the taker's order is the newer one
    data: dict[str, Any] = {
        "id": fill.trade_id,
        "timestamp": str(now // 1_000_000),
        "amount": float(fill.size),
        "amount_str": text(fill.size),
        "price": float(fill.price),
        "price_str": text(fill.price),
        "type": 0 if fill.taker == "buy" else 1,
        "microtimestamp": str(now // 1000 * 1000),
        "buy_order_id": buy,
        "sell_order_id": sell,
    }
    message = {"data": data, "channel": f"live_trades_{market.native}", "event": "trade"}
    return framed(message, Channel.TRADES, market.native)


def _row(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    return {
        "name": f"{facts.base}/{facts.quote}",
        "market_symbol": market.native,
        "base_currency": facts.base,
        "base_decimals": facts.lot_decimals,
        "counter_currency": facts.quote,
        "counter_decimals": facts.price_decimals,
        "minimum_order_value": "10",
        "trading": "Enabled",
        "instant_order_counter_decimals": 2,
        "instant_and_market_orders": "Enabled",
        "description": f"{facts.base} / {facts.quote}",
        "market_type": "SPOT",
    }


def _microseconds() -> int:
    return time.time_ns() // 1000
