"""Synthetic Binance futures and options (developers.binance.com and the official connector, 2026-08).

* Two socket addresses: USD-M contracts and options (`fstream`), COIN-M contracts (`dstream`). Paths begin with a route:
  `/public` carries books and all of options, `/market` aggregated trades; a stream on the wrong one is acknowledged and
  silent. Without a route `fstream` carries what `/public` does, `dstream` everything.
* A difference names the last update id of the one before (`pu`); its own first id (`U`) lies some way above that.
* `aggTrade` merges what is traded within 100 ms at one price by takers of one side. `optionTrade` is each trade, and
  can be had for one option or for all of an underlying.
* USD-M and COIN-M share a budget of 2400 REST weight a minute; options have their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar, Final

import trio

from level4.simulator.address import Address
from level4.simulator.binance_streams import BinanceStreams, Budget, Levels
from level4.simulator.contracts import Contract, Kind, inverse, linear, options
from level4.simulator.faults import Channel, FaultPlan
from level4.simulator.rest import Request, Response
from level4.simulator.synthetic import Market, Pace, milliseconds, text
from level4.simulator.walk import Fill

WEIGHT: Final = 2400
"""REST budget a minute."""
_MERGE_SECONDS: Final = 0.1
_IDS_BETWEEN: Final = 7
_NEVER: Final = 4133404800000
"""The delivery date of perpetuals."""


@dataclass(slots=True)
class _Aggregate:
    """Fills of one price and taker side that will be told together."""

    fill: Fill
    first: int
    last: int
    time: int


class _Derivatives(BinanceStreams):
    messages_per_second = 10
    max_streams = 200
    ping_seconds, pong_seconds = 180.0, 600.0
    routes = ("public", "market")
    speeds = {"@depth@100ms": 0.1, "@depth": 0.25, "@depth@500ms": 0.5}
    hosts: ClassVar[tuple[str, ...]]

    def __init__(self, contracts: Iterable[Contract], pace: Pace, plan: FaultPlan) -> None:
        self._contracts = {self.native(contract): contract for contract in contracts}
        markets = [
            Market(native, pace.walk(f"{self.exchange}.{native}", contract.facts))
            for native, contract in self._contracts.items()
        ]
        super().__init__(markets, pace, plan)
        self._pending: dict[str, list[_Aggregate]] = {}
        self._aggregate_ids = {market.native: count(market.walk.trade_id // 3) for market in markets}

    @abstractmethod
    def native(self, contract: Contract) -> str:
        """Its symbol."""

    def speaks(self, address: Address) -> bool:
        return address.host in self.hosts and self.known_path(address.path)

    def step_ids(self, changes: int) -> int:
        return _IDS_BETWEEN * changes

    def trade_streams(self, market: Market) -> list[str]:
        return [f"{market.native.lower()}@aggTrade"]

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run)
            if self._pace.gather:
                nursery.start_soon(self._run_trades, _MERGE_SECONDS * self._pace.gather)

    async def _run_trades(self, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            self._tell_trades()

    def traded(self, market: Market, fills: list[Fill]) -> None:
        pending = self._pending.setdefault(market.native, [])
        for fill in fills:
            newest = pending[-1] if pending else None
            if newest is not None and (newest.fill.price, newest.fill.taker) == (fill.price, fill.taker):
                newest.fill = replace(newest.fill, size=newest.fill.size + fill.size)
                newest.last, newest.time = fill.trade_id, milliseconds()
            else:
                pending.append(_Aggregate(fill, fill.trade_id, fill.trade_id, milliseconds()))
        if not self._pace.gather:
            self._tell_trades()

    def _tell_trades(self) -> None:
        pending, self._pending = self._pending, {}
        for native, aggregates in pending.items():
            market = self.markets[native]
            (stream,) = self.trade_streams(market)
            sessions = self.listening(stream)
            for each in aggregates:
                data = self._aggregate(market, each)
                self.post(sessions, stream, data, Channel.TRADES, native)
            for session in sessions:
                market.tally(session).trades += len(aggregates)

    def _aggregate(self, market: Market, each: _Aggregate) -> dict[str, Any]:
        size, is_inverse = text(each.fill.size), self._contracts[market.native].inverse
        head = {"e": "aggTrade", "E": milliseconds(), "a": next(self._aggregate_ids[market.native])}
        head |= {"s": market.native, "p": text(each.fill.price), "q": size} | ({} if is_inverse else {"nq": size})
        tail = {"f": each.first, "l": each.last, "T": each.time, "m": each.fill.taker == "sell"}
        return head | tail | {"st": 2 if is_inverse else 1}

    def difference(
        self, market: Market, first: int, last: int, previous: int, bids: Levels, asks: Levels
    ) -> dict[str, Any]:
        now = milliseconds()
        contract = self._contracts[market.native]
        pair = contract.facts.base + contract.facts.quote
        names = {} if contract.kind is Kind.OPTION else {"ps": pair, "st": 2 if contract.inverse else 1}
        head = {"e": "depthUpdate", "E": now, "T": now - 1, "s": market.native} | names
        return head | {"U": first, "u": last, "pu": previous, "b": bids, "a": asks}

    def depth(self, asked: dict[str, str], limits: tuple[int, ...]) -> Response:
        market, limit = self.markets.get(asked.get("symbol", "")), asked.get("limit", "500")
        if market is None:
            return self.invalid_symbol()
        if not limit.isdigit() or int(limit) not in limits:
            return Response.json({"code": -4021, "msg": f"Invalid depth limit {limit}."}, 400)
        update_id, bids, asks = self.snapshot(market, int(limit))
        now = milliseconds()
        return Response.json(self.book(market, {"lastUpdateId": update_id}, now, {"bids": bids, "asks": asks}))

    def book(self, market: Market, head: dict[str, Any], now: int, sides: dict[str, Any]) -> dict[str, Any]:
        return head | {"E": now, "T": now - 1} | sides

    def spent(self, budget: Budget, weight: int) -> Response | None:
        refused = budget.spend(weight)
        return None if refused is None else self.overspent(refused)

    def contract_rows(self, names: Iterable[str]) -> list[dict[str, Any]]:
        return [_contract_row(self.markets[native], self._contracts[native]) for native in names]


class BinanceFutures(_Derivatives):
    """USD-M and options."""

    exchange = "BINANCE_FUTURES"
    hosts = ("fstream.binance.com",)
    _rests: ClassVar = ("fapi.binance.com", "eapi.binance.com")

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan, budget: Budget) -> None:
        """`budget`: REST weight for USD-M, shared with COIN-M."""
        names = list(symbols)
        super().__init__([*linear(names, "USDT"), *options(names, "USDT", lot_decimals=2)], pace, plan)
        self._budgets = {"fapi.binance.com": budget, "eapi.binance.com": Budget(WEIGHT)}

    def native(self, contract: Contract) -> str:
        base, quote, expiry = contract.facts.base, contract.facts.quote, contract.expiry
        if contract.kind is Kind.OPTION:
            return f"{base}-{expiry:%y%m%d}-{contract.strike}-{contract.right}"
        return base + quote + (f"_{expiry:%y%m%d}" if expiry else "")

    def answers(self, address: Address) -> bool:
        return address.host in self._rests

    def carries(self, route: str, stream: str) -> bool:
        return stream.endswith("@aggTrade") == (route == "market")

    def trade_streams(self, market: Market) -> list[str]:
        contract = self._contracts[market.native]
        if contract.kind is not Kind.OPTION:
            return super().trade_streams(market)
        underlying = f"{contract.facts.base}{contract.facts.quote}".lower()
        return [f"{market.native.lower()}@optionTrade", f"{underlying}@optionTrade"]

    def traded(self, market: Market, fills: list[Fill]) -> None:
        if self._contracts[market.native].kind is not Kind.OPTION:
            super().traded(market, fills)
            return
        for stream in self.trade_streams(market):
            sessions = self.listening(stream)
            for fill in fills if sessions else ():
                now = milliseconds()
                data = {
                    "e": "trade", "E": now, "T": now, "s": market.native, "t": fill.trade_id,
                    "p": text(fill.price), "q": text(fill.size), "X": "MARKET",
                    "S": fill.taker.upper(), "m": fill.taker == "sell",
                }  # fmt: skip
                self.post(sessions, stream, data, Channel.TRADES, market.native)
            for session in sessions:
                market.tally(session).trades += len(fills)

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        budget = self._budgets[address.host]
        if address.path == ("/fapi/v1/exchangeInfo" if address.host.startswith("f") else "/eapi/v1/exchangeInfo"):
            response = self.spent(budget, 1) or self._listing(address.host)
        elif (address.host, address.path) == ("fapi.binance.com", "/fapi/v1/depth"):
            response = self.spent(budget, _weight(asked)) or self.depth(asked, (5, 10, 20, 50, 100, 500, 1000))
        elif (address.host, address.path) == ("eapi.binance.com", "/eapi/v1/depth"):
            response = self.spent(budget, _weight(asked)) or self.depth(asked, (10, 20, 50, 100, 500, 1000))
        else:
            response = self.spent(budget, 1) or self.refusal(404, "Not found")
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(budget.used)
        return response

    def book(self, market: Market, head: dict[str, Any], now: int, sides: dict[str, Any]) -> dict[str, Any]:
        if self._contracts[market.native].kind is Kind.OPTION:
            return sides | {"T": now} | head
        return super().book(market, head, now, sides)

    def _listing(self, host: str) -> Response:
        head = {"timezone": "UTC", "serverTime": milliseconds()}
        limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": WEIGHT}]
        chosen = [name for name, each in self._contracts.items() if (each.kind is Kind.OPTION) == (host[0] == "e")]
        if host == "fapi.binance.com":
            more = {"futuresType": "U_MARGINED", "rateLimits": limits, "exchangeFilters": []}
            return Response.json(head | more | {"symbols": self.contract_rows(chosen)})
        pairs = {(self._contracts[name].facts.base, self._contracts[name].facts.quote) for name in chosen}
        underlyings = [
            {"baseAsset": base, "quoteAsset": quote, "underlying": base + quote, "settleAsset": quote}
            for base, quote in sorted(pairs)
        ]
        rows = [_option_row(self.markets[name], self._contracts[name]) for name in chosen]
        return Response.json(head | {"optionContracts": underlyings, "optionSymbols": rows, "rateLimits": limits})


class BinanceDelivery(_Derivatives):
    """COIN-M."""

    exchange = "BINANCE_DELIVERY"
    hosts = ("dstream.binance.com",)

    def __init__(self, symbols: Iterable[str], pace: Pace, plan: FaultPlan, budget: Budget) -> None:
        super().__init__(inverse(symbols, {"BTC": 100}, 10), pace, plan)
        self._budget = budget

    def native(self, contract: Contract) -> str:
        return f"{contract.facts.base}USD_" + (f"{contract.expiry:%y%m%d}" if contract.expiry else "PERP")

    def answers(self, address: Address) -> bool:
        return address.host == "dapi.binance.com"

    def carries(self, route: str, stream: str) -> bool:
        return not route or stream.endswith("@aggTrade") == (route == "market")

    async def answer(self, request: Request) -> Response:
        address, asked = request.address, request.address.parameters()
        if address.path == "/dapi/v1/exchangeInfo":
            rows = self.contract_rows(self.markets)
            response = self.spent(self._budget, 1) or Response.json({"timezone": "UTC", "symbols": rows})
        elif address.path == "/dapi/v1/depth":
            limits = (5, 10, 20, 50, 100, 500, 1000)
            response = self.spent(self._budget, _weight(asked)) or self.depth(asked, limits)
        else:
            response = self.spent(self._budget, 1) or self.refusal(404, "Not found")
        response.headers["X-MBX-USED-WEIGHT-1M"] = str(self._budget.used)
        return response

    def book(self, market: Market, head: dict[str, Any], now: int, sides: dict[str, Any]) -> dict[str, Any]:
        names = {"symbol": market.native, "pair": market.native.partition("_")[0]}
        return head | {"E": now, "T": now - 1} | names | sides


def _weight(asked: dict[str, str]) -> int:
    """Of a book request."""
    limit = int(asked["limit"]) if asked.get("limit", "").isdigit() else 500
    return next((weight for most, weight in ((50, 2), (100, 5), (500, 10)) if limit <= most), 20)


def _filters(market: Market) -> list[dict[str, Any]]:
    facts = market.walk.listed
    tick, lot = text(facts.tick), text(facts.lot)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000", "stepSize": lot},
    ]


def _contract_row(market: Market, contract: Contract) -> dict[str, Any]:
    facts = contract.facts
    status = {"contractStatus": "TRADING", "contractSize": int(facts.lot_value or 1)}
    return {
        "symbol": market.native,
        "pair": facts.base + facts.quote,
        "contractType": "PERPETUAL" if contract.kind is Kind.PERPETUAL else "CURRENT_QUARTER",
        "deliveryDate": contract.expiry_ms or _NEVER,
        "onboardDate": 1598252400000,
        **(status if contract.inverse else {"status": "TRADING"}),
        "baseAsset": facts.base,
        "quoteAsset": facts.quote,
        "marginAsset": contract.settle,
        "pricePrecision": facts.price_decimals,
        "quantityPrecision": facts.lot_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "filters": _filters(market),
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def _option_row(market: Market, contract: Contract) -> dict[str, Any]:
    return {
        "symbol": market.native,
        "side": "CALL" if contract.right == "C" else "PUT",
        "strikePrice": str(contract.strike),
        "underlying": contract.facts.base + contract.facts.quote,
        "expiryDate": contract.expiry_ms,
        "unit": 1,
        "quoteAsset": contract.facts.quote,
        "priceScale": contract.facts.price_decimals,
        "quantityScale": contract.facts.lot_decimals,
        "minQty": text(contract.facts.lot),
        "maxQty": "100",
        "status": "TRADING",
        "contractType": "CRYPTO_OPTIONS",
        "underlyingType": "CRYPTO",
        "filters": _filters(market),
    }
