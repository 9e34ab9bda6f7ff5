"""Coinbase's Exchange feed: `level2_batch`, `matches`, `heartbeat` (docs.cdp.coinbase.com as of 2026).

No sequence and no checksum on the book. `side` of a match is the maker's. The first message of `matches` for each
product is the last trade before the subscription (`last_match`). A client must subscribe within five seconds. The full
channels need a key, and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec
import trio

from level4.simulator.book import Side
from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, levels_text, text, timestamp
from level4.simulator.walk import Fill, Step

SUBSCRIBE_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 0.05
_CHANNELS: Final = ("level2_batch", "matches", "heartbeat")
_WITH_KEY: Final = ("level2", "level3", "full", "user")
_ECHO: Final = {"level2_batch": "level2_50"}


class Owner(Protocol):
    """The exchange a feed belongs to."""

    exchange: str
    markets: dict[str, Market]
    plan: FaultPlan

    def count_listeners(self) -> None: ...


@dataclass(slots=True)
class _State:
    """What the feed keeps of a market."""

    sequence: int
    touched: dict[Side, dict[Decimal, None]] = field(default_factory=lambda: {Side.BID: {}, Side.ASK: {}})
    last: dict[str, Any] | None = None
    """The last match."""


class ExchangeFeed:
    host = "ws-feed.exchange.coinbase.com"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._groups: dict[tuple[str, str], dict[int, Session]] = {}
        """Sessions by channel and product."""
        self._states = {market.native: _State(market.walk.trade_id * 9) for market in owner.markets.values()}

    def listeners(self, native: str) -> int:
        return sum(len(self._groups.get((channel, native), ())) for channel in ("level2_batch", "matches"))

    def leave(self, session: Session) -> None:
        for group in self._groups.values():
            group.pop(session.number, None)

    async def serve(self, session: Session) -> None:
        with trio.move_on_after(SUBSCRIBE_SECONDS) as patience:
            while not any(session.number in group for group in self._groups.values()):
                self._handle(session, await session.receive())
        if patience.cancelled_caught:
            session.end(Fault(FaultKind.CLOSE, code=1008))
        while True:
            self._handle(session, await session.receive())

    async def run(self) -> None:
        beats = 0
        while True:
            await trio.sleep(_FLUSH_SECONDS)
            beats += 1
            for market in self._owner.markets.values():
                self._flush(market)
                if beats % 20 == 0:
                    self._heartbeat(market)

    def _handle(self, session: Session, message: str) -> None:
        try:
            request: Any = msgspec.json.decode(message)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict) or request.get("type") not in ("subscribe", "unsubscribe"):
            self._error(session, "Failed to subscribe", "Type has to be either subscribe or unsubscribe")
            return
        wanted = _wanted(request)
        for channel, native in wanted:
            if channel in _WITH_KEY:
                self._error(
                    session,
                    "Failed to subscribe",
                    "level2, level3, and full channels now require authentication. "
                    "https://docs.cloud.coinbase.com/exchange/docs/websocket-auth",
                )
                return
            if channel not in _CHANNELS:
                self._error(session, "Failed to subscribe", f"{channel} is not a valid channel")
                return
            if native not in self._owner.markets:
                self._error(session, "Failed to subscribe", f"{native} is not a valid product")
                return
            if self._owner.plan.for_subscription(self._owner.exchange, session.number, native):
                self._error(session, "Failed to subscribe", f"{native} is refused")
                return
        if not wanted:
            self._error(session, "Failed to subscribe", "No channels or no products given")
            return
        fresh = []
        for key in wanted:
            group = self._groups.setdefault(key, {})
            if request["type"] == "unsubscribe":
                group.pop(session.number, None)
            elif session.number not in group:
                group[session.number] = session
                fresh.append(key)
        self._owner.count_listeners()
        session.post(_frame(self._subscriptions(session)))
        for channel, native in fresh:
            self._welcome(session, channel, self._owner.markets[native])

    def _error(self, session: Session, message: str, reason: str) -> None:
        session.post(_frame({"type": "error", "message": message, "reason": reason}))

    def _subscriptions(self, session: Session) -> dict[str, Any]:
        """Everything the session is now subscribed to."""
        channels: dict[str, list[str]] = {}
        for (channel, native), group in self._groups.items():
            if session.number in group:
                channels.setdefault(channel, []).append(native)
        rows = [
            {"name": _ECHO.get(channel, channel), "product_ids": natives, "account_ids": None}
            for channel, natives in channels.items()
        ]
        return {"type": "subscriptions", "channels": rows}

    def _welcome(self, session: Session, channel: str, market: Market) -> None:
        """What comes first on a new subscription."""
        state, book = self._states[market.native], market.walk.book
        if channel == "level2_batch":
            sides = {"asks": levels_text(list(book.asks)), "bids": levels_text(list(book.bids))}
            snapshot = {"type": "snapshot", "product_id": market.native, **sides, "time": timestamp()}
            session.post(_frame(snapshot, Channel.BOOK, market.native))
            market.tally(session).snapshot(book.best())
        elif channel == "matches":
            (bid, _), (ask, _) = book.bids.top(1)[0], book.asks.top(1)[0]
            earlier = Fill(market.walk.trade_id, "buy", max(bid, ask), market.walk.listed.lot)
            last = state.last or _match(market.native, earlier, state.sequence)
            session.post(_frame(last | {"type": "last_match"}, Channel.CONTROL, market.native))

    def stepped(self, market: Market, step: Step) -> None:
        state = self._states[market.native]
        state.sequence += 3 * sum(map(len, step.touched.values()))
        for side, prices in step.touched.items():
            state.touched[side] |= prices
        group = self._groups.get(("matches", market.native), {})
        for fill in step.fills:
            state.sequence += 2
            state.last = _match(market.native, fill, state.sequence)
            frame = _frame(state.last, Channel.TRADES, market.native)
            for session in group.values():
                session.post(frame)
                market.tally(session).trades += 1

    def _flush(self, market: Market) -> None:
        """The changes gathered since the last batch."""
        state, book = self._states[market.native], market.walk.book
        group = self._groups.get(("level2_batch", market.native))
        changes = [
            (name, text(price), text(book[side].size(price)))
            for side, name in ((Side.BID, "buy"), (Side.ASK, "sell"))
            for price in state.touched[side]
        ] if group else []  # fmt: skip
        for prices in state.touched.values():
            prices.clear()
        if not group or not changes:
            return
        update = {"type": "l2update", "product_id": market.native, "changes": changes, "time": timestamp()}
        frame = _frame(update, Channel.BOOK, market.native)
        for session in group.values():
            session.post(frame)
            market.tally(session).frame(book.best())

    def _heartbeat(self, market: Market) -> None:
        beat = {
            "type": "heartbeat",
            "sequence": self._states[market.native].sequence,
            "last_trade_id": market.walk.trade_id,
            "product_id": market.native,
            "time": timestamp(),
        }
        for session in self._groups.get(("heartbeat", market.native), {}).values():
            session.post(_frame(beat, Channel.CONTROL, market.native))


def _wanted(request: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of channel and product a request names; channels may bring products of their own."""
    common, channels = request.get("product_ids", []), request.get("channels", [])
    if not isinstance(common, list) or not isinstance(channels, list):
        return []
    wanted = []
    for channel in channels:
        name, natives = (channel, common) if isinstance(channel, str) else (None, [])
        if isinstance(channel, dict):
            name, natives = channel.get("name"), channel.get("product_ids", common)
        if isinstance(name, str) and isinstance(natives, list):
            wanted += [(name, native) for native in natives if isinstance(native, str)]
    return wanted


def _match(native: str, fill: Fill, sequence: int) -> dict[str, Any]:
    return {
        "type": "match",
        "trade_id": fill.trade_id,
        "maker_order_id": str(uuid4()),
        "taker_order_id": str(uuid4()),
        "side": "sell" if fill.taker == "buy" else "buy",
        "size": text(fill.size),
        "price": text(fill.price),
        "product_id": native,
        "sequence": sequence,
        "time": timestamp(),
    }


def _frame(message: dict[str, Any], channel: Channel = Channel.CONTROL, native: str | None = None) -> Frame:
    return Frame(msgspec.json.encode(message).decode(), channel, native)
