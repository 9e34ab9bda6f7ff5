"""Gemini's Market Data v2 (archived documentation; still answered in 2026-09; recording of 2021-06).

Symbols are upper case only. `l2` brings books and trades. The first `l2_updates` of a symbol is the whole book and has
the last trades, newest first; the others are changes. There are no numbers and no acks; an error when not one symbol is
known. A heartbeat every five seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import trio

from level4.simulator.address import Address
from level4.simulator.book import Side
from level4.simulator.faults import Channel, Frame
from level4.simulator.session import Session
from level4.simulator.subscribed import Subscriptions, framed
from level4.simulator.synthetic import Market, milliseconds, text
from level4.simulator.tally import Best
from level4.simulator.walk import Fill, Step

_HEARTBEAT_SECONDS: Final = 5.0
_HISTORY: Final = 50
_L2: Final = "l2"


class Owner(Protocol):
    """The exchange, as this feed sees it."""

    markets: dict[str, Market]
    subscriptions: Subscriptions

    def refuses(self, session: Session, native: str) -> bool: ...

    def publish_book(self, channel: str, market: Market, frame: Frame, best: Best) -> None: ...

    def publish_trades(self, channel: str, market: Market, frame: Frame, count: int) -> None: ...


class MarketDataV2:
    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._sessions: dict[int, Session] = {}
        self._markets: Mapping[str, Market] = {native.upper(): market for native, market in owner.markets.items()}

    @staticmethod
    def speaks(address: Address) -> bool:
        return address.host == "api.gemini.com" and address.path == "/v2/marketdata"

    async def run(self) -> None:
        while True:
            await trio.sleep(_HEARTBEAT_SECONDS)
            for session in self._sessions.values():
                session.post(framed({"type": "heartbeat", "timestamp": milliseconds()}))

    def greet(self, session: Session) -> None:
        self._sessions[session.number] = session

    def left(self, session: Session) -> None:
        self._sessions.pop(session.number, None)

    def handle(self, session: Session, request: Any) -> None:
        kind = request.get("type") if isinstance(request, dict) else None
        wanted = request.get("subscriptions") if isinstance(request, dict) else None
        if kind not in ("subscribe", "unsubscribe") or not isinstance(wanted, list):
            session.post(framed({"reason": "InvalidJson", "result": "error"}))
            return
        symbols = [
            str(symbol)
            for each in wanted
            if isinstance(each, dict) and each.get("name") == _L2 and isinstance(each.get("symbols"), list)
            for symbol in each["symbols"]
        ]
        known = [self._markets[symbol] for symbol in symbols if symbol in self._markets]
        if kind == "unsubscribe":
            for market in known:
                self._owner.subscriptions.remove(_L2, market.native, session)
            return
        known = [market for market in known if not self._owner.refuses(session, market.native)]
        if not known:
            session.post(framed({"reason": "NoValidTradingPairs", "result": "error"}))
        for market in known:
            if self._owner.subscriptions.add(_L2, market.native, session):
                self._snapshot(session, market)

    def _snapshot(self, session: Session, market: Market) -> None:
        book, now = market.walk.book, milliseconds()
        changes = [
            (name, text(price), text(size))
            for name, side in (("buy", book.bids), ("sell", book.asks))
            for price, size in side
        ]
        history = list(market.walk.recent)[: -_HISTORY - 1 : -1]
        message = {"type": "l2_updates", "symbol": market.native.upper(), "changes": changes}
        trades = {"trades": [_trade(market, fill, now - 60_000) for fill in history], "auction_events": []}
        session.post(framed(message | trades, Channel.BOOK, market.native))
        market.tally(session).snapshot(book.best())

    def stepped(self, market: Market, step: Step) -> None:
        if not self._owner.subscriptions.of(_L2, market.native):
            return
        for fill in step.fills:
            frame = framed(_trade(market, fill, milliseconds()), Channel.TRADES, market.native)
            self._owner.publish_trades(_L2, market, frame, 1)
        book = market.walk.book
        changes = [
            (name, text(price), text(book[side].size(price)))
            for name, side in (("buy", Side.BID), ("sell", Side.ASK))
            for price in step.touched[side]
        ]
        message = {"type": "l2_updates", "symbol": market.native.upper(), "changes": changes}
        self._owner.publish_book(_L2, market, framed(message, Channel.BOOK, market.native), book.best())


def _trade(market: Market, fill: Fill, time: int) -> dict[str, Any]:
    return {
        "type": "trade",
        "symbol": market.native.upper(),
        "event_id": fill.trade_id,
        "timestamp": time,
        "price": text(fill.price),
        "quantity": text(fill.size),
        "side": fill.taker,
    }
