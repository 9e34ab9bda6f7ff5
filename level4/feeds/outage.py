"""An address that goes on refusing us, or cannot be reached, told so that a person understands it.

One failure is no news: exchanges limit rates and restart. When nothing but failures came for five minutes, the markets
that depend on the address are HALTED, with the address, its answer or why there is none, since when, and what can be
done. It is asked again for ever.
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
_NO_ANSWER: Final = "check this node's network, its DNS and firewall, then the exchange's status page"


class Outage:
    """One address. Times are monotonic seconds."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._since: float | None = None
        self._count = 0

    def failed(self, status: int | None, said: str, now: float) -> str | None:
        """It answered with this HTTP status, or not at all (None). Returns why its markets are to be halted, once it
        has gone on too long."""
        if self._since is None:
            self._since = now
        self._count += 1
        lasted = now - self._since
        if lasted < HALT_SECONDS:
            return None
        if status is None:
            what, last, remedy = "could not be reached", "", _NO_ANSWER
        else:
            what, last = "has refused", f", last with HTTP {status}"
            remedy = _REMEDIES.get(status, "the exchange may be in maintenance: see its status page")
        return (
            f"{self._address} {what} for {lasted / 60:.0f} minutes ({self._count} times){last}: {remedy}. "
            f"It is asked again for ever. The last failure: {said[:200]}"
        )

    def ended(self) -> None:
        """It serves us."""
        self._since, self._count = None, 0
