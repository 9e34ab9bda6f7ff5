"""Coinbase's Advanced Trade feed: `level2` (arriving as `l2_data`), `market_trades`, `heartbeats`
(docs.cdp.coinbase.com as of 2026).

`sequence_num` counts all frames of a connection from 0: data, heartbeats and acknowledgements alike; only errors have
none. It is given when a frame is made, so that a lost frame leaves a hole. One channel a message; a client must
subscribe within five seconds. Trades are gathered for 250 ms, newest first, with the maker's side; several products may
share a message, so that such a frame belongs to no single market.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import trio

from level4.simulator.book import Side
from level4.simulator.coinbase_exchange import SUBSCRIBE_SECONDS, Owner
from level4.simulator.faults import Channel, Fault, FaultKind, Frame
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, text, timestamp
from level4.simulator.walk import Fill, Step

_TICK_SECONDS: Final = 0.25
_HISTORY: Final = 20
_CHANNELS: Final = ("level2", "market_trades", "heartbeats")
_SIDES: Final = {Side.BID: "bid", Side.ASK: "offer"}


@dataclass(slots=True, eq=False)
class _Client:
    session: Session
    channels: dict[str, set[str]] = field(default_factory=dict)
    """Products by channel; the heartbeats have none."""
    sequence: int = 0
    trades: list[dict[str, str]] = field(default_factory=list)
    """Gathered, oldest first."""

    def has(self, channel: str, native: str) -> bool:
        return native in self.channels.get(channel, ())

    def post(self, channel: str, events: str, carries: Channel = Channel.CONTROL, native: str | None = None) -> None:
        data = (
            f'{{"channel":"{channel}","client_id":"","timestamp":"{timestamp()}",'
            f'"sequence_num":{self.sequence},"events":{events}}}'
        )
        self.sequence += 1
        self.session.post(Frame(data, carries, native))


class AdvancedFeed:
    host = "advanced-trade-ws.coinbase.com"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._clients: dict[int, _Client] = {}
        self._history: dict[str, list[dict[str, str]]] = {native: [] for native in owner.markets}

    def market(self, product: str) -> Market | None:
        """The market of a product, also under its USDC name."""
        return self._owner.markets.get(product) or (
            self._owner.markets.get(product[:-1]) if product.endswith("-USDC") else None
        )

    def listeners(self, native: str) -> int:
        return sum(
            client.has("level2", native) + client.has("market_trades", native) for client in self._clients.values()
        )

    def leave(self, session: Session) -> None:
        self._clients.pop(session.number, None)

    async def serve(self, session: Session) -> None:
        client = self._clients[session.number] = _Client(session)
        with trio.move_on_after(SUBSCRIBE_SECONDS) as patience:
            while not client.channels:
                self._handle(client, await session.receive())
        if patience.cancelled_caught:
            session.end(Fault(FaultKind.CLOSE, code=1008))
        while True:
            self._handle(client, await session.receive())

    async def run(self) -> None:
        beats = 0
        while True:
            await trio.sleep(_TICK_SECONDS)
            beats += 1
            for client in self._clients.values():
                if client.trades:
                    trades, client.trades = client.trades[::-1], []
                    natives = {trade["product_id"] for trade in trades}
                    native = natives.pop() if len(natives) == 1 else None
                    client.post("market_trades", _json([{"type": "update", "trades": trades}]), Channel.TRADES, native)
                if beats % 4 == 0 and "heartbeats" in client.channels:
                    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f000 +0000 UTC")
                    beat = {"current_time": f"{now} m=+{beats / 4}", "heartbeat_counter": str(beats // 4)}
                    client.post("heartbeats", _json([beat]))

    def _handle(self, client: _Client, message: str) -> None:
        try:
            request: Any = msgspec.json.decode(message)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict) or request.get("type") not in ("subscribe", "unsubscribe"):
            self._error(client, "unknown request type")
            return
        channel, products = request.get("channel"), request.get("product_ids", [])
        if channel not in _CHANNELS:
            self._error(client, "channel is missing or not valid: one channel per message")
            return
        markets = [self.market(product) if isinstance(product, str) else None for product in products]
        found = [market for market in markets if market is not None]
        if len(found) < len(markets) or (channel != "heartbeats" and not found):
            self._error(client, "product_ids are missing or not valid")
            return
        natives = [market.native for market in found]
        if any(
            self._owner.plan.for_subscription(self._owner.exchange, client.session.number, native) for native in natives
        ):
            self._error(client, "subscription refused")
            return
        if request["type"] == "unsubscribe":
            self._unsubscribe(client, channel, natives)
        else:
            self._subscribe(client, channel, found)

    def _error(self, client: _Client, message: str) -> None:
        client.session.post(Frame(_json({"type": "error", "message": message})))

    def _unsubscribe(self, client: _Client, channel: str, natives: list[str]) -> None:
        products = client.channels.get(channel, set())
        products -= set(natives)
        if not products:
            client.channels.pop(channel, None)
        self._owner.count_listeners()
        self._acknowledge(client)

    def _subscribe(self, client: _Client, channel: str, markets: list[Market]) -> None:
        products = client.channels.setdefault(channel, set())
        fresh = {market.native: market for market in markets if market.native not in products}
        products |= {market.native for market in markets}
        self._owner.count_listeners()
        self._acknowledge(client)
        for market in fresh.values():
            book = market.walk.book
            if channel == "level2":
                levels = [_update(side, p, s, "1970-01-01T00:00:00Z") for side in Side for p, s in book[side]]
                event = {"type": "snapshot", "product_id": market.native, "updates": levels}
                client.post("l2_data", _json([event]), Channel.BOOK, market.native)
                market.tally(client.session).snapshot(book.best())
            elif channel == "market_trades":
                history = self._history[market.native][::-1]
                client.post("market_trades", _json([{"type": "snapshot", "trades": history}]), native=market.native)

    def _acknowledge(self, client: _Client) -> None:
        state = {channel: sorted(products) for channel, products in client.channels.items()}
        client.post("subscriptions", _json([{"subscriptions": state}]))

    def stepped(self, market: Market, step: Step) -> None:
        trades = [_trade(market.native, fill) for fill in step.fills]
        history = self._history[market.native]
        history += trades
        del history[:-_HISTORY]
        if not self.listeners(market.native):
            return
        book, now = market.walk.book, timestamp()
        updates = [_update(side, price, book[side].size(price), now) for side in Side for price in step.touched[side]]
        events = _json([{"type": "update", "product_id": market.native, "updates": updates}])
        for client in self._clients.values():
            if trades and client.has("market_trades", market.native):
                client.trades += trades
                market.tally(client.session).trades += len(trades)
            if client.has("level2", market.native):
                client.post("l2_data", events, Channel.BOOK, market.native)
                market.tally(client.session).frame(book.best())


def _update(side: Side, price: Any, size: Any, event_time: str) -> dict[str, str]:
    return {"side": _SIDES[side], "event_time": event_time, "price_level": text(price), "new_quantity": text(size)}


def _trade(native: str, fill: Fill) -> dict[str, str]:
    return {
        "trade_id": str(fill.trade_id),
        "product_id": native,
        "price": text(fill.price),
        "size": text(fill.size),
        "side": "SELL" if fill.taker == "buy" else "BUY",
        "time": timestamp(),
    }


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()
