"""The handlers of `level4.rpc.Peer`: what nodes of one cluster ask each other."""

# ruff: noqa: N802 - methods are named as the schema names them

from __future__ import annotations

from level4.control.messages import book_message, market_message, node_message, request_of
from level4.control.ports import ActiveMarket, Ends, PeerHost
from level4.control.service import DEPTH, MAX_DEPTH
from level4.proto import level4_pb2 as pb
from level4.proto.level4_grpc import PeerBase
from level4.rpc.errors import InvalidArgumentError
from level4.rpc.handler import rpc


class PeerService(PeerBase):
    def __init__(self, host: PeerHost) -> None:
        self._host = host

    @rpc
    async def Host(self, request: pb.StartMarketRequest) -> pb.StartMarketReply:
        try:
            wanted = request_of(request.market)
        except ValueError as error:
            raise InvalidArgumentError(f"expected a market as a node of this cluster spells it: {error}") from None
        return self._started(await self._host.start_here(wanted, request.wait_live))

    @rpc
    async def Hosted(self, request: pb.ListMarketsRequest) -> pb.ListMarketsReply:
        return pb.ListMarketsReply(markets=[market_message(market) for market in self._host.hosted()])

    @rpc
    async def Book(self, request: pb.WatchBookRequest) -> pb.WatchBookReply:
        depth = min(max(request.depth or DEPTH, 1), MAX_DEPTH)
        return book_message(request.market.id, await self._host.book_here(request.market.id, depth))

    @rpc
    async def Take(self, request: pb.TakeRequest) -> pb.StartMarketReply:
        return self._started(await self._host.take(request.market_id, request.source))

    @rpc
    async def Release(self, request: pb.ReleaseRequest) -> pb.ReleaseReply:
        return _ends(await self._host.release(request.market_id, request.target))

    def _started(self, market: ActiveMarket) -> pb.StartMarketReply:
        return pb.StartMarketReply(market=market_message(market), node=node_message(self._host.node()))


def _ends(ends: Ends) -> pb.ReleaseReply:
    spread, timesales = ends.spread or (0, 0), ends.timesales or (0, 0)
    return pb.ReleaseReply(
        spread_epoch=spread[0],
        spread_seq=spread[1],
        timesales_epoch=timesales[0],
        timesales_seq=timesales[1],
        trade_id=ends.trade_id or "",
    )
