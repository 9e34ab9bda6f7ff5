"""What a node shows of itself over HTTP: `/metrics`, `/healthz`, `/readyz`.

`/healthz` answers 200 as long as the event loop runs: a platform that restarts on it restarts a hung process only.
`/readyz` is 200 when the node can host markets, else 503 with the reasons; Kafka's absence is one, and no reason to
restart anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from level4.control.ports import MarketHost, NodeState
from level4.feeds.stats import ConnectionStats
from level4.ops.http import Answer, serve_http
from level4.ops.lag import LoopLag
from level4.ops.metrics import (
    ConnectionMetrics,
    MarketsSource,
    Metrics,
    RestSource,
    feed_metrics,
    kafka_metrics,
    node_metrics,
    rest_metrics,
)
from level4.ops.tally import Tally
from level4.publish.stats import PublisherStats
from level4.rpc.gate import RpcStats

log = structlog.get_logger(__name__)


class _Feeds(MarketsSource, Protocol):
    def connections(self) -> list[ConnectionStats]: ...


class Telemetry:
    """`run` measures the event loop and, when `port` is not None, serves HTTP. `metrics` takes further sources."""

    def __init__(
        self,
        *,
        host: MarketHost,
        feeds: _Feeds,
        tally: Tally,
        rest: RestSource,
        rpc: RpcStats,
        publisher: Callable[[], PublisherStats],
        publishing: Callable[[], bool],
        http_host: str,
        http_port: int | None,
    ) -> None:
        self._host = host
        self._publisher = publisher
        self._publishing = publishing
        self._address = http_host, http_port
        self.lag = LoopLag()
        self.metrics = Metrics(
            node_metrics(host, self.lag, rpc),
            kafka_metrics(publisher, publishing),
            feed_metrics(feeds, tally),
            ConnectionMetrics(feeds.connections),
            rest_metrics(rest),
        )

    async def run(self, task_status: trio.TaskStatus[int | None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; reports the HTTP port (None: not served). Raises ConfigError when it cannot be bound."""
        host, port = self._address
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.lag.run)
            bound: int | None = None
            if port is not None:
                routes = {"/metrics": self.metrics.answer, "/healthz": self._alive, "/readyz": self._ready}
                bound = await nursery.start(serve_http, routes, host, port)
                log.info("metrics and health served", http=f"{host}:{bound}")
            task_status.started(bound)

    async def _alive(self, _accept: str) -> Answer:
        await trio.lowlevel.checkpoint()
        return _json({"alive": True, "lag_seconds": round(self.lag.last, 6)}, 200)

    async def _ready(self, _accept: str) -> Answer:
        await trio.lowlevel.checkpoint()
        node = self._host.node()
        reasons = []
        if node.state is NodeState.DRAINING:
            reasons.append("the node is shutting down")
        elif node.state is NodeState.NOT_READY:
            reasons.append(self._why_not_ready())
        ready = not reasons
        about = {"ready": ready, "node": node.name, "markets": node.active, "reasons": reasons}
        return _json(about, 200 if ready else 503)

    def _why_not_ready(self) -> str:
        if self._publishing():
            return "the ownership log in Kafka is not read to its end"
        return f"Kafka: {self._publisher().last_error or 'not connected yet'}"


def _json(value: object, status: int) -> Answer:
    return Answer(json.dumps(value).encode() + b"\n", "application/json", status)
