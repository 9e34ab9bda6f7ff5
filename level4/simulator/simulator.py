"""A local exchange that speaks the wire protocols of real ones, with faults on demand.

One port stands for every exchange: clients put the exchange's host in front of the path (see `address`). With
recordings it serves those; without, it makes up markets of every exchange it knows. It shares no decoding,
checksum or synchronisation code with the program it tests: a mistake made twice would prove itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import trio
from trio_websocket import ConnectionClosed, HandshakeError, wrap_server_stream

from level4.model import ConfigError
from level4.simulator.address import Address
from level4.simulator.binance import Binance
from level4.simulator.binance_derivatives import WEIGHT, BinanceDelivery, BinanceFutures
from level4.simulator.binance_streams import Budget
from level4.simulator.bitfinex import Bitfinex
from level4.simulator.bitflyer import Bitflyer
from level4.simulator.bitmex import Bitmex
from level4.simulator.bitstamp import Bitstamp
from level4.simulator.bybit import BybitInverse, BybitLinear, BybitOption, BybitSpot
from level4.simulator.coinbase import Coinbase
from level4.simulator.control import PREFIX, control
from level4.simulator.deribit import Deribit
from level4.simulator.faults import AT_ONCE, Channel, Fault, FaultKind, FaultPlan
from level4.simulator.gemini import Gemini
from level4.simulator.hitbtc import Hitbtc
from level4.simulator.hyperliquid import Hyperliquid
from level4.simulator.kraken import Kraken
from level4.simulator.kraken_futures import KrakenFutures
from level4.simulator.kraken_unified import KrakenUnified
from level4.simulator.listing import DEFAULT_SYMBOLS, symbols
from level4.simulator.okx import Okx
from level4.simulator.playback import Playback, family
from level4.simulator.poloniex import Poloniex
from level4.simulator.recorded import Recording, load, load_listings
from level4.simulator.rest import Request, Response, serve_http
from level4.simulator.session import Session
from level4.simulator.stream import ServedStream
from level4.simulator.synthetic import Pace, Synthetic
from level4.simulator.venue import Venue

MAX_CONNECTIONS: Final = 2000
MAX_PATHS: Final = 200
"""Requested paths that are counted by name."""
HEAD_SECONDS: Final = 10.0
HANDSHAKE_SECONDS: Final = 1.0
"""The whole request has been read by then."""
MAX_MESSAGE_BYTES: Final = 64 * 2**20
_EXCHANGES: Final[tuple[Callable[[list[str], Pace, FaultPlan], Synthetic], ...]] = (
    Bitfinex,
    Bitflyer,
    Bitmex,
    Bitstamp,
    BybitInverse,
    BybitLinear,
    BybitOption,
    BybitSpot,
    Deribit,
    Gemini,
    Hitbtc,
    Hyperliquid,
    KrakenFutures,
    KrakenUnified,
    Okx,
    Poloniex,
)
"""Those that need nothing but symbols, pace and faults."""


class Simulator:
    def __init__(
        self,
        *,
        recordings: Sequence[Path] = (),
        speed: float | None = 1.0,
        loop: bool = False,
        names: Sequence[str] = DEFAULT_SYMBOLS,
        markets: int = 0,
        rate: float = 20.0,
        trade_rate: float = 2.0,
        levels: int = 200,
        seed: int = 0,
        gather: float = 1.0,
        binance_weight: int = 6000,
    ) -> None:
        """A simulator; `serve` runs it.

        `recordings`: files to serve; none: synthetic exchanges. `speed`: of recordings, None for as fast as the
        client reads. `loop`: close the connection after the last frame, so that the client comes back for another
        round. `names`: `BASE/QUOTE` symbols of each synthetic exchange; `markets`: generate more up to this many.
        `rate`, `trade_rate`: updates and takers a second for each market. `levels`: price levels a side. `gather`: how
        long exchanges gather changes before they tell them, as a part of what the real ones take (0: not at all).
        `binance_weight`: Binance's REST budget a minute.
        Raises ConfigError when a recording cannot be served.
        """
        if speed is not None and speed <= 0:
            raise ConfigError(f"expected a speed above 0 (or none: as fast as possible), got {speed}")
        if rate < 0 or trade_rate < 0 or trade_rate > rate:
            raise ConfigError(f"expected 0 <= trade rate <= rate, got rate {rate} and trade rate {trade_rate}")
        self._plan = FaultPlan()
        self._synthetic: list[Synthetic] = []
        self._playbacks: list[Playback] = []
        if recordings:
            self._playbacks = _playbacks(recordings, speed, loop)
        else:
            pace = Pace(rate, trade_rate, levels, seed, gather)
            listed = symbols(markets, names)
            shared = Budget(WEIGHT)
            self._synthetic = [
                Kraken(listed, pace, self._plan),
                Binance(listed, pace, self._plan, binance_weight),
                BinanceFutures(listed, pace, self._plan, shared),
                BinanceDelivery(listed, pace, self._plan, shared),
                Coinbase(listed, pace, self._plan),
                *(exchange(listed, pace, self._plan) for exchange in _EXCHANGES),
            ]
        self._venues: list[Venue] = [*self._playbacks, *self._synthetic]
        self._sessions: dict[int, Session] = {}
        self._numbers = count(1)
        self._connections = 0
        self._requests: Counter[str] = Counter()

    async def serve(
        self, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled. Port 0 takes a free one; the bound port is reported through `task_status`."""
        listeners = (await trio.open_tcp_listeners(port, host=host))[: 1 if port == 0 else None]
        async with trio.open_nursery() as nursery:
            for venue in self._venues:
                nursery.start_soon(venue.run)
            await nursery.start(trio.serve_listeners, self._connection, listeners)
            task_status.started(listeners[0].socket.getsockname()[1])

    def pause(self) -> None:
        """Stop generating; what is already generated is sent."""
        for exchange in self._synthetic:
            exchange.paused = True

    def resume(self) -> None:
        for exchange in self._synthetic:
            exchange.paused = False

    def inject(self, fault: Fault) -> int:
        """Ask for a fault. Returns how many connections it struck at once; 0 for a fault that waits."""
        if fault.kind not in AT_ONCE:
            self._plan.add(fault)
            return 0
        struck = [s for s in self._sessions.values() if fault.matches_session(s.exchange, s.number)]
        for session in struck:
            if fault.kind is FaultKind.STALL and fault.market is not None:
                session.lost_markets.add(fault.market)
            elif fault.kind is FaultKind.STALL:
                session.stall()
            elif fault.kind is FaultKind.UNSTALL:
                session.unstall()
            else:
                session.end(fault)
        self._plan.struck[fault.kind] += len(struck)
        return len(struck)

    def pending_faults(self) -> list[Fault]:
        return list(self._plan.pending)

    def clear_faults(self) -> None:
        self._plan.pending.clear()

    def stats(self) -> dict[str, object]:
        """Plain counts, as JSON types.

        `exchanges`: by exchange (or a part of it that has addresses of its own: `BYBIT_LINEAR`, `BINANCE_FUTURES`, the
        names that faults use too) and native symbol what a correct consumer must have derived (see `Tally`), in total
        and per subscription, and the best bid and ask now. `sessions`: the open WebSockets; `connections`: all
        open connections; `requests`: REST requests; `faults`: those that struck, and `slow_client`s cut off.
        """
        return {
            "paused": any(exchange.paused for exchange in self._synthetic),
            "exchanges": {
                exchange.exchange: {
                    market.native: market.stats() for market in exchange.markets.values() if market.tallies
                }
                for exchange in self._synthetic
            },
            "recordings": [
                {"exchange": playback.exchange, "host": playback.recordings[0].address.host, "rounds": playback.rounds}
                for playback in self._playbacks
            ],
            "sessions": [
                {"session": s.number, "exchange": s.exchange, "host": s.address.host, "sent": s.sent}
                for s in self._sessions.values()
            ],
            "connections": self._connections,
            "requests": dict(self._requests),
            "faults": dict(self._plan.struck),
        }

    def book(self, exchange: str, symbol: str) -> dict[str, object] | None:
        """The whole book of a synthetic market, best first, as price and size texts; None if there is none."""
        for synthetic in self._synthetic:
            if synthetic.exchange == exchange.upper() and symbol in synthetic.markets:
                return synthetic.markets[symbol].whole_book()
        return None

    def trades(self, exchange: str, symbol: str) -> list[dict[str, str]] | None:
        """The last trades of a synthetic market, oldest first; the first ones are older than the simulator."""
        for synthetic in self._synthetic:
            if synthetic.exchange == exchange.upper() and symbol in synthetic.markets:
                return synthetic.markets[symbol].last_trades()
        return None

    async def _connection(self, tcp: trio.SocketStream) -> None:
        stream, head = ServedStream(tcp), b""
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                with trio.move_on_after(HEAD_SECONDS):
                    head = await stream.peek_head()
                target, upgrade = _head(head)
                if upgrade:
                    await self._websocket(stream, Address.of_target(target))
                elif head:
                    await serve_http(stream, self._answer)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionClosed):
            pass  # the client is gone
        finally:
            self._connections -= 1
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1), suppress(trio.BrokenResourceError):
                await stream.aclose()

    async def _websocket(self, stream: ServedStream, address: Address) -> None:
        venue = next((venue for venue in self._venues if venue.speaks(address)), None)
        async with trio.open_nursery() as nursery:
            try:
                # after a broken handshake trio-websocket answers 400, and then waits for a request for ever
                with trio.fail_after(HANDSHAKE_SECONDS):
                    request = await wrap_server_stream(
                        nursery, stream, max_message_size=MAX_MESSAGE_BYTES, receive_buffer_size=64 * 1024
                    )
                refused = None if venue is None else self._plan.for_connection(venue.exchange)
                if venue is None or refused is not None:
                    await request.reject(404 if refused is None else refused.status)
                else:
                    socket = await request.accept()
                    session = Session(next(self._numbers), venue.exchange, address, socket, stream, self._plan)
                    await self._session(session, venue)
            except (ConnectionClosed, HandshakeError, trio.TooSlowError):
                pass  # the client is gone
            nursery.cancel_scope.cancel()

    async def _session(self, session: Session, venue: Venue) -> None:
        self._sessions[session.number] = session
        exchange = venue if isinstance(venue, Synthetic) else None
        if exchange is not None:
            exchange.clients += 1
        try:
            with session.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.write)
                    try:
                        await venue.serve(session)
                    except* ConnectionClosed:
                        pass  # the client is gone
                    nursery.cancel_scope.cancel()
        finally:
            del self._sessions[session.number]
            if exchange is not None:
                exchange.clients -= 1
        await session.finish()

    async def _answer(self, request: Request) -> Response:
        if request.target.startswith(PREFIX):
            return control(self, request)
        address = request.address
        for venue in self._venues:
            if venue.answers(address):
                name = f"{venue.exchange} {address.path}"
                self._requests[name if name in self._requests or len(self._requests) < MAX_PATHS else "others"] += 1
                fault = self._plan.for_request(venue.exchange, address.path)
                if fault is None:
                    return await venue.answer(request)
                response = venue.refusal(fault.status, "injected fault")
                if fault.retry_after is not None:
                    response.headers["Retry-After"] = str(fault.retry_after)
                return response
        return Response.json({"error": f"no exchange here answers {address.host}{address.path}"}, 404)


def _playbacks(paths: Sequence[Path], speed: float | None, loop: bool) -> list[Playback]:
    """One for each family of hosts: two venues of an exchange can share a host, and their clients are told apart only
    by what they subscribe to."""
    groups: dict[str, list[Recording]] = {}
    for path in paths:
        recording = load(path)
        groups.setdefault(family(recording.address.host), []).append(recording)
    playbacks = []
    for recordings in groups.values():
        folders = {recording.path.parent: recording.path for recording in recordings}
        listings = [listing for path in folders.values() for listing in load_listings(path)]
        playbacks.append(Playback(recordings, listings, speed, loop))
    return playbacks


def _head(head: bytes) -> tuple[str, bool]:
    """The target of a request, and whether it asks for a WebSocket."""
    first, _, rest = head.partition(b"\r\n")
    words = first.decode("latin-1").split(" ")
    fields = [line.partition(b":") for line in rest.lower().split(b"\r\n")]
    upgrade = any(name.strip() == b"upgrade" and b"websocket" in value for name, _, value in fields)
    return words[1] if len(words) == 3 else "/", upgrade


__all__ = ["Channel", "Fault", "FaultKind", "Simulator"]
