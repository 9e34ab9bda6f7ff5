"""Calling a node: which one, and how its answers are shown."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import click
import trio

from level4.model import Instrument, MarketRequest, MarketType
from level4.ops.access import callable_host, credentials_of
from level4.ops.settings import load
from level4.ops.values import Address
from level4.proto.level4_pb2 import Market, Node
from level4.rpc.client import ControlClient, connect

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

COLUMNS: Final = ("id", "exchange", "type", "symbol", "native", "state", "node", "reason")


class _NodeAddress(click.ParamType[Address]):
    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def node_option(command: F) -> F:
    """The option that says which node is asked."""
    option = click.option(
        "--node",
        "address",
        type=_NodeAddress(),
        metavar="HOST:PORT",
        help="The node to ask; any of a cluster will do. Default: LEVEL4_RPC_HOST and RPC_PORT.",
    )
    return option(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json_", is_flag=True, help="As JSON.")(command)


def call(address: Address | None, ask: Callable[[ControlClient], Awaitable[T]]) -> T:
    """Run `ask` with a client of the node, with the credentials of the settings; raises like the call."""
    settings = load(os.environ)
    if address is None:
        address = Address(callable_host(settings.rpc_host), settings.rpc_port)
    host, port = address.host, address.port

    async def run() -> T:
        async with connect(host, port, credentials=credentials_of(settings)) as control:
            return await ask(control)

    return trio.run(run)


def market_of(request: MarketRequest) -> Market:
    return Market(
        id=request.id,
        exchange_name=request.exchange,
        type=request.type,
        base_symbol=request.base,
        quote_symbol=request.quote,
        expiry=request.expiry,
        strike=request.strike,
        right=request.right,
    )


def request_of(market: Market) -> MarketRequest:
    return MarketRequest(
        market.id,
        market.exchange_name,
        MarketType(market.type),
        market.base_symbol,
        market.quote_symbol,
        market.expiry or None,
        market.strike or None,
        market.right or None,
    )


def instrument_of(market: Market) -> Instrument:
    """What an active market can be called by."""
    return Instrument(
        exchange=market.exchange_name,
        type=MarketType(market.type),
        symbol=market.symbol,
        native_symbol=market.native_symbol,
        base=market.base_symbol,
        quote=market.quote_symbol,
    )


def described(market: Market) -> str:
    return f"{market.id} {market.exchange_name} {market.type} {market.symbol or _pair(market)}"


def market_row(market: Market) -> tuple[object, ...]:
    symbol = market.symbol or _pair(market)
    kind, native = market.type, market.native_symbol
    return market.id, market.exchange_name, kind, symbol, native, market.state, market.node, market.reason


def market_json(market: Market) -> dict[str, object]:
    """The fields as the schema names them; what is not given is null."""
    names = [each.name for each in Market.DESCRIPTOR.fields]
    return {name: getattr(market, name) or None for name in names}


def node_json(node: Node) -> dict[str, object]:
    return {each.name: getattr(node, each.name) for each in Node.DESCRIPTOR.fields}


def _pair(market: Market) -> str:
    return f"{market.base_symbol}/{market.quote_symbol}"
