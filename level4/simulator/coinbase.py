"""Synthetic Coinbase: one set of markets behind two feeds, as the real one has.

The Exchange feed (`ws-feed.exchange.coinbase.com`) and the Advanced Trade feed (`advanced-trade-ws.coinbase.com`)
show the same books and the same trade ids. This module holds the markets and the REST lists; the feeds are in
`coinbase_exchange` and `coinbase_advanced`. Facts as of 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from level4.simulator.address import Address
from level4.simulator.coinbase_advanced import AdvancedFeed
from level4.simulator.coinbase_exchange import ExchangeFeed
from level4.simulator.faults import FaultPlan
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, Pace, Synthetic, levels_text, text, timestamp


class Coinbase(Synthetic):
    exchange = "COINBASE"

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan) -> None:
        facts = [listed(symbol, 8) for symbol in symbols]
        markets = [Market(f"{each.base}-{each.quote}", pace.walk(self.exchange, each)) for each in facts]
        super().__init__(markets, pace, plan)
        self._plain = ExchangeFeed(self)
        self._advanced = AdvancedFeed(self)

    def speaks(self, address: Address) -> bool:
        return address.host in (ExchangeFeed.host, AdvancedFeed.host)

    def answers(self, address: Address) -> bool:
        return address.host in ("api.exchange.coinbase.com", "api.coinbase.com")

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            nursery.start_soon(self._plain.run)
            nursery.start_soon(self._advanced.run)

    async def serve(self, session: Session) -> None:
        feed = self._plain if session.address.host == ExchangeFeed.host else self._advanced
        try:
            await feed.serve(session)
        finally:
            feed.leave(session)
            self.count_listeners()
            self.close_tallies(session)

    def count_listeners(self) -> None:
        for market in self.markets.values():
            market.listeners = self._plain.listeners(market.native) + self._advanced.listeners(market.native)

    def advance(self, market: Market) -> None:
        step = market.walk.step()
        self._plain.stepped(market, step)
        self._advanced.stepped(market, step)

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.host == "api.coinbase.com":
            if address.path == "/api/v3/brokerage/market/products":
                return self._advanced_products()
            if address.path == "/api/v3/brokerage/market/product_book":
                return self._advanced_book(asked)
            return self.refusal(404, "NotFound")
        match address.path.strip("/").split("/"):
            case ["products"]:
                return Response.json([_product(market) for market in self.markets.values()])
            case ["products", native] if native in self.markets:
                return Response.json(_product(self.markets[native]))
            case ["products", native, "book"] if native in self.markets:
                return self._book(self.markets[native], asked.get("level", "1"))
            case _:
                return self.refusal(404, "NotFound")

    def refusal(self, status: int, reason: str) -> Response:
        return Response.json({"message": reason}, status)

    def _book(self, market: Market, level: str) -> Response:
        book, depth = market.walk.book, 1 if level == "1" else len(market.walk.book.bids) + len(market.walk.book.asks)
        sides = {"bids": book.bids.top(depth), "asks": book.asks.top(depth)}
        rows = {name: [(*row, 1) for row in levels_text(side)] for name, side in sides.items()}
        return Response.json(rows | {"sequence": market.walk.trade_id, "auction_mode": False, "time": timestamp()})

    def _advanced_products(self) -> Response:
        rows = []
        for market in self.markets.values():
            rows.append(_advanced_product(market, market.native, ""))
            if market.walk.listed.quote == "USD":
                # the same book under a second name, as `BTC-USDC` is `BTC-USD`
                rows.append(_advanced_product(market, f"{market.native}C", market.native))
        return Response.json({"products": rows, "num_products": len(rows)})

    def _advanced_book(self, asked: dict[str, str]) -> Response:
        market = self._advanced.market(asked.get("product_id", ""))
        if market is None:
            return Response.json({"error": "INVALID_ARGUMENT", "message": "valid product_id is required"}, 400)
        depth = int(asked["limit"]) if asked.get("limit", "").isdigit() else 1_000_000
        sides = {"bids": market.walk.book.bids.top(depth), "asks": market.walk.book.asks.top(depth)}
        rows = {name: [{"price": p, "size": s} for p, s in levels_text(side)] for name, side in sides.items()}
        return Response.json({"pricebook": {"product_id": market.native, **rows, "time": timestamp()}})


def _product(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    return {
        "id": market.native,
        "base_currency": facts.base,
        "quote_currency": facts.quote,
        "quote_increment": text(facts.tick),
        "base_increment": text(facts.lot),
        "display_name": f"{facts.base}/{facts.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "fx_stablecoin": False,
        "max_slippage_percentage": "0.02000000",
        "auction_mode": False,
    }


def _advanced_product(market: Market, native: str, alias: str) -> dict[str, Any]:
    facts = market.walk.listed
    return {
        "product_id": native,
        "base_currency_id": facts.base,
        "quote_currency_id": native.rpartition("-")[2],
        "base_increment": text(facts.lot),
        "quote_increment": text(facts.tick),
        "price_increment": text(facts.tick),
        "status": "online",
        "trading_disabled": False,
        "is_disabled": False,
        "view_only": False,
        "product_type": "SPOT",
        "alias": alias,
        "alias_to": [] if alias or facts.quote != "USD" else [f"{native}C"],
    }
