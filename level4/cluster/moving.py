"""Moving a market between two living nodes without a break, both sides of it (`placement.handover` has the story).

The new host makes the market LIVE in silence, in the term that it is going to claim. Then it asks the old one to
release: that one stops, waits until Kafka has all of it, and answers where its streams ended. The new one claims, and
when the claim has been read back, it is heard, from a first record that follows that end.

Whatever breaks on the way, one of both publishes: the old host claims again when nobody has within `CLAIM_SECONDS`, and
of two claims the log knows one winner.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
import trio

from level4.cluster.ledger import Ledger, LostError
from level4.cluster.ports import Feeds
from level4.cluster.tenancy import Tenancy
from level4.model import MarketRequest, UnavailableError
from level4.placement import Answer, AskRelease, Claim, ClaimBack, Desired, Entry, Released, Source, Target, next_term

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 2.0
HEAR_SECONDS: Final = 0.25
"""How far behind the old host's connection ours may be. In a quiet market, whose last trade is long ago, it is a pause
for nothing; the book is not older for it."""
_TICK: Final = 0.05


class Stage(Feeds, Protocol):
    """Feeds that can be made ready in silence."""

    async def rehearse(self, request: MarketRequest, term: int) -> None:
        """Start the feed of a market, in a term that is not claimed yet, unheard. Raises as `start` does."""

    def is_live(self, market_id: int) -> bool: ...

    def heard(self, market_id: int, trade_id: str) -> bool:
        """Whether that trade has come to the silent feed."""

    def debut(self, market_id: int, released: Released) -> None:
        """Let it be heard."""

    async def abandon(self, market_id: int) -> None:
        """Stop it, unheard."""


class Ends(Protocol):
    """The publisher, asked for the end of a market's streams."""

    async def ends(self, market_id: int, seconds: float) -> Released:
        """Wait until Kafka has all of a market that is stopped, for at most `seconds`; where its streams end."""


class Moving:
    """`ask`: asks a node to release a market to this one."""

    def __init__(
        self,
        ledger: Ledger,
        tenancy: Tenancy,
        stage: Stage,
        ends: Ends,
        ask: Callable[[str, int], Awaitable[Released]],
    ) -> None:
        self._ledger = ledger
        self._tenancy = tenancy
        self._stage = stage
        self._ends = ends
        self._ask = ask
        self._sources: dict[int, Source] = {}

    # -- the new host -------------------------------------------------------------------------------------------

    async def take(self, market_id: int, source: str) -> Entry:
        """Take a running market over. Raises LostError, FullError, or why it could not be made LIVE; it then goes on
        where it was."""
        self._ledger.check()
        entry = self._ledger.known.market(market_id)
        if entry is None or entry.record.desired is not Desired.RUNNING or entry.record.host != source:
            host = None if entry is None else entry.record.host
            raise UnavailableError(f"market {market_id} is not on node {source} any more (now: {host or 'none'})")
        request = entry.record.market
        term = next_term(self._ledger.known.highest_term(market_id), int(time.time()))
        with self._tenancy.rehearsing(request):
            instrument = await self._stage.resolve(request)
            await self._tenancy.ensure(market_id)
            target = Target(trio.current_time())
            await self._stage.rehearse(request, term)
            try:
                step = await self._until_live(market_id, target)
                assert isinstance(step, AskRelease)
                with trio.CancelScope(shield=True):  # bounded: the source's flush, then a claim
                    step = target.released(await self._ask(source, market_id))
                    assert isinstance(step, Claim)
                    await self._hear(market_id, step.released.trade_id)
                    self._check_still(entry)
                    won = await self._ledger.claim(request, instrument, step.released, term=term)
                    target.won(term)
                    self._stage.debut(market_id, step.released)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self._stage.abandon(market_id)
                raise
        log.info("market moved here", market=str(request), source=source, term=term)
        return won

    async def _hear(self, market_id: int, trade_id: str | None) -> None:
        """Wait a moment for the old host's last trade, if that host was ahead: it shows where ours begin."""
        if trade_id is not None:
            with trio.move_on_after(HEAR_SECONDS):
                while not self._stage.heard(market_id, trade_id):  # noqa: ASYNC110 - looked for, it does not call
                    await trio.sleep(HEAR_SECONDS / 20)

    def _check_still(self, entry: Entry) -> None:
        """Raises LostError when a claim would take the market away from somebody who came meanwhile."""
        request = entry.record.market
        present = self._ledger.known.market(request.id)
        if present is None or (present.record.host, present.record.term) != (entry.record.host, entry.record.term):
            raise LostError(request, present)

    async def _until_live(self, market_id: int, target: Target) -> object:
        while not self._stage.is_live(market_id):
            await trio.sleep(_TICK)
            if target.tick(trio.current_time()) is not None:
                raise UnavailableError(f"market {market_id} did not become LIVE here in time; it stays where it is")
        return target.live(trio.current_time())

    # -- the old host -------------------------------------------------------------------------------------------

    async def release(self, market_id: int, target: str) -> Released:
        """Stop publishing a market and say where it ended. Raises UnavailableError when it is not here."""
        entry = self._ledger.known.market(market_id)
        if entry is None or not self._ledger.writer.holds(entry):
            raise UnavailableError(f"market {market_id} is not held by node {self._ledger.writer.node}")
        source = self._sources.setdefault(market_id, Source(entry.record.term))
        if source.ask() is None:
            raise UnavailableError(f"market {market_id} is being released already")
        log.info("market released", market=str(entry.record.market), target=target)
        with trio.CancelScope(shield=True):
            await self._tenancy.release(market_id, f"moving to node {target}")
            answer = source.flushed(await self._ends.ends(market_id, FLUSH_SECONDS), trio.current_time())
            self._tenancy.spawn(self._see_to_it, market_id, source)
        assert isinstance(answer, Answer)
        return answer.released

    async def _see_to_it(self, market_id: int, source: Source) -> None:
        """Claim the market again unless somebody else does."""
        while True:
            entry = self._ledger.known.market(market_id)
            if entry is None or entry.record.desired is not Desired.RUNNING or entry.record.term > source.term:
                break
            if isinstance(source.tick(trio.current_time()), ClaimBack):
                log.warning("nobody has claimed a released market; it goes on here", market_id=market_id)
                try:
                    await self._ledger.claim(entry.record.market)
                except LostError:
                    break
                except UnavailableError as error:
                    log.warning("market not claimed again yet", market_id=market_id, reason=str(error))
            await trio.sleep(_TICK)
        del self._sources[market_id]
        self._tenancy.released(market_id)


