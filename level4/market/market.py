"""The life of one market: from what a scheme decoded and the time, to events and wishes.

    scheme.decode ─ snapshot, delta, trade, heartbeat ─▶ Market ─ settle ─▶ Publisher.put(event)
                                                          │
                                                          └─▶ Commands: fetch_snapshot, resubscribe, reconnect, probe

A frame is applied in full first: `snapshot`, `delta` and `trade` change the book and gather; `settle` publishes, trades
before the spread, at most one spread event for a frame. Whatever breaks the book within a frame (a sequence break, a
checksum, a number that is none) leaves nothing of that frame in the spread stream but the mark.

Every event that ends trust in the book is marked in the stream itself. A book that was lost comes back in a new epoch,
in-band snapshots without a gap go on in the old one. Updates that come while a book seeded by REST waits for its
snapshot are kept, up to a bound.

Pure: wall-clock time (nanoseconds, stamps only) and monotonic time (seconds, timers only) are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from level4.book import ASK, BID, PRICES, Best, Sync
from level4.market.crossing import Crossing
from level4.market.freshness import Doubt, Freshness
from level4.market.kept import NOTHING, WHOLE
from level4.market.probing import same_top
from level4.market.resync import Resync
from level4.market.shadow import Shadow
from level4.market.stats import Cause, MarketStats
from level4.market.telling import Telling
from level4.model import MARKED, Changed, Commands, FeedState, Instrument, Level, Publisher, RawTime

REPEAT_SECONDS: Final = 10.0
"""A LIVE market without a spread event for so long repeats its last one; every market reports `alive` so often."""

_S = FeedState
_LIVE: Final = FeedState.LIVE
"""Asked for after every frame."""
_CHANGED: Final[tuple[Changed, ...]] = tuple(
    "both" if bits & BID and bits & ASK else "bid" if bits & BID else "ask" for bits in range(BID + ASK + 1)
)
"""What the bits of `OrderBook.changes` are called."""


class Market(Telling):
    """One market of this node. Implements `MarketSink` for schemes; the other methods are for its feed."""

    def __init__(
        self,
        *,
        market_id: int,
        instrument: Instrument,
        sync: Sync,
        exchange_us: Callable[[RawTime], int | None],
        trade_us: Callable[[RawTime], int | None] | None = None,
        term: int,
        node: str,
        publisher: Publisher,
        commands: Commands,
        frame: list[Any],
        spread_trigger: Literal["price", "size"] = "price",
        contiguous_trade_ids: bool = False,
        crossed_seconds: float | None = 5.0,
        runs: tuple[int, int] = (1, 1),
        stats: MarketStats | None = None,
    ) -> None:
        """`exchange_us`, `trade_us`: how the schemes of the book and of the trades (default: the same) spell time.
        `frame`: shared by all markets; a market that was touched appends itself. `crossed_seconds`: how long the
        exchange's updates can explain a crossed book; None: for ever. `runs`: first runs of spread and trades in this
        term. `stats`: go on counting in these."""
        super().__init__(
            market_id=market_id, instrument=instrument, sync=sync, exchange_us=exchange_us, trade_us=trade_us,
            term=term, node=node, publisher=publisher, frame=frame, contiguous_trade_ids=contiguous_trade_ids,
            runs=runs, stats=stats,
        )  # fmt: skip
        self._watched = PRICES if spread_trigger == "price" else BID | ASK
        self._commands = commands
        self._away: dict[str, str] = {}
        """Channels without a connection, and the reason that was told last."""
        self._resync = Resync(sync, commands)
        self._freshness = Freshness()
        self._crossing = Crossing(crossed_seconds)
        self._missed = False
        """Whether updates are known to be missing since the last record, though the book is whole."""

        self._spread_due = self._alive_due = float("inf")

    # -- after the frame ----------------------------------------------------------------------------------------

    def settle(self, received_ns: int, now: float) -> None:
        """Publish what the frame changed. To be called once after every frame that touched this market."""
        self._touched = False
        if self._pending:
            self._publish_trades(received_ns)
        if self._broken is not None:
            (reason, cause), self._broken = self._broken, None
            self.gap(reason, received_ns, now, keep_book=self._whole, cause=cause)
        evidence, self._evidence = self._evidence, NOTHING
        if not self._whole:
            return
        try:
            if self.state is _LIVE:
                answered = evidence is WHOLE and self._freshness.asked and not self._sync.rest
                if answered:
                    self._freshness.agreed(now)
                elif evidence:
                    self._freshness.heard(now)
                bits = self._book.changes()
                if bits & PRICES and self._known.cut and self._unknown(received_ns, now):
                    return
                if answered and bits:
                    self._answered_otherwise(received_ns, now)
                elif bits & self._watched:
                    self._publish_book(self._book.best(), _CHANGED[bits & self._watched], received_ns, now)
                if self._ahead is not None:
                    self._deepen(received_ns, now)
            elif self.state is _S.SYNCING or (self.state is _S.STALE and evidence):
                self._come_alive(received_ns, now)
        except ValueError as error:
            self.gap(str(error), received_ns, now, cause=Cause.NUMBER)

    def _unknown(self, now_ns: int, now: float) -> bool:
        """Whether the best is beyond what is known of the book, which then is a gap."""
        if beyond := self._uses_up(self._book.best()):
            reason = f"the market has left the {self._known.levels} levels a side that are known"
            self.gap(reason, now_ns, now, cause=Cause.DEPTH)
        return beyond

    def _publish_book(self, best: Best, changed: Changed, received_ns: int, now: float) -> None:
        exchange_us, received_us = self._time(self._exchange_us, self._book_time), received_ns // 1000
        if exchange_us is not None:
            self._clock.note(received_us, exchange_us)
        record = self._spread.book(best, changed, exchange_us, received_us)
        self._publisher.put(record)
        self._spread_due = now + REPEAT_SECONDS
        if self._crossing.look(record.bid_price, record.ask_price, now, fresh=changed == "state"):
            self.stats.crossed += 1

    def _publish_difference(self, now_ns: int, now: float) -> None:
        """What is new at the best of a book that has just been taken over."""
        best = self._book.seen()
        if self._known.cut and self._unknown(now_ns, now):
            return
        if bits := self._spread.changes(best) & self._watched:
            self._publish_book(best, _CHANGED[bits], now_ns, now)

    def _come_alive(self, received_ns: int, now: float) -> None:
        """SYNCING or STALE → LIVE, with a state record: a new epoch after updates were missed, else the same."""
        best = self._book.seen()
        if self._known.cut and self._unknown(received_ns, now):
            return
        if self.state is _S.SYNCING or self._missed:
            self._missed = False
            self._spread.next_epoch()
        self._publish_book(best, "state", received_ns, now)
        if self.state is _S.SYNCING:
            self._announce("snapshot", None)
        self._enter(_S.LIVE, None)
        self._announce("live", None)
        self._resync.succeeded(now)
        self._freshness.begin(now)

    # -- what its feed tells ------------------------------------------------------------------------------------

    def start(self, now_ns: int, now: float) -> None:
        """The feed exists; nothing is connected yet."""
        self._alive_due = now + REPEAT_SECONDS
        self._announce("feed_started", None)

    def connected(self, channel: str, now_ns: int, now: float) -> None:
        """The connection for a channel is up and the subscription is being sent."""
        self._away.pop(channel, None)
        if channel == "book" and self.state is not _S.STOPPED:
            if self.state in (_S.LIVE, _S.STALE):
                self._lose("subscribed again", now_ns, Cause.SUBSCRIPTION)
            self._forget_book()
            if self.state is not _S.SYNCING:
                self._enter(_S.SYNCING, None)
            self._resync.subscribed(now)

    def disconnected(self, channel: str, reason: str, now_ns: int, now: float) -> None:
        """The connection for a channel is gone, or could not be made again."""
        if channel == "trades":
            self._trades.interrupted()
        if channel == "book":
            if self.state in (_S.LIVE, _S.STALE):
                self._lose(reason, now_ns, Cause.CONNECTION)
            self._forget_book()
            self._resync.waiting_for_connection(now)
        if self._away.get(channel) != reason:
            self._away[channel] = reason
            self._announce("reconnecting", f"{channel}: {reason}")

    def gap(
        self, reason: str, now_ns: int, now: float, *, keep_book: bool = False, cause: Cause = Cause.FRAME
    ) -> None:
        """The book is wrong or incomplete: mark it and ask for it anew. `keep_book`: a snapshot came after the
        break, in the same frame."""
        self.stats.breaks[cause] += 1
        if not keep_book:
            self._whole = False
        if self.state in (_S.LIVE, _S.STALE):
            self._lose(reason, now_ns, cause)
            self._enter(_S.SYNCING, reason)
        elif self.state is not _S.SYNCING:
            return
        if not keep_book:
            self.stats.resyncs += 1
            self._announce("resync", reason)
            self._resync.failed(reason, now)

    def stale(self, reason: str, now_ns: int, now: float) -> None:
        """There is no evidence that the book is still right."""
        if self.state is _S.LIVE:
            self.stats.stale += 1
            self._fall(_S.STALE, reason, now_ns)
            self._announce("stale", reason)

    def probed(self, bids: list[Level], asks: list[Level], last: int | None, now_ns: int, now: float) -> None:
        """The answer to a probe by REST: some of the best levels, and the number of their book. Too late is no fault:
        what was heard meanwhile counts more, and a STALE market is glad of it."""
        if self.state not in (_S.LIVE, _S.STALE) or not (self._freshness.asked or self.state is _S.STALE):
            return
        if (last is not None and last == self._at) or same_top(self._book, bids, asks):
            self._freshness.agreed(now)
            if self.state is _S.STALE:
                self._come_alive(now_ns, now)
        else:
            self._freshness.refuted(now)

    def probe_failed(self, reason: str, now_ns: int, now: float) -> None:
        """No answer by REST can be had now. Asked again, until there is an answer or the market shows itself alive."""
        if self._freshness.asked:
            self._doubted(reason, now_ns, now)
            self._freshness.retry(now)

    def _doubted(self, why: str, now_ns: int, now: float) -> str:
        self.stats.probes_failed += 1
        reason = f"nothing came for {now - self._freshness.last:.1f} s, and {why}"
        self.stale(reason, now_ns, now)
        return reason

    def _answered_otherwise(self, now_ns: int, now: float) -> None:
        """A new subscription, made as a probe, has brought another book: the old one had died unseen."""
        self._doubted("a new subscription brought another book", now_ns, now)
        self._missed = True
        self._come_alive(now_ns, now)

    def _watch(self, now_ns: int, now: float) -> None:
        """Act on a silence that is too long for this market."""
        doubt = self._freshness.tick(now)
        if doubt is Doubt.ASK:
            self.stats.probes += 1
            self._commands.probe()
        elif doubt is Doubt.UNANSWERED and self._sync.rest:
            self._doubted("REST does not answer either", now_ns, now)
            self._freshness.retry(now)
        elif doubt is not None:
            shown = "REST shows another book" if doubt is Doubt.REFUTED else "a new subscription brought no book"
            self._resync.abandon(self._doubted(shown, now_ns, now), now)

    def snapshot_waits(self, why: str, now: float) -> None:
        """The snapshot that was asked for has to wait, for the exchange's allowance or because REST is away. Nothing is
        wrong with the subscription: asking anew, or a new connection, would not help."""
        self._resync.postpone(now)
        if self.state is _S.SYNCING:
            self.reason = f"waits for its snapshot: {why}"

    def deepen(
        self, bids: list[Level], asks: list[Level], last: int | None, levels: int, now_ns: int, now: float
    ) -> None:
        """The deeper snapshot: taken over with the updates since, when they have reached it, in the same epoch. One
        that does not join them (it was older) is dropped; one that shows another book with the same number proves this
        one wrong."""
        self._ahead = bids, asks, last, levels
        self._deepen(now_ns, now)

    def _deepen(self, now_ns: int, now: float) -> None:
        deeper = self._joined()
        if deeper is None or self.state is not _S.LIVE:
            return
        proves = deeper._at == self._at and self._spread.changes(deeper.book.best()) & PRICES
        self._take(deeper)
        if proves:
            self.gap("a deeper snapshot shows another book", now_ns, now, cause=Cause.SNAPSHOT)
        else:
            self.stats.deepened += 1
            self._publish_difference(now_ns, now)

    def probe_waits(self, now: float) -> None:
        """The probe that was asked for has not been sent yet, which says nothing about the market."""
        self._freshness.postpone(now)

    def halt(self, reason: str, now_ns: int, now: float) -> None:
        """The exchange refuses or is in maintenance. `connected` ends it."""
        if self.state not in (_S.HALTED, _S.STOPPED):
            self._forget_book()
            self.stats.halted += 1
            self._fall(_S.HALTED, reason, now_ns)
            self._announce("halted", reason)
            self._resync.waiting_for_connection(now)

    def refused(self, channel: str, reason: str, now_ns: int, now: float) -> None:
        """The exchange refused a subscription. Without its book a market is halted; it is asked for again later."""
        if channel == "book":
            self.halt(reason, now_ns, now)
            self._resync.refused(now)
        else:
            self._announce("refused", f"{channel}: {reason}")

    def stop(self, reason: str, now_ns: int, now: float) -> None:
        """The end of this market on this node."""
        if self.state is not _S.STOPPED:
            self._forget_book()
            self._fall(_S.STOPPED, reason, now_ns)
            self._announce("feed_stopped", reason)
            self._spread_due = self._alive_due = float("inf")
            self._resync.waiting_for_connection(now)

    def tick(self, now_ns: int, now: float) -> None:
        """Do what is due: the repeat of the last spread, `alive`, a probe, another try to get the book."""
        self._watch(now_ns, now)
        if self._crossing.tick(now):
            self.gap("the best bid was not below the best ask for too long", now_ns, now, cause=Cause.CROSSED)
        if self.state is _S.LIVE and now >= self._spread_due:
            self._publisher.put(self._spread.repeat())
            self._spread_due = now + REPEAT_SECONDS
        if now >= self._alive_due:
            self.stats.clock_us = self._clock.turn()
            self._announce("alive", self.reason)
            self._alive_due = now + REPEAT_SECONDS
        overdue = self._resync.tick(now)
        if overdue is not None and self.state is not _S.STOPPED:
            self.stats.resyncs += 1
            self._announce("resync", overdue)

    def next_tick(self) -> float:
        """Monotonic time of the next thing that is due (infinity: nothing)."""
        repeat = self._spread_due if self.state is _S.LIVE else float("inf")
        return min(repeat, self._alive_due, self._resync.due, self._freshness.due(), self._crossing.due)

    # -- another connection -------------------------------------------------------------------------------------

    def adopt(self, shadow: Shadow, now_ns: int, now: float, *, overlapped: bool = True) -> None:
        """Go on with a shadow's book and trades. `overlapped`: its trades began before the old ones ended."""
        if shadow.carries_trades:
            if not overlapped:
                self._trades.interrupted()
            self._pending += [trade for trade in shadow.trades if trade[3] is not None]
            self._publish_trades(now_ns)
        if shadow.carries_book and self.state is not _S.STOPPED:
            self._take(shadow)
            self._resync.succeeded(now)
            if self.state is _S.LIVE:
                self._freshness.begin(now)
                self._publish_difference(now_ns, now)
            else:
                self._missed = True
                if self.state is not _S.STALE and self.state is not _S.SYNCING:
                    self._enter(_S.SYNCING, None)
                self._come_alive(now_ns, now)
        self.stats.switched += 1
        self._announce("switched", "another connection, nothing was missed")

    # -- for those who look -------------------------------------------------------------------------------------

    @property
    def harmless_silence(self) -> float:
        """For how many seconds this market may be silent without being suspected."""
        return self._freshness.limit()

    def check(self) -> None:
        """Assert all internal invariants (for tests)."""
        super().check()
        self._freshness.check()
        if self.state in (_S.LIVE, _S.STALE):
            assert self._whole, f"{self.state} without a whole book"
            assert self._spread.last is not None, f"{self.state} without a record"
        assert not self._touched, "a frame was not settled"
        assert not self._pending, "trades were not published"

    # -- small steps --------------------------------------------------------------------------------------------

    def _lose(self, reason: str, now_ns: int, cause: Cause) -> None:
        self.stats.gaps[cause] += 1
        self._fall(_S.GAP, reason, now_ns)
        self._announce("gap", reason)

    def _fall(self, state: FeedState, reason: str, now_ns: int) -> None:
        """Enter a state that ends trust in the book, and mark it in the stream."""
        self._enter(state, reason)
        if state is not _S.STALE:
            self._freshness.end()
            self._crossing.leave()
        if state in MARKED:
            self._publisher.put(self._spread.mark(state, now_ns // 1000))
