"""The states of markets on other nodes, as those said when they were asked last; and what is known of nodes.

Who hosts a market is the ownership log's to say; whether its book is LIVE only its host knows. It is asked when
somebody wants to know: nodes do not tell each other what nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from level4.cluster.meta import Meta
from level4.control.ports import ActiveMarket, NodeInfo, NodeState
from level4.model import FeedState, Level4Error
from level4.placement import NodeRecord
from level4.rpc.peers import Peers

State = tuple[FeedState, str | None]
"""And the reason, for people."""


class Elsewhere:
    """`address`: of a node's control service; raises NodeUnavailableError."""

    def __init__(self, own: str, peers: Peers, address: Callable[[str], str]) -> None:
        self._own = own
        self._peers = peers
        self._address = address
        self._told: dict[int, tuple[str, State]] = {}

    def told(self, market_id: int, host: str | None) -> State | None:
        """What a market's host said of it; None: nothing."""
        told = self._told.get(market_id)
        return told[1] if told is not None and told[0] == host else None

    def note(self, market: ActiveMarket) -> None:
        if market.node is not None:
            self._told[market.request.id] = market.node, (market.state, market.reason)

    async def refresh(self, markets: Sequence[ActiveMarket]) -> bool:
        """Ask the hosts of these markets; whether anything is another than before."""
        hosted: dict[str, list[int]] = {}
        for market in markets:
            if market.node not in (None, self._own):
                hosted.setdefault(str(market.node), []).append(market.request.id)
        before = dict(self._told)
        async with trio.open_nursery() as nursery:
            for host, ids in hosted.items():
                nursery.start_soon(self._ask, host, ids)
        return before != self._told

    async def _ask(self, host: str, ids: Sequence[int]) -> None:
        told: dict[int, State] = {}
        reason = f"node {host}, which is to host it, does not run it yet"
        try:
            for market in await self._peers.hosted(self._address(host)):
                told[market.id] = (FeedState(market.state), market.reason or None)
        except Level4Error as error:
            reason = f"node {host}, which hosts it, does not say: {error}"
        for market_id in ids:
            self._told[market_id] = host, told.get(market_id, (FeedState.STARTING, reason))


def node_of_record(record: NodeRecord) -> NodeInfo:
    return NodeInfo(
        name=record.by.node,
        active=record.active,
        capacity=record.capacity,
        state=NodeState.DRAINING if record.draining else NodeState.READY,
        version=record.version,
        address=record.address,
    )


def node_of_meta(name: str, meta: Meta) -> NodeInfo:
    working = NodeState.READY if meta.ready else NodeState.NOT_READY
    state = NodeState.DRAINING if meta.draining else working
    return NodeInfo(name, meta.active, meta.capacity, state, meta.version, meta.control)
