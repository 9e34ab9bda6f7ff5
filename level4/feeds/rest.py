"""REST: instrument lists and book snapshots, within the exchange's budget and ours.

Every request costs weight out of a budget that one exchange's host grants per minute and address; a host that answers
429 or 418 is asked nothing by anybody until its `Retry-After` is over, because asking on is what turns a refusal into
a ban. Bodies, durations and the number of simultaneous requests are bounded. Every failure is a typed error that says
whether, and from when on, asking again makes sense; the caller decides and backs off.

Requests are made in the order in which they were asked for. Only a question whose answer is worthless later (a probe)
is urgent: it has a part of the budget and connections of its own, so that hundreds of snapshots that wait for the
budget do not delay it, and it fails at once while the exchange wants to be left alone.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import trio

from level4.feeds.pacing import Allowance, retry_after
from level4.model import ExchangeError, Level4Error, UnavailableError

_BODY_BYTES = 64 * 2**20
_DEFAULT_PAUSE = {429: 10.0, 418: 120.0, 403: 60.0}
"""Seconds to keep away when the exchange does not say: 418 is a ban of two minutes or more (Binance, 2026-11)."""
_USED_WEIGHT = "x-mbx-used-weight-1m"
_URGENT_PART = 0.1
"""Of every budget, kept for what is urgent."""
_URGENT_AT_ONCE = 2


class RestUnavailableError(UnavailableError):
    """The host did not answer in time, broke the connection, or answered 5xx."""

    status: int | None = None
    """HTTP status; None: no answer."""
    retry_after: float | None = None
    """Seconds the exchange asks us to wait."""


class RateLimitedError(RestUnavailableError):
    """429, 418 or 403: too many requests, or a ban of this address. Everybody waits for `retry_after` seconds."""


class RestRefusedError(ExchangeError):
    """A final answer: not from this country (451), unknown path or symbol (other 4xx), or a body beyond the bound."""

    status: int | None = None


@dataclass(slots=True)
class RestStats:
    requests: int = 0
    bytes: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    """Per HTTP status; 0: no answer."""


class Rest:
    """A client for all exchanges; use as an async context manager.

    `transport` replaces the network in tests (`httpx.MockTransport`). Needs a running trio loop when it is entered.
    """

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        ssl_context: ssl.SSLContext | None = None,
        seconds: float = 30.0,
        per_host: int = 8,
        body_bytes: int = _BODY_BYTES,
        share: int = 1,
    ) -> None:
        self.stats = RestStats()
        self._make: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(
            transport=transport,
            verify=httpx.create_ssl_context() if ssl_context is None else ssl_context,
            timeout=httpx.Timeout(seconds, connect=10.0),
            follow_redirects=True,
            trust_env=False,
            headers={"accept": "application/json", "user-agent": "level4"},
        )
        self._client: httpx.AsyncClient | None = None
        self._seconds = seconds
        self._per_host = per_host
        self._body_bytes = body_bytes
        self._share = share
        self._budgets: dict[str, Allowance] = {}
        self._slots: dict[tuple[str, bool], trio.CapacityLimiter] = {}

    async def __aenter__(self) -> Rest:
        self._client = self._make()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def budgets(self) -> dict[str, tuple[float, float]]:
        """By name (its host, unless several share one): weight that may be spent now, and the most there can be."""
        return {name: (budget.remaining, budget.amount) for name, budget in self._budgets.items()}

    def waiting(self) -> dict[str, int]:
        """By name of the budget: how many requests wait for it, or for one before them to be answered."""
        return {
            name: budget.waiting + sum(self._slots[name, urgent].statistics().tasks_waiting for urgent in (False, True))
            for name, budget in self._budgets.items()
        }

    def room(self, url: str, budget: str | None, weight: int) -> float:
        """The part of a budget that will be left when all who wait for it have spent so much; 1: it was never used."""
        name = _host(url) if budget is None else budget
        allowance = self._budgets.get(name)
        if allowance is None:
            return 1.0
        if allowance.paused:
            return 0.0
        waiting = allowance.waiting + self._slots[name, False].statistics().tasks_waiting
        return (allowance.remaining - waiting * weight) / allowance.amount

    def share(self, nodes: int) -> None:
        """Divide every budget among so many nodes behind this address."""
        self._share = nodes
        for budget in self._budgets.values():
            budget.share(nodes)

    async def get(
        self,
        url: str,
        *,
        weight: int,
        weight_per_minute: int,
        budget: str | None = None,
        urgent: bool = False,
        choose: Callable[[], tuple[str, int]] | None = None,
        granted: Callable[[], None] = lambda: None,
    ) -> bytes:
        """The body of a 200 answer. `url`: with a space and JSON behind it, that is sent along and the method is POST.

        Waits for the budget first (no deadline: the budget is an order); `granted` is told when that is over. Then the
        whole request has `seconds`. `budget` names one that several hosts share; None: the host has its own. `choose`
        may name another address of the host and its weight, when it is this request's turn.
        Raises RestUnavailableError, RateLimitedError or RestRefusedError.
        """
        name = _host(url) if budget is None else budget
        allowance = self._budgets.get(name)
        if allowance is None:
            allowance = self._budgets[name] = Allowance(weight_per_minute, 60.0, self._share, _URGENT_PART)
            self._slots[name, False] = trio.CapacityLimiter(self._per_host)
            self._slots[name, True] = trio.CapacityLimiter(_URGENT_AT_ONCE)
        async with self._slots[name, urgent]:
            if urgent and allowance.paused:
                raise _left_alone(url, name, allowance.paused)
            asked = url, weight

            def chosen() -> int:
                nonlocal asked
                if choose is not None:
                    asked = choose()
                return asked[1]

            await allowance.take(chosen, urgent=urgent)
            url = asked[0]
            granted()
            self.stats.requests += 1
            try:
                with trio.fail_after(self._seconds):
                    return await self._exchange(url, allowance)
            except trio.TooSlowError:
                self.stats.answers[0] += 1
                raise RestUnavailableError(f"{_asked(url)}: no whole answer within {self._seconds:g} s") from None
            except httpx.HTTPError as error:
                self.stats.answers[0] += 1
                raise RestUnavailableError(f"{_asked(url)}: {type(error).__name__}: {error}") from None

    async def _exchange(self, url: str, budget: Allowance) -> bytes:
        if self._client is None:
            raise RuntimeError("Rest is used outside its context")
        address, _, question = url.partition(" ")
        ask = (
            self._client.stream("POST", address, content=question, headers={"content-type": "application/json"})
            if question
            else self._client.stream("GET", address)
        )
        async with ask as response:
            status = response.status_code
            self.stats.answers[status] += 1
            used = response.headers.get(_USED_WEIGHT, "")
            if used.isdigit():
                budget.learn_used(int(used))
            if status != 200:
                raise await self._failure(url, response, budget)
            body = await _read(response, self._body_bytes + 1)
            if len(body) > self._body_bytes:
                raise RestRefusedError(f"{_asked(url)}: expected at most {self._body_bytes} bytes, got more; given up")
            self.stats.bytes += len(body)
            return body

    async def _failure(self, url: str, response: httpx.Response, budget: Allowance) -> Level4Error:
        status = response.status_code
        said = (await _read(response, 2**16))[:200].decode("utf-8", "replace")
        asked = retry_after(response.headers.get("retry-after"))
        if status in _DEFAULT_PAUSE:
            wait = asked if asked is not None else _DEFAULT_PAUSE[status]
            budget.pause(wait)
            limited = RateLimitedError(
                f"{_asked(url)}: HTTP {status}, too many requests or banned; "
                f"{_host(url)} is left alone for {wait:.0f} s: {said}"
            )
            limited.status, limited.retry_after = status, wait
            return limited
        if status >= 500 or status in (408, 425):
            away = RestUnavailableError(f"{_asked(url)}: HTTP {status}: {said}")
            away.status, away.retry_after = status, asked
            return away
        if status == 451:
            wrong = "HTTP 451, the exchange does not serve this country or network"
        else:
            wrong = f"expected HTTP 200, got {status}"
        refused = RestRefusedError(f"{_asked(url)}: {wrong}: {said}")
        refused.status = status
        return refused


def _asked(url: str) -> str:
    return f"{'POST' if ' ' in url else 'GET'} {url}"


def _left_alone(url: str, name: str, seconds: float) -> RateLimitedError:
    error = RateLimitedError(f"{_asked(url)}: not asked, {name} wants to be left alone for {seconds:.0f} s more")
    error.retry_after = seconds
    return error


async def _read(response: httpx.Response, at_most: int) -> bytes:
    """The beginning of a body, as little trusted as any body; what is beyond is left to the closing of the response."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) >= at_most:
            break
    return bytes(body[:at_most])


def _host(url: str) -> str:
    """Who keeps the budget. Behind the simulator the exchange's host is the first part of the path."""
    parts = urlsplit(url)
    first = parts.path.split("/", 2)[1] if parts.path.count("/") > 1 else ""
    return f"{parts.netloc}/{first}" if "." in first else parts.netloc
