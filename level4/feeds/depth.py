"""How deep a REST snapshot is taken, and deeper ones beside a book that lives.

A snapshot of many levels costs much of the exchange's allowance. While many markets wait for theirs, each takes a small
one: the top of the book is right at once, and nobody waits for the depth of others. Deeper ones follow when the
allowance is at leisure, and at once where the market moves towards the end of what is known (`level4.market.known`).
They are taken over without a break, so nobody sees them but in the depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from level4.exchanges.scheme import Scheme
from level4.feeds.addresses import AddressBook
from level4.feeds.connection import Connection
from level4.feeds.rest import Rest, RestRefusedError, RestUnavailableError
from level4.feeds.subscription import Subscription
from level4.market import Market
from level4.model import FeedState

log = structlog.get_logger(__name__)

_LEISURE: Final = 0.5
"""The part of the REST allowance that must be left for the depth of a book whose top is right."""
_AGAIN_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot by REST."""

    body: bytes
    levels: int | None
    """How many a side it can hold; None: all there are."""


class Depth:
    """Of one market's snapshots."""

    def __init__(self, rest: Rest, addresses: AddressBook) -> None:
        self._rest = rest
        self._addresses = addresses
        self._busy = False
        self._not_before = 0.0

    async def snapshot(
        self, market: Market, connection: Connection, subscription: Subscription, granted: Callable[[], None]
    ) -> Taken:
        """A snapshot, when the exchange's allowance lets us ask. Raises RestUnavailableError, RestRefusedError."""
        kinds = connection.scheme_type.snapshot_levels
        levels: int | None = None

        def choose() -> tuple[str, int]:
            nonlocal levels
            usual = kinds[1][0] if self._leisure(connection.scheme_type) else 0
            levels, weight = _at_least(kinds, max(market.levels_wanted, usual))
            return self._url(connection, subscription, levels), weight

        body = await self._get(connection, subscription, granted, choose if kinds else None)
        return Taken(body, levels)

    async def _get(
        self,
        connection: Connection,
        subscription: Subscription,
        granted: Callable[[], None],
        choose: Callable[[], tuple[str, int]] | None,
    ) -> bytes:
        limits = connection.scheme_type.limits
        return await self._rest.get(
            self._url(connection, subscription, None),
            weight=limits.snapshot_weight,
            weight_per_minute=limits.rest_weight_per_minute,
            budget=limits.rest_budget,
            choose=choose,
            granted=granted,
        )

    def _url(self, connection: Connection, subscription: Subscription, levels: int | None) -> str:
        return self._addresses.rest(connection.scheme_type) + connection.snapshot_path(subscription, levels)

    def due(self, scheme: type[Scheme], market: Market) -> bool:
        """Whether `deepen` should run now."""
        kinds = scheme.snapshot_levels
        if not kinds or self._busy or market.state is not FeedState.LIVE or trio.current_time() < self._not_before:
            return False
        return market.wants_deeper(kinds[1][0], self._leisure(scheme))

    async def deepen(self, market: Market, connection: Connection, subscription: Subscription) -> None:
        """Fetch a deeper snapshot while the book goes on, once."""
        self._busy = True
        kinds, generation = connection.scheme_type.snapshot_levels, subscription.generation
        levels, weight = _at_least(kinds, max(market.deeper_levels, kinds[1][0]))
        chosen = self._url(connection, subscription, levels), weight
        try:
            body = await self._get(connection, subscription, market.expect_deeper, lambda: chosen)
            if market is subscription.market and generation == subscription.generation:
                connection.apply_deeper(subscription, body, levels)
        except (RestUnavailableError, RestRefusedError) as error:
            log.info("no deeper snapshot, tried again later", symbol=subscription.symbol, error=str(error))
        finally:
            market.forget_deeper()
            self._not_before = trio.current_time() + _AGAIN_SECONDS
            self._busy = False

    def _leisure(self, scheme: type[Scheme]) -> bool:
        """Whether half of the allowance is left even if everybody who waits takes the usual depth."""
        usual, limits = scheme.snapshot_levels[1][1], scheme.limits
        return self._rest.room(self._addresses.rest(scheme) + "/", limits.rest_budget, usual) >= _LEISURE


def _at_least(kinds: tuple[tuple[int, int], ...], levels: int) -> tuple[int, int]:
    """The cheapest with so many levels, or the deepest."""
    return next((kind for kind in kinds if kind[0] >= levels), kinds[-1])
