"""What comes in on one connection: frames to markets, and what frames say of the connection itself.

    socket ─ receive ─ stamp ─ scheme.decode(frame, received_ns, sinks) ─ market.settle ─ next frame

A frame is handled synchronously, from the stamp to the events, so nothing can come between its parts. What is wrong
with a frame costs only the markets that the frame names; if it names none, all of the connection, because then nobody
knows whose data it was.

This is the lower half of `Connection`, which alone makes one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio

from level4.exchanges.scheme import Channel, Scheme
from level4.feeds.roster import Roster
from level4.feeds.stats import ConnectionStats, worth_logging
from level4.feeds.subscription import Answer, Sinks, Subscription
from level4.market import Cause, Market, Shadow
from level4.model import ExchangeError, Level, Notice

log = structlog.get_logger(__name__)

_EXPECTED: Final = (ExchangeError, ValueError)
"""What a bad frame makes a decoder raise (msgspec's errors are ValueErrors); anything else is logged with traceback."""


class Hearing(ABC):
    def __init__(
        self, scheme_type: type[Scheme], address: str, frame: list[Market | Shadow], wall: Callable[[], int]
    ) -> None:
        self.scheme_type = scheme_type
        self.address = address
        self.stats = ConnectionStats(scheme_type.protocol, address)
        self._scheme = scheme_type()
        self.frame = frame
        self._wall = wall
        self._log = log.bind(protocol=scheme_type.protocol, address=address)
        self._sinks = Sinks(self)
        self.roster = Roster(self._sinks)
        self._maintenance_since: float | None = None
        self._expected: int | None = None
        self._heard = 0.0
        """Monotonic seconds of the last frame."""
        self._now_ns = 0
        self._now = 0.0

    @abstractmethod
    def renew(self, reason: str, *, insist: bool) -> None:
        """Have a successor made and this connection left for it. `insist`: left in any case, because it will end."""

    @abstractmethod
    def leave(self, reason: str) -> None:
        """Give up the present socket, if there is one; the next is made as after any loss."""

    # -- answers by REST ----------------------------------------------------------------------------------------

    def snapshot_path(self, subscription: Subscription, levels: int | None) -> str:
        """Path and query of the REST snapshot of one market."""
        return self._scheme.snapshot_path(subscription.symbol, levels)

    def apply_snapshot(self, subscription: Subscription, body: bytes, levels: int | None) -> None:
        """Decode a REST snapshot, of so many levels at most, like a frame; a body that cannot be decoded is a gap of
        this market only."""
        self._stamp()
        subscription.market.levels = levels
        try:
            self._scheme.decode_snapshot(subscription.symbol, body, self._sinks)
        except Exception as error:
            self._count_error(error, body)
            self._gap([subscription], f"REST snapshot could not be handled: {short(error)}")
        subscription.market.levels = None
        self._settle()

    def apply_deeper(self, subscription: Subscription, body: bytes, levels: int) -> None:
        """Let a market take over a deeper snapshot beside its book."""
        self._stamp()
        answer, market = self._answered(subscription, body), subscription.market
        if isinstance(market, Market) and answer is not None:
            subscription.call(market.deepen, *answer, levels, self._now_ns, self._now)

    def probe_path(self, subscription: Subscription) -> str:
        """Path and query of a look at one market's book by REST."""
        return self._scheme.probe_path(subscription.symbol)

    def apply_probe(self, subscription: Subscription, body: bytes) -> None:
        """Let a market compare its book with the answer to its probe."""
        self._stamp()
        answer, market = self._answered(subscription, body), subscription.market
        if not isinstance(market, Market):
            return
        if answer is not None:
            subscription.call(market.probed, *answer, self._now_ns, self._now)
        else:
            failed = "the answer of REST could not be handled"
            subscription.call(market.probe_failed, failed, self._now_ns, self._now)

    def _answered(self, subscription: Subscription, body: bytes) -> tuple[list[Level], list[Level], int | None] | None:
        """The levels of an answer by REST that is no snapshot of the stream; None when it cannot be read."""
        answer = Answer()
        try:
            self._scheme.decode_probe(subscription.symbol, body, answer)
        except Exception as error:
            self._count_error(error, body)
        return answer.book

    # -- frames --------------------------------------------------------------------------------------------------

    def _stamp(self) -> None:
        self._now_ns = self._wall()
        self._now = trio.current_time()

    def _handle(self, frame: str | bytes) -> None:
        self._now_ns = self._wall()
        self._now = self._heard = trio.current_time()
        stats = self.stats
        stats.frames += 1
        stats.bytes += len(frame)
        try:
            self._scheme.decode(frame, self._now_ns, self._sinks)
        except Exception as error:
            self._count_error(error, frame)
            self._gap(self._named(frame), f"frame could not be handled: {short(error)}")
        self._settle()

    def _settle(self) -> None:
        """Let the touched markets publish. A bug in one costs that one."""
        frame = self.frame
        for market in frame:
            try:
                market.settle(self._now_ns, self._now)
            except Exception as error:
                for each in self.roster:
                    if each.market is market:
                        each.failed(error)
        frame.clear()

    def _named(self, frame: str | bytes) -> list[Subscription]:
        """Whose frame this was: what it touched and what it names in quotes; all, if that is nobody."""
        text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
        touched = {id(market) for market in self.frame}
        everybody = list(self.roster)
        named = [each for each in everybody if id(each.market) in touched or f'"{each.symbol}"' in text]
        return named or everybody

    def _gap(self, subscriptions: Sequence[Subscription], reason: str, cause: Cause = Cause.FRAME) -> None:
        for each in subscriptions:
            each.stats.frame_gaps += 1
            each.call(each.market.gap, reason, self._now_ns, self._now, cause=cause)

    def _count_error(self, error: Exception, frame: str | bytes) -> None:
        count = self.stats.errors.add(type(error).__name__)
        if worth_logging(count):
            self._log.warning(
                "frame could not be handled; its markets are resynchronised",
                error=short(error),
                count=count,
                bytes=len(frame),
                frame=repr(frame[:200]),
                exc_info=None if isinstance(error, _EXPECTED) else error,
            )

    # -- what frames say about the connection -------------------------------------------------------------------

    def on_dropped(self, symbol: str) -> None:
        self.stats.dropped += 1

    def on_subscribed(self, symbol: str, channel: str) -> None:
        subscription = self.roster.get(symbol)
        if subscription is not None:
            subscription.acknowledged.add(channel)
            if channel == Channel.BOOK:
                subscription.confirmed.set()

    def on_refused(self, symbol: str | None, reason: str) -> None:
        """One market's subscription was refused; without a symbol, those of all that have no answer yet."""
        self.stats.refusals += 1
        if symbol is not None:
            each = self.roster.get(symbol)
            refused = [] if each is None else [each]
        else:
            refused = [each for each in self.roster if each.sent and not each.acknowledged]
        if worth_logging(self.stats.refusals):
            self._log.warning("exchange refused", symbol=symbol, reason=reason, count=self.stats.refusals)
        for each in refused:
            for channel in each.channels:
                if channel not in each.acknowledged:
                    each.call(each.market.refused, channel, reason, self._now_ns, self._now)

    def on_notice(self, notice: Notice, text: str) -> None:
        if worth_logging(self.stats.notices.add(notice)):
            self._log.info("notice of the exchange", notice=str(notice), text=text)
        if notice is Notice.RECONNECT:
            self.renew(f"the exchange asks to reconnect: {text}", insist=True)
        elif notice is Notice.MAINTENANCE:
            self._maintenance_since = self._now
            for each in self.roster:
                each.call(each.market.halt, f"maintenance: {text}", self._now_ns, self._now)
        elif self._maintenance_since is not None:
            self._maintenance_since = None
            for each in self.roster:
                self.roster.resubscribe(each, each.channels)

    def on_unknown(self, kind: str) -> None:
        if self.stats.unknown.add(kind) == 1:
            self._log.info("unknown kind of message, ignored", kind=kind)

    def on_sequence(self, number: int) -> None:
        expected, self._expected = self._expected, number + 1
        if expected is None or number == expected:
            return
        self.stats.sequence_breaks += 1
        reason = f"sequence of the connection: expected {expected}, got {number}"
        books = [each for each in self.roster if Channel.BOOK in each.channels]
        self._gap(books, reason, Cause.SEQUENCE)
        self.leave(reason)


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
