"""From what the cluster knows to what goes over the wire, and back where nodes ask each other."""

from __future__ import annotations

from level4.control.ports import ActiveMarket, BookView, NodeInfo
from level4.model import MarketRequest, MarketType
from level4.proto import level4_pb2 as pb


def request_of(market: pb.Market) -> MarketRequest:
    """The market of a message that a node of this cluster made. Raises ValueError for a type that is none."""
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


def market_message(market: ActiveMarket) -> pb.Market:
    request, instrument = market.request, market.instrument
    return pb.Market(
        id=request.id,
        base_symbol=request.base,
        quote_symbol=request.quote,
        exchange_name=request.exchange,
        type=request.type,
        expiry=request.expiry,
        strike=request.strike,
        right=request.right,
        native_symbol=instrument.native_symbol if instrument else None,
        symbol=instrument.symbol if instrument else None,
        state=market.state,
        node=market.node,
        reason=market.reason,
    )


def node_message(node: NodeInfo) -> pb.Node:
    return pb.Node(
        name=node.name,
        active_market_count=node.active,
        max_active_markets=node.capacity,
        state=node.state,
        version=node.version,
        address=node.address,
    )


def book_message(market_id: int, book: BookView) -> pb.WatchBookReply:
    return pb.WatchBookReply(
        market_id=market_id,
        state=book.state,
        bids=[pb.Level(price=price, size=size) for price, size in book.bids],
        asks=[pb.Level(price=price, size=size) for price, size in book.asks],
        exchange_us=book.exchange_us,
        received_us=book.received_us,
    )
