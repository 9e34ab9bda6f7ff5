"""Health by `grpc.health.v1`, as probes of container platforms and load balancers ask for it.

SERVING means: this node can host markets now. While it drains, or cannot reach what it needs (Kafka), it is
NOT_SERVING under every name: "" (the whole node) and each service's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL
from grpclib.health.service import Health as _HealthService

from level4.rpc.gate import Service


class Health:
    """Starts as not ready. `set_ready` may be called at any time, also before anything is served."""

    def __init__(self) -> None:
        self._status = ServiceStatus()
        self._ready = False
        self._draining = False
        self._status.set(False)

    @property
    def serving(self) -> bool:
        return self._ready and not self._draining

    def set_ready(self, ready: bool) -> None:
        self._ready = ready
        self._status.set(self.serving)

    def drain(self) -> None:
        """NOT_SERVING from here on, whatever `set_ready` says."""
        self._draining = True
        self._status.set(False)

    def service(self, services: Iterable[Service]) -> Service:
        """The health service for these services. A name that is not served is NOT_FOUND."""
        return _HealthService({OVERALL: [self._status], **{service: [self._status] for service in services}})
