"""One client's WebSocket connection: a bounded queue of frames, and the one place where faults are applied.

Whatever produces frames (a synthetic exchange, a recording) calls `post`, which never waits; the writer takes them in
order, lets the fault plan change them and sends. A client that does not read until the queue is full is cut off, as
real exchanges do.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from level4.simulator import faults
from level4.simulator.address import Address
from level4.simulator.faults import Fault, FaultKind, FaultPlan, Frame
from level4.simulator.stream import ServedStream

MAX_QUEUED_FRAMES: Final = 50_000
_AHEAD: Final = 256
"""How far a recording is queued ahead of the socket."""
_BATCH: Final = 64
"""Frames sent in one go at most."""
_CLOSE_SECONDS: Final = 1.0


class Session:
    def __init__(
        self,
        number: int,
        exchange: str,
        address: Address,
        socket: WebSocketConnection,
        stream: ServedStream,
        plan: FaultPlan,
    ) -> None:
        self.number = number
        self.exchange = exchange
        self.address = address
        self.sent = 0
        """Frames sent."""
        self.lost_markets: set[str] = set()
        """Markets whose frames are lost (a stalled subscription)."""
        self._socket = socket
        self._stream = stream
        self._plan = plan
        self._queue: deque[Frame] = deque()
        self._filled = trio.Event()
        self._drained = trio.Event()
        self._flowing = trio.Event()
        self._flowing.set()
        self._held: list[tuple[Fault, Frame]] = []
        self._ending: Fault | None = None
        self.scope = trio.CancelScope()
        """Cancelled when this end closes the connection."""

    def post(self, frame: Frame) -> None:
        if self._ending is not None:
            return
        if len(self._queue) >= MAX_QUEUED_FRAMES:
            self._plan.struck["slow_client"] += 1
            self.end(Fault(FaultKind.CLOSE, code=1008))
            return
        self._queue.append(frame)
        self._filled.set()

    async def room(self) -> None:
        """Wait until the socket has taken most of what is queued."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._queue) >= _AHEAD:
            self._drained = trio.Event()
            await self._drained.wait()

    async def sent_all(self) -> None:
        """Wait until everything posted has been handed to the socket."""
        while self._queue or self._stream.corked:
            self._drained = trio.Event()
            await self._drained.wait()

    async def receive(self) -> str:
        """The client's next message as text. Raises ConnectionClosed at the end."""
        message = await self._socket.get_message()
        return message if isinstance(message, str) else message.decode(errors="replace")

    async def ping(self) -> None:
        await self._socket.ping()

    def stall(self) -> None:
        if self._flowing.is_set():
            self._flowing = trio.Event()

    def unstall(self) -> None:
        self._flowing.set()
        self.lost_markets.clear()

    def end(self, fault: Fault) -> None:
        """Close (with the fault's code) or reset the connection, at once."""
        self._ending = fault
        self.scope.cancel()

    async def finish(self) -> None:
        """Carry out what `end` asked for; an orderly close when nothing did."""
        if self._ending is not None and self._ending.kind is FaultKind.RESET:
            self._stream.reset()
            return
        code = 1000 if self._ending is None else self._ending.code
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
            self._stream.corked = False
            await self._socket.aclose(code)

    async def write(self) -> None:
        """Send what is posted, until cancelled or the client is gone."""
        # LocalProtocolError: a frame between the client's close and trio-websocket's taking note of it
        gone = (ConnectionClosed, LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError)
        with suppress(*gone):
            while True:
                while not self._queue:
                    self._filled = trio.Event()
                    await self._filled.wait()
                await self._flowing.wait()
                self._stream.corked = True
                for _ in range(min(_BATCH, len(self._queue))):
                    await self._deliver(self._queue.popleft())
                    if not self._flowing.is_set():
                        break
                self._stream.corked = False
                await self._stream.flush()
                if len(self._queue) < _AHEAD // 2:
                    self._drained.set()
        self.scope.cancel()

    async def _deliver(self, frame: Frame) -> None:
        if frame.market in self.lost_markets:
            return
        fault = self._plan.for_frame(self.exchange, self.number, frame) if self._plan.pending else None
        kind = None if fault is None else fault.kind
        data = frame.data
        if fault is None:
            pass
        elif kind is FaultKind.DROP:
            return
        elif kind is FaultKind.REORDER:
            self._held.append((fault, frame))
            return
        elif kind is FaultKind.DELAY:
            await self._stream.flush()
            await trio.sleep(fault.seconds)
        elif kind is FaultKind.DUPLICATE:
            await self._send(data)
        elif kind is FaultKind.CORRUPT:
            data = faults.corrupt(data)
        elif kind is FaultKind.TRUNCATE:
            data = faults.truncate(data)
        elif kind is FaultKind.GARBAGE:
            data = faults.garbage(data)
        elif kind is FaultKind.BINARY:
            data = faults.binary(data)
        elif kind is FaultKind.OVERSIZE:
            data = faults.oversize(data, fault.size)
        await self._send(data)
        for waiting in [w for w in self._held if (w[1].market, w[1].channel) == (frame.market, frame.channel)]:
            self._held.remove(waiting)
            await self._send(waiting[1].data)

    async def _send(self, data: str | bytes) -> None:
        await self._socket.send_message(data)
        self.sent += 1
