"""Which node gets a market: one that is asked for, and those whose host is gone.

**Takeover.** Every node computes the same lot for every orphan, from the market's id, the offset of its record and the
round, weighted by the free room of all nodes. So nodes with the same view agree without a word on who claims what, the
markets of a dead node spread over all others at once, and nobody waits. A round lasts a second; then the lots are drawn
again, so that one that does not act (its exchange is away, its view is another) delays a market by a second or two.
Where views differ two claim, and the ownership log knows one winner.

A market for which no node has room is marked as unplaced by the first node by name, and drawn for again and again.

The room of a node is what its records in the ownership log say: they come every second from whoever can publish, and
from nobody on another Kafka.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from hashlib import blake2b
from random import Random
from typing import Final, Literal

import structlog
import trio

from level4.cluster.ledger import Ledger
from level4.cluster.tenancy import Tenancy
from level4.model import UnavailableError
from level4.placement import (
    DEAD_SECONDS,
    Desired,
    Orphan,
    Room,
    choose,
    least_loaded,
    orphans,
    spread_over,
    to_take_back,
)

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.2
ROUND_SECONDS: Final = 1.0
_MOST_AT_ONCE: Final = 64
"""Orphans looked at in one round; the others come when these have a host."""

Policy = Literal["random", "least_loaded"]


class Placing:
    def __init__(self, tenancy: Tenancy, ledger: Ledger, policy: Policy, random: Random) -> None:
        self.closing = False
        """Set when this node takes no more markets."""
        self._tenancy = tenancy
        self._ledger = ledger
        self._policy = policy
        self._random = random
        self._since: dict[int, tuple[int, float]] = {}
        """By market: its record's offset and since when it is seen as an orphan."""
        self._unplacing: set[int] = set()

    # -- one market ---------------------------------------------------------------------------------------------

    def rooms(self, but_not: Collection[str] = ()) -> list[Room]:
        """The nodes that may take markets now, with what they host by the log: all nodes see the same."""
        ledger = self._ledger
        own = ledger.writer.node
        hosted: dict[str, int] = {}
        for entry in ledger.known.markets().values():
            if entry.record.desired is Desired.RUNNING and entry.record.host is not None:
                hosted[entry.record.host] = hosted.get(entry.record.host, 0) + 1
        rooms = []
        for record in ledger.nodes():
            name = record.by.node
            if name in but_not or (record.draining and name != own):
                continue
            if name == own:
                if not self.closing and ledger.may_publish():
                    rooms.append(Room(name, hosted.get(name, 0), self._tenancy.capacity))
            elif ledger.silence(name) < DEAD_SECONDS:
                rooms.append(Room(name, hosted.get(name, 0), record.capacity))
        return rooms

    def choose(self, but_not: Collection[str] = ()) -> str | None:
        """A node for one market; None: nobody has room."""
        own, active = self._ledger.writer.node, self._tenancy.active  # with what is being claimed now
        rooms = [replace(room, active=active) if room.node == own else room for room in self.rooms(but_not)]
        return least_loaded(rooms) if self._policy == "least_loaded" else choose(rooms, self._random.random())

    # -- takeover -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take what has no host, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(TICK_SECONDS)
                if self._ledger.ready and self._tenancy.open and not self.closing:
                    self._look(nursery)

    def _look(self, nursery: trio.Nursery) -> None:
        for entry in to_take_back(self._ledger.known, self._ledger.writer).values():
            self._tenancy.take(entry)
        found = orphans(self._ledger.known.markets().values(), self._ledger.gone)[:_MOST_AT_ONCE]
        now = trio.current_time()
        since = {one.market_id: (one.entry.offset, now) for one in found}
        for market_id, (offset, _) in since.items():
            before = self._since.get(market_id)
            if before is not None and before[0] == offset:
                since[market_id] = before
        self._since = since
        if not found:
            return
        rooms, own = self.rooms(), self._ledger.writer.node
        first = own == min((room.node for room in rooms), default=own)
        lots = [lot(one, int((now - since[one.market_id][1]) / ROUND_SECONDS)) for one in found]
        for orphan, node in zip(found, spread_over(len(found), rooms, lots), strict=True):
            if node == own:
                self._tenancy.take(orphan.entry)
            elif node is None and orphan.host is not None and first and orphan.market_id not in self._unplacing:
                self._unplacing.add(orphan.market_id)
                nursery.start_soon(self._unplace, orphan)

    async def _unplace(self, orphan: Orphan) -> None:
        reason = f"node {orphan.host} is gone, and no other node has room"
        log.warning("market without room", market=str(orphan.entry.record.market), reason=reason)
        try:
            await self._ledger.unplace(orphan.market_id, reason)
        except UnavailableError as error:
            log.warning("market without room", market_id=orphan.market_id, reason=str(error))
        finally:
            self._unplacing.discard(orphan.market_id)


def lot(orphan: Orphan, round_number: int) -> float:
    """A number from 0 to 1 that all nodes draw alike."""
    text = f"{orphan.market_id}:{orphan.entry.offset}:{round_number}".encode()
    return int.from_bytes(blake2b(text, digest_size=7).digest(), "big") / 2**56
