"""One connection to one address of an exchange, and the markets it carries.

    socket ─ receive ─ stamp ─ scheme.decode(frame, received_ns, sinks) ─ market.settle ─ next frame

A frame is handled synchronously, from the stamp to the events, so nothing can come between its parts. What is wrong
with a frame costs only the markets that the frame names; if it names none, all of the connection, because then nobody
knows whose data it was.

A connection never gives up: it connects again with growing, jittered delays, within the exchange's allowance of
attempts. All its markets learn at once that the socket is gone, and that they are subscribed again. A scheme's instance
decodes one socket, so every socket gets a new one. Subscriptions are wishes, kept until they can be sent, in batches
and at the pace the exchange allows; adding or removing a market touches no other.

Ends of a socket: closed by the exchange or the network; silence longer than the exchange would ever keep; a break in
the connection's own sequence; a request of the exchange or of a market; the planned end before the exchange's own
limit. An exception of the scheme outside a frame is a bug: it is logged with its traceback and costs a reconnect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random

import structlog
import trio

from level4.exchanges.scheme import Channel, Scheme
from level4.feeds.pacing import Backoff, TokenBucket
from level4.feeds.roster import Roster
from level4.feeds.stats import ConnectionStats, worth_logging
from level4.feeds.subscription import Sinks, Subscription
from level4.feeds.transport import Disconnected, Socket, Transport
from level4.market import Market
from level4.model import ExchangeError, Notice

log = structlog.get_logger(__name__)

_BYTES_BETWEEN_CHECKPOINTS = 2**16
_FRAMES_BETWEEN_CHECKPOINTS = 128
_MAINTENANCE_SECONDS = 300.0
"""How long to believe in an announced maintenance before asking again with a new connection."""
_EXPECTED = (ExchangeError, ValueError)
"""What a bad frame makes a decoder raise (msgspec's errors are ValueErrors); anything else is logged with traceback."""


class Connection:
    """`frame`: the list to which touched markets append themselves, shared by the process. `connects`: the exchange's
    allowance of attempts. `wall`: nanoseconds for stamps. `capacity`: how many markets it may carry."""

    def __init__(
        self,
        scheme_type: type[Scheme],
        address: str,
        *,
        transport: Transport,
        frame: list[Market],
        connects: TokenBucket,
        random: Random,
        wall: Callable[[], int],
        capacity: int,
    ) -> None:
        self.scheme_type = scheme_type
        self.address = address
        self.capacity = capacity
        self.stats = ConnectionStats(scheme_type.protocol, address)
        self._scheme = scheme_type()
        self._transport = transport
        self._frame = frame
        self._connects = connects
        self._random = random
        self._backoff = Backoff(random)
        self._wall = wall
        self._log = log.bind(protocol=scheme_type.protocol, address=address)

        self._sinks = Sinks(self)
        self.roster = Roster(self._sinks)

        self._run_scope = trio.CancelScope()
        self._socket_scope: trio.CancelScope | None = None
        self._ended = ""
        """Why the present socket is to be left; empty while it is good."""
        self._closing = False
        self._maintenance_since: float | None = None
        self._expected: int | None = None
        self._heard = 0.0
        """Monotonic seconds of the last frame."""
        self._now_ns = 0
        self._now = 0.0

    # -- the markets --------------------------------------------------------------------------------------------

    def has_room(self, symbol: str) -> bool:
        """Whether a market with this native symbol may be attached."""
        return not self._closing and symbol not in self.roster and len(self.roster) < self.capacity

    @property
    def empty(self) -> bool:
        return len(self.roster) == 0

    @property
    def shared(self) -> bool:
        """Whether more than one market depends on it."""
        return len(self.roster) > 1

    def attach(self, subscription: Subscription) -> None:
        """Carry a market from now on: subscribed as soon as the socket is open and the pace allows."""
        self.roster.attach(subscription)
        self.stats.markets = len(self.roster)

    def detach(self, subscription: Subscription) -> None:
        """Carry it no more: frames that still come for it are dropped and counted."""
        self.roster.detach(subscription)
        self.stats.markets = len(self.roster)

    def snapshot_path(self, subscription: Subscription) -> str:
        """Path and query of the REST snapshot of one market."""
        return self._scheme.snapshot_path(subscription.symbol)

    def apply_snapshot(self, subscription: Subscription, body: bytes) -> None:
        """Decode a REST snapshot like a frame; a body that cannot be decoded is a gap of this market only."""
        self._stamp()
        try:
            self._scheme.decode_snapshot(subscription.symbol, body, self._sinks)
        except Exception as error:
            self._count_error(error, body)
            self._gap([subscription], f"REST snapshot could not be handled: {_short(error)}")
        self._settle()

    def close(self) -> None:
        """End the connection for good."""
        self._closing = True
        if self._socket_scope is not None:
            self.leave("no market left")
        else:
            self._run_scope.cancel()

    # -- the life of the connection -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, talk, connect again, until `close`."""
        with self._run_scope:
            while True:
                await self._connects.take()
                self.stats.attempts += 1
                try:
                    await self._session()
                except Disconnected as error:
                    self._down(str(error))
                except Exception as error:
                    self.stats.bugs += 1
                    self._log.exception("bug in handling a connection, it is made anew")
                    self._down(f"internal error: {_short(error)}")
                opened = self.stats.since
                healthy = 0.0 if opened is None else trio.current_time() - opened
                self.stats.since = None
                if self._closing:
                    return
                delay = self._backoff.next(healthy)
                self._log.info("reconnecting", seconds=round(delay, 3), reason=self.stats.last_reason)
                await trio.sleep(delay)

    async def _session(self) -> None:
        """One socket, from opening to its end. Raises Disconnected when it cannot be opened."""
        limits = self.scheme_type.limits
        self._ended = ""
        self._expected = self._maintenance_since = None
        self._scheme = self.scheme_type()
        async with self._transport.connect(self.address, limits.message_bytes) as socket:
            self._stamp()
            self.stats.connects += 1
            self.stats.up = True
            self.stats.since = self._heard = self._now
            self._log.info("connected", markets=len(self.roster))
            self.roster.begin()
            async with trio.open_nursery() as nursery:
                self._socket_scope = nursery.cancel_scope
                pace = TokenBucket(max(1.0, limits.messages_per_second), limits.messages_per_second)
                nursery.start_soon(self._until_disconnected, self._speak, socket, pace)
                nursery.start_soon(self._watch, limits.silence_seconds)
                if self.scheme_type.ping_seconds is not None:
                    nursery.start_soon(self._until_disconnected, self._ping, socket, pace)
                if limits.lifetime_seconds is not None:
                    nursery.start_soon(self._retire, limits.lifetime_seconds)
                await self._until_disconnected(self._listen, socket)
            self._socket_scope = None
            # The markets must know before the socket is closed politely, which may take a while.
            self._down(self._ended)

    def leave(self, reason: str) -> None:
        """Give up the present socket, if there is one; the next is made as after any loss."""
        if not self._ended and self._socket_scope is not None:
            self._ended = reason
            self._socket_scope.cancel()

    def _down(self, reason: str) -> None:
        """Tell everybody that there is no socket."""
        self._stamp()
        self._socket_scope = None
        if self.stats.up:
            self.stats.disconnects += 1
        self.stats.up = False
        self.stats.last_reason = reason
        for each in self.roster:
            each.lapse()
            for channel in each.channels:
                each.call(each.market.disconnected, channel, reason, self._now_ns, self._now)
        self._settle()

    async def _until_disconnected(self, talk: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await talk(*args)
        except Disconnected as error:
            self.leave(str(error))

    async def _watch(self, silence: float) -> None:
        while True:
            await trio.sleep(min(silence, max(0.01, self._heard + silence - trio.current_time())))
            now = trio.current_time()
            if now - self._heard >= silence:
                self.stats.silences += 1
                self.leave(f"silence: expected a frame within {silence:g} s, none came")
            elif self._maintenance_since is not None and now - self._maintenance_since >= _MAINTENANCE_SECONDS:
                self.leave(f"maintenance without an end for {_MAINTENANCE_SECONDS:g} s")

    async def _retire(self, lifetime: float) -> None:
        # A part of the last percents at random: connections made together should not all leave together.
        await trio.sleep(lifetime * self._random.uniform(0.95, 0.99))
        self.leave(f"planned: the exchange ends every connection after {lifetime:g} s")

    # -- speaking -----------------------------------------------------------------------------------------------

    async def _send(self, socket: Socket, pace: TokenBucket, text: str) -> None:
        await pace.take()
        await socket.send(text)
        self._scheme.sent(text, self._wall())
        self.stats.sent += 1

    async def _ping(self, socket: Socket, pace: TokenBucket) -> None:
        while True:
            await trio.sleep(self.scheme_type.ping_seconds or 0.0)
            if (text := self._scheme.ping()) is not None:
                await self._send(socket, pace, text)
                continue
            await socket.ping()
            self._heard = trio.current_time()

    async def _speak(self, socket: Socket, pace: TokenBucket) -> None:
        """Send the greeting, then subscriptions as they are wished for. Goodbyes go first: they make room."""
        for text in self._scheme.greeting():
            await self._send(socket, pace, text)
        while True:
            batch = await self.roster.next(self.scheme_type.limits.symbols_per_message)
            if batch.joining is None:
                texts = self._scheme.unsubscribe(batch.channels, batch.symbols)
            else:
                self._joining(batch.joining, batch.channels)
                texts = self._scheme.subscribe(batch.channels, batch.symbols)
            for text in texts:
                await self._send(socket, pace, text)
            for each in batch.joining or ():
                if self.roster.carries(each) and each.sent and Channel.BOOK in batch.channels:
                    each.ready.set()

    def _joining(self, joining: list[Subscription], channels: tuple[Channel, ...]) -> None:
        """Tell the markets before their subscription is sent: its answer may be there before `send` returns."""
        self._stamp()
        for each in joining:
            each.sent = True
            for channel in channels:
                each.call(each.market.connected, channel, self._now_ns, self._now)
        self._settle()

    # -- listening ----------------------------------------------------------------------------------------------

    def _stamp(self) -> None:
        self._now_ns = self._wall()
        self._now = trio.current_time()

    async def _listen(self, socket: Socket) -> None:
        while True:
            frame: str | bytes | None = await socket.receive()
            handled = count = 0
            while frame is not None:
                self._handle(frame)
                if self._ended:
                    return
                handled += len(frame)
                count += 1
                if handled > _BYTES_BETWEEN_CHECKPOINTS or count >= _FRAMES_BETWEEN_CHECKPOINTS:
                    break
                frame = socket.receive_nowait()

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
            self._gap(self._named(frame), f"frame could not be handled: {_short(error)}")
        self._settle()

    def _settle(self) -> None:
        """Let the touched markets publish. A bug in one costs that one."""
        frame = self._frame
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
        touched = {id(market) for market in self._frame}
        everybody = list(self.roster)
        named = [each for each in everybody if id(each.market) in touched or f'"{each.symbol}"' in text]
        return named or everybody

    def _gap(self, subscriptions: Sequence[Subscription], reason: str) -> None:
        for each in subscriptions:
            each.stats.frame_gaps += 1
            each.call(each.market.gap, reason, self._now_ns, self._now)

    def _count_error(self, error: Exception, frame: str | bytes) -> None:
        count = self.stats.errors.add(type(error).__name__)
        if worth_logging(count):
            self._log.warning(
                "frame could not be handled; its markets are resynchronised",
                error=_short(error),
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
            self.leave(f"the exchange asks to reconnect: {text}")
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
        self._gap(books, reason)
        self.leave(reason)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
