"""Synthetic Bybit v5 (bybit-exchange/docs, 2026-07): spot, linear, inverse and option, each at an address of its own.

The categories differ in their names, acks, pongs and lists; see `bybit_topics` for what they share. Trades of options
come by base coin, all strikes in one topic. Spot and linear have names in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from level4.simulator.address import Address
from level4.simulator.bybit_topics import BybitCategory, connection_id, result
from level4.simulator.contracts import MONTH_LETTERS, Contract, Kind, day, inverse, linear, options, spot
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session
from level4.simulator.subscribed import framed
from level4.simulator.synthetic import Market, milliseconds, text
from level4.simulator.walk import Fill


class BybitSpot(BybitCategory):
    exchange = "BYBIT_SPOT"
    category = "spot"

    def contracts(self, symbols: list[str]) -> Iterator[Contract]:
        return spot(symbols, "USDT")

    def answers(self, address: Address) -> bool:
        """Also what belongs to none of the categories."""
        known = address.host in ("api.bybit.com", "api.bytick.com")
        return known and address.parameters().get("category") not in ("linear", "inverse", "option")

    def trade(self, market: Market, fill: Fill, time: int) -> dict[str, Any]:
        number = str(2_290_000_000_000_000_000 + fill.trade_id)
        row = {"i": number, "T": time, "p": text(fill.price), "v": text(fill.size), "S": fill.taker.title()}
        return row | {"s": market.native, "BT": False, "RPI": False, "seq": fill.trade_id * 3}

    def page(self, rows: list[dict[str, Any]], asked: dict[str, str]) -> Response:
        if asked.get("category") != self.category:
            return result({}, 10001, "Illegal category")
        return result({"category": self.category, "list": rows})

    def row(self, native: str, contract: Contract) -> dict[str, Any]:
        facts = contract.facts
        lot = {"basePrecision": text(facts.lot), "quotePrecision": "0.0000001", "minOrderAmt": "5"}
        head = {"symbolId": 9, "symbol": native, "baseCoin": facts.base, "quoteCoin": facts.quote, "status": "Trading"}
        return head | {"lotSizeFilter": lot, "priceFilter": {"tickSize": text(facts.tick)}, "symbolType": ""}


class BybitLinear(BybitCategory):
    exchange = "BYBIT_LINEAR"
    category = "linear"

    def contracts(self, symbols: list[str]) -> Iterator[Contract]:
        yield from linear(symbols, "USDT")
        yield from (each for each in linear(symbols, "USDC") if each.kind is Kind.PERPETUAL)

    def native(self, contract: Contract) -> str:
        return f"{contract.facts.base}PERP" if contract.facts.quote == "USDC" else super().native(contract)


class BybitInverse(BybitCategory):
    exchange = "BYBIT_INVERSE"
    category = "inverse"

    def contracts(self, symbols: list[str]) -> Iterator[Contract]:
        return inverse(symbols, {}, 1)

    def native(self, contract: Contract) -> str:
        expiry = contract.expiry
        return contract.facts.base + "USD" + (f"{MONTH_LETTERS[expiry.month]}{expiry:%y}" if expiry else "")


class BybitOption(BybitCategory):
    exchange = "BYBIT_OPTION"
    category = "option"
    depths = {25: 0.02, 100: 0.1}

    def contracts(self, symbols: list[str]) -> Iterator[Contract]:
        return options(symbols, "USDT", lot_decimals=2)

    def native(self, contract: Contract) -> str:
        names = (contract.facts.base, day(contract.expiry), contract.strike, contract.right, contract.settle)
        return "-".join(map(str, names))

    def answers(self, address: Address) -> bool:
        known = address.host in ("api.bybit.com", "api.bytick.com")
        return super().answers(address) or (known and address.path == "/v5/market/option-base-coins")

    def subscribe(self, session: Session, request: dict[str, Any], topics: list[str]) -> None:
        """Good and bad topics are told apart, under `success`."""
        good = [topic for topic in topics if self.error(session, topic) is None]
        bad = [topic for topic in topics if topic not in good]
        reply = {"success": True, "conn_id": connection_id(session), "data": {"failTopics": bad, "successTopics": good}}
        session.post(framed(reply | {"type": "COMMAND_RESP"}))
        for topic in good:
            self.join(session, topic)

    def pong(self, session: Session, request: dict[str, Any]) -> dict[str, Any]:
        return {"args": [str(milliseconds())], "op": "pong"}

    def traded_by(self, name: str) -> list[str]:
        return [native for native, contract in self._contracts.items() if contract.facts.base == name]

    def trade_name(self, market: Market) -> str:
        return market.walk.listed.base

    def trade(self, market: Market, fill: Fill, time: int) -> dict[str, Any]:
        row = {"p": text(fill.price), "v": text(fill.size), "i": str(UUID(int=fill.trade_id | 5 << 76)), "T": time}
        row |= {"BT": False, "s": market.native, "S": fill.taker.title()}
        return row | {"mP": text(fill.price), "iP": "64000.5", "mIv": "0.5421", "iv": "0.5433"}

    async def answer(self, request: Request) -> Response:
        if request.address.path == "/v5/market/option-base-coins":
            coins = sorted({contract.facts.base for contract in self._contracts.values()})
            return result({"list": [{"baseCoin": coin, "hasSymbol": True} for coin in coins]})
        return await super().answer(request)

    def listed_for(self, contract: Contract, asked: dict[str, str]) -> bool:
        return contract.facts.base == asked.get("baseCoin", "BTC")

    def row(self, native: str, contract: Contract) -> dict[str, Any]:
        row = super().row(native, contract)
        del row["contractType"], row["symbolId"], row["priceScale"], row["isPreListing"], row["symbolType"]
        return row | {"optionsType": "Call" if contract.right == "C" else "Put", "displayName": native}
