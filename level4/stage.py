"""What the cluster acts through, put together from this node's feeds and its publisher: `level4.cluster.ports`."""

from __future__ import annotations

import time

import trio

from level4.cluster.curtain import Curtain
from level4.feeds import Feeds
from level4.market.debut import debut
from level4.model import ConfigError, FeedState, Instrument, MarketRequest
from level4.placement import Released
from level4.publish import KafkaPublisher
from level4.rpc.errors import FailedPreconditionError


class HeldFeeds(Feeds):
    """The feeds, with what the cluster asks of them beside."""

    async def resolve(self, request: MarketRequest) -> Instrument:
        return await self._instruments.resolve(request, self._venue(request.exchange, request.type).book)

    def term(self, market_id: int) -> int | None:
        market = self.market(market_id)
        return None if market is None else market.term

    # -- made ready in silence ----------------------------------------------------------------------------------

    curtain: Curtain
    """What the events of these feeds pass. Set by whoever builds both."""

    async def rehearse(self, request: MarketRequest, term: int) -> None:
        self.curtain.close(request.id)
        try:
            await self.start(request, term)
        except BaseException:
            self.curtain.open(request.id)
            raise

    def is_live(self, market_id: int) -> bool:
        market = self.market(market_id)
        return market is not None and market.state is FeedState.LIVE

    def heard(self, market_id: int, trade_id: str) -> bool:
        return self.curtain.heard(market_id, trade_id)

    def debut(self, market_id: int, released: Released) -> None:
        market, heard = self.market(market_id), self.curtain.open(market_id)
        if market is not None:
            ends = released.spread, released.timesales, released.trade_id
            debut(market, *ends, heard, time.time_ns(), trio.current_time())

    async def abandon(self, market_id: int) -> None:
        if self.market(market_id) is not None:
            await self.stop(market_id, "not moved here")
        self.curtain.open(market_id)


class StreamEnds:
    """The publisher, asked where streams end."""

    def __init__(self, publisher: KafkaPublisher) -> None:
        self._publisher = publisher

    async def ends(self, market_id: int, seconds: float) -> Released:
        found = await self._publisher.ends(market_id, seconds)
        return Released() if found is None else Released(*found)


class Gate:
    """The publisher's door; a missing partition is not the request's fault."""

    def __init__(self, publisher: KafkaPublisher) -> None:
        self.fence = publisher.fence
        self._publisher = publisher

    async def ensure_market(self, market_id: int) -> None:
        try:
            await self._publisher.ensure_market(market_id)
        except ConfigError as error:
            raise FailedPreconditionError(str(error)) from None
