"""The embedded broker as if it were some milliseconds away: a relay that holds back every byte for half a round trip.

It is a process of its own (`kafka_relay.py LISTEN TARGET SECONDS`), so that it costs the measured one nothing.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from types import TracebackType

from level4.publish import EmbeddedBroker


class DistantBroker(EmbeddedBroker):
    """Clients are told to come by the relay: `endpoint`."""

    def __init__(self, round_trip_seconds: float) -> None:
        super().__init__()
        self._one_way = round_trip_seconds / 2
        self._relay: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._door: int = probe.getsockname()[1]

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._door}"

    def _command(self) -> list[str]:
        *command, _, _, name, advertised = super()._command()
        return [*command, "--listener-url", f"tcp://127.0.0.1:{self.port}", name, advertised]

    def start(self) -> None:
        super().start()
        command = [sys.executable, __file__, str(self._door), str(self.port), str(self._one_way)]
        self._relay = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._relay.stdout is not None
        self._relay.stdout.readline()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate()
        super().__exit__(kind, error, trace)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    clock = asyncio.get_running_loop().time

    async def let_go() -> None:
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                writer.close()
                return
            writer.write(data)

    releasing = asyncio.create_task(let_go())
    data = b"begin"
    while data:
        try:
            data = await reader.read(65_536)
        except ConnectionError:
            data = b""
        held.put_nowait((clock() + seconds, data))
    await releasing


async def _relay(door: int, target: int, seconds: float) -> None:
    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_carry(reader, back, seconds), _carry(there, writer, seconds))

    server = await asyncio.start_server(visited, "127.0.0.1", door)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
