"""Recordings served as the exchange would.

A connection gets every recording that fits its address (loosely: hosts of one family are the same), its symbols and
its channels, merged by time. Nothing is sent before the client's first subscription (Binance with streams in the
address needs none); then the frames go out in recorded order, byte for byte, acks included. At a recorded REST
snapshot the stream is held until the client has asked for it, because the recorded book only makes sense from there.

A snapshot asked for before its turn waits. If the stream is meanwhile held at another snapshot it is answered out of
turn after a moment: a client that asks one after the other would else wait for ever, and a snapshot newer than the
stream is what every protocol with snapshots by REST must cope with.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge
from typing import Any, Final

import msgspec
import trio
from trio_websocket import ConnectionClosed

from level4.simulator.address import Address
from level4.simulator.faults import Channel, Fault, FaultKind, Frame
from level4.simulator.recorded import Event, Listing, Recording, channels_in
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session

LONGEST_PAUSE_NS: Final = 5_000_000_000
"""Fixtures of several moments have years between frames."""
_GATHER_SECONDS: Final = 0.1
"""A client spreads its subscriptions over several messages: silence of so long ends the list."""
_OUT_OF_TURN_SECONDS: Final = 0.3
_SNAPSHOT_SECONDS: Final = 10.0
"""How long a snapshot request waits for a stream that will reach it."""

_FAMILIES: Final[dict[str, str]] = {
    "beta-ws.kraken.com": "ws.kraken.com",
    "ws-feed.pro.coinbase.com": "ws-feed.exchange.coinbase.com",
    "ws-feed-public.sandbox.exchange.coinbase.com": "ws-feed.exchange.coinbase.com",
    "api.pro.coinbase.com": "api.exchange.coinbase.com",
    "data-stream.binance.vision": "stream.binance.com",
    "data-api.binance.vision": "api.binance.com",
    **{f"api{n}.binance.com": "api.binance.com" for n in (1, 2, 3, 4)},
    "api-gcp.binance.com": "api.binance.com",
    "api.bitfinex.com": "api-pub.bitfinex.com",
    "ws.bitmex.com": "www.bitmex.com",
    "streams.deribit.com": "www.deribit.com",
    "ws.okex.com": "ws.okx.com",
    "www.okex.com": "www.okx.com",
}
"""Hosts that serve the same markets, and the one that stands for them."""
_SYMBOL_PARAMETERS: Final = ("symbol", "pair", "product_id", "instrument_name", "instId", "product_code")

SnapshotKey = tuple[str, str]
"""Path and symbol of a REST snapshot."""


def family(host: str) -> str:
    """The host that stands for all that serve the same markets."""
    return _FAMILIES.get(host, host)


def _route(address: Address) -> tuple[str, str]:
    """What addresses of one protocol at one exchange have in common."""
    host = family(address.host)
    path = "" if ".binance" in host else address.path.removesuffix("/public")
    return host, path


def _snapshot_key(address: Address) -> SnapshotKey:
    parameters = address.parameters()
    symbol = next((parameters[name] for name in _SYMBOL_PARAMETERS if name in parameters), "")
    return address.path, symbol.upper()


@dataclass(slots=True, eq=False)
class _Player:
    """One connection being played to."""

    events: list[Event]
    keys: dict[int, SnapshotKey]
    """The snapshots not yet asked for, by their place in `events`."""
    position: int = 0
    held_since: float | None = None
    released: trio.Event = field(default_factory=trio.Event)

    def answer(self, index: int) -> Response:
        event = self.events[index]
        del self.keys[index]
        if index == self.position:
            self.released.set()
        return Response(event.status, event.d.encode())


class Playback:
    """All recordings of one family of hosts."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        listings: Sequence[Listing],
        speed: float | None = 1.0,
        loop: bool = False,
    ) -> None:
        """`speed`: how much faster than recorded; None is as fast as the client takes the frames."""
        self.exchange = recordings[0].exchange
        self.recordings = list(recordings)
        self.rounds = 0
        """Connections that were sent a recording to its end."""
        self._listings = list(listings)
        self._speed = speed
        self._loop = loop
        self._players: list[_Player] = []
        self._changed = trio.Event()
        self._known = {
            _snapshot_key(Address.of_url(event.url))
            for recording in recordings
            for event in recording.events
            if event.k == "http" and event.url is not None
        }
        self._hosts = {family(listing.address.host) for listing in listings} | {
            family(Address.of_url(event.url).host)
            for recording in recordings
            for event in recording.events
            if event.url is not None
        }

    def speaks(self, address: Address) -> bool:
        return any(_route(recording.address) == _route(address) for recording in self.recordings)

    def answers(self, address: Address) -> bool:
        return family(address.host) in self._hosts

    async def run(self) -> None:
        """Nothing goes on without clients."""

    async def serve(self, session: Session) -> None:
        asked = await self._first_subscriptions(session)
        events = self._choose(session.address, asked)
        keys = {
            index: _snapshot_key(Address.of_url(event.url))
            for index, event in enumerate(events)
            if event.k == "http" and event.url is not None
        }
        player = _Player(events, keys)
        self._players.append(player)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, session, nursery.cancel_scope)
                await self._play(session, player)
                if self._loop:
                    session.end(Fault(FaultKind.CLOSE, code=1001))
                await trio.sleep_forever()
        finally:
            self._players.remove(player)

    async def answer(self, request: Request) -> Response:
        address = request.address
        listing = self._listing(address, request.body.decode(errors="replace"))
        if listing is not None:
            return Response(200, listing.body)
        key = _snapshot_key(address)
        if key in self._known and (snapshot := await self._snapshot(key)) is not None:
            return snapshot
        return self.refusal(404, f"{address.path} is not in the recordings")

    def refusal(self, status: int, reason: str) -> Response:
        if self.exchange.startswith("KRAKEN"):
            return Response.json({"error": [f"EGeneral:{reason}"]}, status)
        if self.exchange.startswith("BINANCE"):
            return Response.json({"code": -1000, "msg": reason}, status)
        return Response.json({"message": reason}, status)

    async def _first_subscriptions(self, session: Session) -> str:
        """The client's subscribe messages, until it pauses."""
        if "streams=" in session.address.query:
            return session.address.query
        asked = ""
        while True:
            with trio.move_on_after(_GATHER_SECONDS if asked else float("inf")) as gathering:
                message = await session.receive()
                self._acknowledge(session, message)
                if _subscribes(message):
                    asked += message
            if gathering.cancelled_caught:
                return asked

    def _choose(self, address: Address, asked: str) -> list[Event]:
        fitting = [recording for recording in self.recordings if _route(recording.address) == _route(address)]
        lower = asked.lower()
        named = [r for r in fitting if any(symbol.lower() in lower for symbol in r.symbols)]
        channels = channels_in(asked)
        wanted = [r for r in named or fitting if r.channels is None or r.channels & channels or r.channels == channels]
        return list(merge(*(recording.events for recording in wanted), key=lambda event: event.t))

    async def _listen(self, session: Session, playing: trio.CancelScope) -> None:
        """Read what the client sends on, until it is gone."""
        with suppress(ConnectionClosed):
            while True:
                self._acknowledge(session, await session.receive())
        playing.cancel()

    def _acknowledge(self, session: Session, message: str) -> None:
        """Binance recordings were subscribed by their address, so that they hold no acks."""
        if ".binance" in session.address.host:
            with suppress(msgspec.DecodeError):
                request: Any = msgspec.json.decode(message)
                if isinstance(request, dict) and "method" in request:
                    ack = msgspec.json.encode({"result": None, "id": request.get("id")})
                    session.post(Frame(ack.decode()))

    async def _play(self, session: Session, player: _Player) -> None:
        due = trio.current_time()
        before: int | None = None
        for index, event in enumerate(player.events):
            player.position = index
            if self._speed is not None and before is not None:
                due += min(event.t - before, LONGEST_PAUSE_NS) / 1e9 / self._speed
                await trio.sleep_until(due)
            before = event.t
            if event.k == "http":
                await session.sent_all()
                if player.position in player.keys:
                    await self._hold(player)
                    due = max(due, trio.current_time())
            else:
                await session.room()
                session.post(Frame(event.data, Channel.DATA))
        await session.sent_all()
        self.rounds += 1

    async def _hold(self, player: _Player) -> None:
        player.released = trio.Event()
        player.held_since = trio.current_time()
        self._changed.set()
        self._changed = trio.Event()
        await player.released.wait()
        player.held_since = None

    async def _snapshot(self, key: SnapshotKey) -> Response | None:
        """The recorded snapshot once a stream is ready for it; None when no stream will be."""
        deadline = trio.current_time() + _SNAPSHOT_SECONDS
        while trio.current_time() < deadline:
            waiting = [(p, i) for p in reversed(self._players) for i, known in p.keys.items() if known == key]
            for player, index in waiting:
                if player.held_since is not None and index == player.position:
                    return player.answer(index)
            for player, index in waiting:
                patient = trio.current_time() - _OUT_OF_TURN_SECONDS
                if player.held_since is not None and player.held_since <= patient:
                    return player.answer(index)
            if not waiting and any(key in _keys(player) for player in self._players):
                return None
            with trio.move_on_after(_OUT_OF_TURN_SECONDS):
                await self._changed.wait()
        return None

    def _listing(self, address: Address, question: str) -> Listing | None:
        """The recorded list for this path (with the question asked by POST behind it) whose parameters agree best with
        those asked for."""
        asked = address.parameters().items()
        path = f"{address.path} {question}" if question else address.path
        fitting = []
        for listing in self._listings:
            own = listing.address.parameters()
            if listing.address.path == path and all(own.get(name, value) == value for name, value in asked):
                fitting.append((len(asked & own.items()) - len(own), listing))
        return max(fitting, key=lambda scored: scored[0])[1] if fitting else None


def _keys(player: _Player) -> set[SnapshotKey]:
    return {_snapshot_key(Address.of_url(e.url)) for e in player.events if e.k == "http" and e.url is not None}


def _subscribes(message: str) -> bool:
    lower = message.lower()
    return "subscribe" in lower and "unsubscribe" not in lower
