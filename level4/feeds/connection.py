"""One connection to one address of an exchange, and the markets it carries.

A connection never gives up: it connects again with growing, jittered delays, within the exchange's allowance of
attempts; while an address is away, one of those that wait for it asks often and tells the others (`scouting.py`). All
its markets learn at once that the socket is gone, and that they are subscribed again. A scheme's instance decodes one
socket, so every socket gets a new one. Subscriptions are wishes, kept until they can be sent, in batches and at the
pace the exchange allows; adding or removing a market touches no other.

Ends of a socket: closed by the exchange or the network; silence longer than the exchange would ever keep; a break in
the connection's own sequence; a request of the exchange or of a market; the planned end before the exchange's own
limit. An exception of the scheme outside a frame is a bug: it is logged with its traceback and costs a reconnect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import trio

from level4.exchanges.scheme import Channel, Scheme
from level4.feeds.hearing import Hearing, short
from level4.feeds.outage import Outage
from level4.feeds.pacing import Allowance, Backoff
from level4.feeds.scouting import Scouting, patience
from level4.feeds.stats import worth_logging
from level4.feeds.subscription import Subscription
from level4.feeds.transport import Disconnected, Socket, Transport
from level4.market import Market, Shadow

_BYTES_BETWEEN_CHECKPOINTS = 2**16
_FRAMES_BETWEEN_CHECKPOINTS = 128
_RETIRE_AGAIN_SECONDS = 90.0
"""When a planned handover failed, it is tried again after so long; exchanges are left early enough for several."""
_MAINTENANCE_SECONDS = 300.0
"""How long to believe in an announced maintenance before asking again with a new connection."""


class Connection(Hearing):
    """`frame`: the list to which touched markets append themselves, shared by the process. `scouting`: shared by all
    who want this address. `wall`: nanoseconds for stamps. `capacity`: how many markets it may carry. `retire`: have a
    successor made; it answers with `kept` when not all markets could be handed over."""

    def __init__(
        self,
        scheme_type: type[Scheme],
        address: str,
        *,
        transport: Transport,
        frame: list[Market | Shadow],
        scouting: Scouting,
        random: Random,
        wall: Callable[[], int],
        capacity: int,
        retire: Callable[[Connection, str], None] | None = None,
    ) -> None:
        super().__init__(scheme_type, address, frame, wall)
        self.capacity = capacity
        self._transport = transport
        self._scouting = scouting
        self._random = random
        self._backoff = Backoff(random)
        self._outage = Outage(address)
        self._silence = scheme_type.limits.silence_seconds
        self._failures = 0
        """Attempts in a row that opened no socket."""

        self._run_scope = trio.CancelScope()
        self._socket_scope: trio.CancelScope | None = None
        self._ended = ""
        """Why the present socket is to be left; empty while it is good."""
        self._closing = False
        self._retire_to = retire
        self._insisted: str | None = None
        self.retiring = False
        """Whether its markets are being handed over to a successor."""

    # -- the markets --------------------------------------------------------------------------------------------

    def has_room(self, symbol: str) -> bool:
        """Whether a market with this native symbol may be attached."""
        staying = not (self._closing or self.retiring)
        return staying and symbol not in self.roster and len(self.roster) < self.capacity

    @property
    def empty(self) -> bool:
        return len(self.roster) == 0

    @property
    def shared(self) -> bool:
        """Whether more than one market depends on it."""
        return len(self.roster) > 1

    @property
    def leaving(self) -> bool:
        """Whether its present socket is being given up anyway."""
        return bool(self._ended)

    def attach(self, subscription: Subscription) -> None:
        """Carry a market from now on: subscribed as soon as the socket is open and the pace allows."""
        self.roster.attach(subscription)
        self.stats.markets = len(self.roster)

    def detach(self, subscription: Subscription) -> None:
        """Carry it no more: frames that still come for it are dropped and counted."""
        self.roster.detach(subscription)
        self.stats.markets = len(self.roster)

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
                await self._scouting.connects.take()
                self.stats.attempts += 1
                began, failed, frames = trio.current_time(), None, self.stats.frames
                try:
                    await self._session()
                except Disconnected as error:
                    failed = error
                    self._failed(error)
                except Exception as error:
                    self.stats.bugs += 1
                    self._log.exception("bug in handling a connection, it is made anew")
                    self._down(f"internal error: {short(error)}")
                opened = self.stats.since
                healthy = 0.0 if opened is None else trio.current_time() - opened
                self.stats.since = None
                if self._closing:
                    return
                delay = self._backoff.next(healthy)
                if failed is None or worth_logging(self._failures):
                    self._log.info("reconnecting", within=round(delay, 3), reason=self.stats.last_reason)
                mute = opened is not None and self.stats.frames == frames and healthy >= self._silence
                await self._pause(delay, began, failed, mute=mute)

    def _failed(self, error: Disconnected) -> None:
        """No socket could be opened. Markets whose address goes on like that are halted."""
        self._failures += 1
        self._down(str(error))
        self.stats.refused += error.refused
        reason = self._outage.failed(error.code if error.refused else None, error.reason, self._now)
        if reason is not None:
            for each in self.roster:
                each.call(each.market.halt, reason, self._now_ns, self._now)
        if not error.reached:
            self._scouting.connects.give_back()
        if error.retry_after is not None:
            self._scouting.connects.pause(error.retry_after)

    async def _pause(self, seconds: float, since: float, failed: Disconnected | None, *, mute: bool) -> None:
        """Before the next attempt. Only what an outage made fail may be tried again sooner. `mute`: a socket was
        opened, and nothing was ever heard."""
        if failed is None:
            outage = mute
        else:
            outage = failed.retry_after is None and (not failed.refused or (failed.code or 0) >= 500)
        if outage:
            await self._scouting.wait(seconds, since, reached=failed is None or failed.reached)
        else:
            await trio.sleep(max(seconds, (failed and failed.retry_after) or 0.0))

    async def _session(self) -> None:
        """One socket, from opening to its end. Raises Disconnected when it cannot be opened."""
        limits = self.scheme_type.limits
        self._ended = ""
        self._insisted = None
        self._expected = self._maintenance_since = None
        self._scheme = self.scheme_type()
        async with self._transport.connect(self.address, limits.message_bytes, patience(self._failures)) as socket:
            self._stamp()
            self.stats.connects += 1
            self.stats.up = True
            self._failures = 0
            self._outage.ended()
            self._scouting.returned()
            self.stats.since = self._heard = self._now
            self._log.info("connected", markets=len(self.roster))
            self.roster.begin()
            async with trio.open_nursery() as nursery:
                self._socket_scope = nursery.cancel_scope
                pace = _pace(limits.messages_per_second)
                nursery.start_soon(self._until_disconnected, self._speak, socket, pace)
                nursery.start_soon(self._watch, self._silence)
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
            if not self.roster.carries(each):
                continue  # it had a successor that could take over at once
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
        while True:
            self.renew(f"planned: the exchange ends every connection after {lifetime:g} s", insist=False)
            await trio.sleep(_RETIRE_AGAIN_SECONDS)

    def renew(self, reason: str, *, insist: bool) -> None:
        if insist:
            self._insisted = reason
        if self._retire_to is None or self.empty:
            self.leave(reason)
        elif not self.retiring:
            self.retiring = True
            self._log.info("a successor is made", reason=reason)
            self._retire_to(self, reason)

    def kept(self) -> None:
        """Some markets could not be handed over and stay here."""
        self.retiring = False
        if self._insisted is not None:
            self.leave(self._insisted)

    # -- speaking -----------------------------------------------------------------------------------------------

    async def _send(self, socket: Socket, pace: Allowance, text: str) -> None:
        await pace.take()
        await socket.send(text)
        self._scheme.sent(text, self._wall())
        self.stats.sent += 1

    async def _ping(self, socket: Socket, pace: Allowance) -> None:
        while True:
            await trio.sleep(self.scheme_type.ping_seconds or 0.0)
            if (text := self._scheme.ping()) is not None:
                await self._send(socket, pace, text)
                continue
            await socket.ping()
            self._heard = trio.current_time()

    async def _speak(self, socket: Socket, pace: Allowance) -> None:
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
            if each.quietly:
                each.quietly = False
                continue
            for channel in channels:
                each.call(each.market.connected, channel, self._now_ns, self._now)
        self._settle()

    # -- listening ----------------------------------------------------------------------------------------------

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


def _pace(messages_per_second: float) -> Allowance:
    """Of what is sent over one socket."""
    if messages_per_second >= 1.0:
        return Allowance(messages_per_second, 1.0)
    return Allowance(1.0, 1.0 / messages_per_second)
