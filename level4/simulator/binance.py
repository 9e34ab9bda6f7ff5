"""Synthetic Binance spot (binance-spot-api-docs as of 2026-07): see `binance_streams` for what it shares.

Update ids are counted per changed level, a difference covers `U` … `u` of 100 ms (or 1 s), and differences follow each
other without a hole.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from level4.simulator.address import Address
from level4.simulator.binance_streams import BinanceStreams, Budget, Levels
from level4.simulator.faults import Channel, FaultPlan
from level4.simulator.listing import listed
from level4.simulator.rest import Request, Response
from level4.simulator.synthetic import Market, Pace, milliseconds
from level4.simulator.walk import Fill

_WIRE: Final = Decimal("0.00000001")
_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (5000, 250))


class Binance(BinanceStreams):
    exchange = "BINANCE"
    messages_per_second = 5
    max_streams = 1024
    ping_seconds, pong_seconds = 20.0, 60.0
    speeds = {"@depth@100ms": 0.1, "@depth": 1.0}

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan, weight: int = 6000) -> None:
        """Markets in USD are listed in USDT. `weight`: the REST budget a minute."""
        markets = []
        for symbol in symbols:
            base, _, quote = symbol.upper().partition("/")
            facts = listed(f"{base}/{'USDT' if quote == 'USD' else quote}")
            markets.append(Market(facts.base + facts.quote, pace.walk(self.exchange, facts)))
        super().__init__(markets, pace, plan)
        self._budget = Budget(weight)

    def speaks(self, address: Address) -> bool:
        known = address.host in ("stream.binance.com", "data-stream.binance.vision")
        return known and self.known_path(address.path)

    def answers(self, address: Address) -> bool:
        return address.host in ("api.binance.com", "api-gcp.binance.com", "data-api.binance.vision") or (
            address.host.startswith("api") and address.host.endswith(".binance.com") and address.host[3:4].isdigit()
        )

    def is_id(self, number: object) -> bool:
        return number is None or type(number) is int or (isinstance(number, str) and len(number) <= 36)

    def level(self, price: Decimal, size: Decimal) -> tuple[str, str]:
        return _text(price), _text(size)

    def difference(
        self, market: Market, first: int, last: int, previous: int, bids: Levels, asks: Levels
    ) -> dict[str, Any]:
        head = {"e": "depthUpdate", "E": milliseconds(), "s": market.native, "U": first, "u": last}
        return head | {"b": bids, "a": asks}

    def trade_streams(self, market: Market) -> list[str]:
        return [f"{market.native.lower()}@trade"]

    def traded(self, market: Market, fills: list[Fill]) -> None:
        (stream,) = self.trade_streams(market)
        sessions = self.listening(stream)
        for fill in fills if sessions else ():
            now = milliseconds()
            data = {
                "e": "trade", "E": now, "s": market.native, "t": fill.trade_id, "p": _text(fill.price),
                "q": _text(fill.size), "T": now, "m": fill.taker == "sell", "M": True,
            }  # fmt: skip
            self.post(sessions, stream, data, Channel.TRADES, market.native)
            for session in sessions:
                market.tally(session).trades += 1

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        limit = int(asked["limit"]) if asked.get("limit", "").isdigit() else 100
        weight = 1
        if address.path == "/api/v3/exchangeInfo":
            weight = 20
        elif address.path == "/api/v3/depth":
            weight = next((weight for most, weight in _DEPTH_WEIGHTS if limit <= most), 250)
        if (refused := self._budget.spend(weight)) is not None:
            response = self.overspent(refused)
        elif address.path == "/api/v3/exchangeInfo":
            response = self._exchange_info(asked.get("symbol"))
        elif address.path == "/api/v3/depth":
            response = self._depth(asked.get("symbol", ""), min(max(limit, 1), 5000))
        elif address.path == "/api/v3/ping":
            response = Response.json({})
        elif address.path == "/api/v3/time":
            response = Response.json({"serverTime": milliseconds()})
        else:
            response = self.refusal(404, "Not found")
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(self._budget.used)
        return response

    def _exchange_info(self, symbol: str | None) -> Response:
        if symbol is not None and symbol not in self.markets:
            return self.invalid_symbol()
        limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self._budget.limit},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ]
        rows = [_row(market) for market in self.markets.values() if symbol in (None, market.native)]
        return Response.json(
            {"timezone": "UTC", "serverTime": milliseconds(), "rateLimits": limits, "exchangeFilters": []}
            | {"symbols": rows}
        )

    def _depth(self, symbol: str, limit: int) -> Response:
        market = self.markets.get(symbol)
        if market is None:
            return self.invalid_symbol()
        update_id, bids, asks = self.snapshot(market, limit)
        return Response.json({"lastUpdateId": update_id, "bids": bids, "asks": asks})


def _row(market: Market) -> dict[str, Any]:
    facts = market.walk.listed
    tick, lot = _text(facts.tick), _text(facts.lot)
    return {
        "symbol": market.native,
        "status": "TRADING",
        "baseAsset": facts.base,
        "baseAssetPrecision": 8,
        "quoteAsset": facts.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _text(number: Decimal) -> str:
    return format(number.quantize(_WIRE), "f")
