"""What exchanges share whose clients connect first and then ask for channels: who listens to what, and the talk itself.

A protocol says how it greets, what it answers, and what a step of a market leads to. The rest is here: subscriptions by
channel and market, the count of listeners (a market nobody listens to stands still), WebSocket pings, the end of
clients that stay silent for too long, and what has to be forgotten when a client goes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import msgspec
import trio

from level4.simulator.faults import Channel, Fault, FaultKind, FaultPlan, Frame
from level4.simulator.session import Session
from level4.simulator.synthetic import Market, Pace, Synthetic
from level4.simulator.tally import Best

_PONG_SECONDS: Final = 60.0


class Subscriptions:
    """Sessions by channel and market."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets
        self._groups: dict[tuple[str, str], dict[int, Session]] = {}

    def add(self, channel: str, native: str, session: Session) -> bool:
        """False when it is there already."""
        group = self._groups.setdefault((channel, native), {})
        if session.number in group:
            return False
        group[session.number] = session
        self._markets[native].listeners += 1
        return True

    def remove(self, channel: str, native: str, session: Session) -> bool:
        """False when it was not there."""
        if self._groups.get((channel, native), {}).pop(session.number, None) is None:
            return False
        self._markets[native].listeners -= 1
        return True

    def of(self, channel: str, native: str) -> list[Session]:
        """Who listens to a channel of a market."""
        group = self._groups.get((channel, native))
        return list(group.values()) if group else []

    def has(self, channel: str, native: str, session: Session) -> bool:
        return session.number in self._groups.get((channel, native), ())

    def names(self, session: Session, channel: str | None = None) -> list[tuple[str, str]]:
        """The channels and markets of a session, oldest first."""
        return [name for name, group in self._groups.items() if session.number in group and channel in (None, name[0])]

    def drop(self, session: Session) -> None:
        for name in self.names(session):
            self.remove(*name, session)


class Subscribed(Synthetic):
    """A made-up exchange of that kind."""

    ping_seconds: ClassVar[float | None] = None
    """How often the server pings; a client that does not answer is cut off."""
    patience_seconds: ClassVar[float] = float("inf")
    """A client that says nothing for so long is cut off."""

    def __init__(self, markets: Iterable[Market], pace: Pace, plan: FaultPlan) -> None:
        super().__init__(markets, pace, plan)
        self.subscriptions = Subscriptions(self.markets)

    def greet(self, session: Session) -> None:
        """A client has connected."""

    @abstractmethod
    def handle(self, session: Session, message: str) -> None:
        """A client's message."""

    def left(self, session: Session) -> None:
        """A client has gone; its subscriptions are already forgotten."""

    async def serve(self, session: Session) -> None:
        try:
            self.greet(session)
            async with trio.open_nursery() as nursery:
                if self.ping_seconds is not None:
                    nursery.start_soon(self._pings, session, self.ping_seconds)
                while True:
                    with trio.move_on_after(self.patience_seconds) as patience:
                        self.handle(session, await session.receive())
                    if patience.cancelled_caught:
                        session.end(Fault(FaultKind.RESET))
        finally:
            self.subscriptions.drop(session)
            self.left(session)
            self.close_tallies(session)

    async def _pings(self, session: Session, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            with trio.move_on_after(_PONG_SECONDS) as waiting:
                await session.ping()
            if waiting.cancelled_caught:
                session.end(Fault(FaultKind.CLOSE, code=1008))

    def refuses(self, session: Session, native: str) -> bool:
        """Whether a fault refuses this subscription."""
        return self.plan.for_subscription(self.exchange, session.number, native)

    def publish_book(self, channel: str, market: Market, frame: Frame, best: Best) -> None:
        """A change of the book, for all who listen; `best` is what it leads to."""
        for session in self.subscriptions.of(channel, market.native):
            session.post(frame)
            market.tally(session).frame(best)

    def publish_trades(self, channel: str, market: Market, frame: Frame, count: int) -> None:
        for session in self.subscriptions.of(channel, market.native):
            session.post(frame)
            market.tally(session).trades += count


def decoded(message: str) -> Any:
    """JSON, or None for what is none."""
    try:
        return msgspec.json.decode(message)
    except msgspec.DecodeError:
        return None


def whole(text: str | None, default: int) -> int:
    """A number in an address; the default when there is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else default


def framed(
    message: object, channel: Channel = Channel.CONTROL, native: str | None = None, *, top: bool = True
) -> Frame:
    return Frame(msgspec.json.encode(message).decode(), channel, native, top)
