"""Synthetic Poloniex spot (api-docs.poloniex.com as of 2026-11; recording of 2022-08).

* `book_lv2`: exactly the best 20 levels; the exchange keeps the window. Every update names the number of the one before
  (`lastId`); numbers jump. Spellings vary (`0.5`, `0.50`).
* One ack a channel. Unknown symbols are missing from it; an error when not one is known. Errors name no request.
* A connection whose client says nothing for 30 s is cut without a close frame, however much it is sent.
* Trades: `quantity` in base, `amount` in quote, the taker's side. Nothing old comes on subscribing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, FaultPlan, Frame
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscribed, decoded, framed, whole
from level4.simulator.synthetic import Market, Pace, milliseconds, text
from level4.simulator.walk import Fill
from level4.simulator.window import Window

DEPTH: Final = 20
_BOOK, _TRADES = "book_lv2", "trades"
_LISTED_SINCE: Final = 1_659_018_819_512

Levels = list[tuple[Decimal, Decimal]]


class Poloniex(Subscribed):
    exchange = "POLONIEX"
    patience_seconds = 30.0

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        """Markets in dollars are listed in USDT."""
        facts = [listed(symbol) for symbol in symbols]
        facts = [replace(each, quote="USDT") if each.quote == "USD" else each for each in facts]
        markets = [Market(f"{each.base}_{each.quote}", pace.walk(self.exchange, each)) for each in facts]
        super().__init__(markets, pace, plan)
        self._windows: dict[str, Window] = {}
        self._numbers = {native: 4_485_674 + i * 1000 for i, native in enumerate(self.markets)}

    def speaks(self, address: Address) -> bool:
        return address.host == "ws.poloniex.com" and address.path == "/ws/public"

    def answers(self, address: Address) -> bool:
        return address.host == "api.poloniex.com"

    def handle(self, session: Session, message: str) -> None:
        request = {"event": "ping"} if message == "ping" else decoded(message)
        if not isinstance(request, dict):
            _error(session, f"Not JSON string：{message}")
            return
        event, channels, symbols = request.get("event"), request.get("channel"), request.get("symbols", [])
        if event == "ping":
            session.post(framed({"event": "pong"}))
        elif event == "unsubscribe_all":
            self.subscriptions.drop(session)
            session.post(framed({"event": "unsubscribe_all"}))
        elif event not in ("subscribe", "unsubscribe"):
            _error(session, f"Invalid event value {event}")
        elif not isinstance(channels, list) or not channels or any(c not in (_BOOK, _TRADES) for c in channels):
            _error(session, f"Invalid channel value {str(channels).replace(chr(39), chr(34))}")
        elif not isinstance(symbols, list):
            _error(session, f"Invalid symbols value {symbols}")
        elif symbols == ["all"]:
            _error(session, "All symbols subscription is not allowed")
        else:
            known = [symbol for symbol in map(str, symbols) if symbol in self.markets]
            if event == "subscribe":
                known = [symbol for symbol in known if not self.refuses(session, symbol)]
            if not known:
                _error(session, "no valid symbols")
            for channel in channels if known else ():
                session.post(framed({"event": event, "channel": channel, "symbols": known}))
                for symbol in known:
                    self._one(session, str(event), channel, self.markets[symbol])

    def _one(self, session: Session, event: str, channel: str, market: Market) -> None:
        if event == "unsubscribe":
            self.subscriptions.remove(channel, market.native, session)
            return
        if channel == _BOOK and not self.subscriptions.has(_BOOK, market.native, session):
            if not self.subscriptions.of(_BOOK, market.native):  # a window nobody looks at is not kept up to date
                self._windows[market.native] = Window(market.walk.book, DEPTH)
            shown, number = self._windows[market.native].shown, self._numbers[market.native]
            session.post(_book_frame("snapshot", market, list(shown.bids), list(shown.asks), number - 1, number))
            market.tally(session).snapshot(shown.best())
        self.subscriptions.add(channel, market.native, session)

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        if self.subscriptions.of(_TRADES, market.native):
            for fill in step.fills:
                self.publish_trades(_TRADES, market, _trade_frame(market, fill), 1)
        if self.subscriptions.of(_BOOK, market.native):
            window = self._windows[market.native]
            changes = list(window.changes(market.walk.book))
            if changes:
                before = self._numbers[market.native]
                number = self._numbers[market.native] = before + len(changes)
                bids, asks = ([change[1:] for change in changes if change[0] is side] for side in (Side.BID, Side.ASK))
                frame = _book_frame("update", market, bids, asks, before, number)
                self.publish_book(_BOOK, market, frame, window.shown.best())

    async def answer(self, request: Request) -> Response:
        asked = request.address.parameters()
        match request.address.path.strip("/").split("/"):
            case ["markets"]:
                return Response.json([_row(market) for market in self.markets.values()])
            case ["markets", native] if native in self.markets:
                return Response.json([_row(self.markets[native])])
            case ["markets", native, "orderBook"] if native in self.markets:
                book, depth, now = self.markets[native].walk.book, whole(asked.get("limit"), 10), milliseconds()
                sides = {
                    name: [text(number) for level in side.top(depth) for number in level]
                    for name, side in (("asks", book.asks), ("bids", book.bids))
                }
                scale = text(self.markets[native].walk.listed.tick)
                return Response.json({"time": now, "scale": scale, **sides, "ts": now})
            case _:
                return self.refusal(404, "Not found")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"code": status, "message": reason}, status)


def _error(session: Session, reason: str) -> None:
    session.post(framed({"event": "error", "message": reason}))


def _book_frame(action: str, market: Market, bids: Levels, asks: Levels, before: int, number: int) -> Frame:
    now = milliseconds()
    row: dict[str, Any] = {"symbol": market.native, "createTime": now}
    row |= {"asks": [_level(*level) for level in asks], "bids": [_level(*level) for level in bids]}
    row |= {"lastId": before, "id": number, "ts": now}
    return framed({"channel": _BOOK, "data": [row], "action": action}, Channel.BOOK, market.native)


def _level(price: Decimal, size: Decimal) -> tuple[str, str]:
    """Prices without superfluous zeros, sizes sometimes with."""
    if not size:
        return text(price.normalize()), "0"
    return text(price.normalize()), text(size if int(size.scaleb(8)) % 3 else size.normalize())


def _trade_frame(market: Market, fill: Fill) -> Frame:
    now = milliseconds()
    row = {
        "symbol": market.native,
        "amount": text((fill.price * fill.size).normalize()),
        "quantity": text(fill.size),
        "takerSide": fill.taker,
        "createTime": now,
        "price": text(fill.price),
        "id": str(fill.trade_id),
        "ts": now,
    }
    return framed({"channel": _TRADES, "data": [row]}, Channel.TRADES, market.native)


def _row(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    limits: dict[str, Any] = {"priceScale": facts.price_decimals, "quantityScale": facts.lot_decimals, "amountScale": 2}
    limits |= {"minQuantity": text(facts.lot), "maxQuantity": "1000000", "minAmount": "1", "maxAmount": "1000000"}
    return {
        "symbol": market.native,
        "baseCurrencyName": facts.base,
        "quoteCurrencyName": facts.quote,
        "displayName": f"{facts.base}/{facts.quote}",
        "state": "NORMAL",
        "visibleStartTime": _LISTED_SINCE,
        "tradableStartTime": _LISTED_SINCE,
        "symbolTradeLimit": {"symbol": market.native} | limits | {"highestBid": "0", "lowestAsk": "0"},
    }
