"""Which exchange address a request was meant for.

A node that is pointed at the simulator keeps the exchange's address and puts its host in front of the path:
`wss://ws.kraken.com/v2` becomes `ws://HOST:PORT/ws.kraken.com/v2`. So one port can stand for every exchange at once,
and routing works on the host and path the node would have used.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """An exchange address without scheme and port. `host` is lower case, `path` has no slash at the end."""

    host: str
    path: str
    query: str

    @classmethod
    def of_target(cls, target: str) -> Address:
        """From the target of a request to the simulator: `/ws.kraken.com/v2?x=1`."""
        path, _, query = target.partition("?")
        host, _, rest = path.lstrip("/").partition("/")
        return cls(_bare(host), unquote(f"/{rest}".rstrip("/")), query)

    @classmethod
    def of_url(cls, url: str) -> Address:
        parts = urlsplit(url)
        return cls(_bare(parts.netloc), unquote(parts.path.rstrip("/")), parts.query)

    def parameters(self) -> dict[str, str]:
        """The query's parameters, the first value of each."""
        return {name: values[0] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


def _bare(host: str) -> str:
    return host.partition(":")[0].lower()
