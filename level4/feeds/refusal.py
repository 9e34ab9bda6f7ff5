"""An address that goes on refusing us, told so that a person understands it.

One refusal is no news: exchanges limit rates and restart. When nothing but refusals came for five minutes, the markets
that depend on the address are HALTED, with the address, its answer, since when, and what can be done. It is asked
again for ever.
"""

from __future__ import annotations

from typing import Final

HALT_SECONDS: Final = 300.0

_REMEDIES: Final = {
    403: "this network or client is not let in: use another network address, or a gateway",
    404: "nothing is served there: check the address if it was overridden",
    418: "this network address is banned for asking too often: fewer nodes or markets behind it, and patience",
    429: "this network address asks too often: fewer nodes or markets behind it",
    451: "the exchange does not serve this country or network: run the node elsewhere, or use a gateway",
}


class Refusal:
    """One address. Times are monotonic seconds."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._since: float | None = None
        self._count = 0

    def refused(self, status: int, said: str, now: float) -> str | None:
        """It answered with this HTTP status. Returns why its markets are to be halted, once it has gone on too long."""
        if self._since is None:
            self._since = now
        self._count += 1
        lasted = now - self._since
        if lasted < HALT_SECONDS:
            return None
        remedy = _REMEDIES.get(status, "the exchange may be in maintenance: see its status page")
        return (
            f"{self._address} has refused for {lasted / 60:.0f} minutes ({self._count} times), "
            f"last with HTTP {status}: {remedy}. It is asked again for ever. It said: {said[:200]}"
        )

    def accepted(self) -> None:
        """It serves us."""
        self._since, self._count = None, 0
