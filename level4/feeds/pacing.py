"""How fast we may ask: allowances for what exchanges count, full-jitter backoff for what fails.

An exchange counts connection attempts, messages and REST weight over a window and bans whoever exceeds it, so these
allowances are kept before asking, not after being refused. An allowance is a sliding window: in *any* stretch of its
length no more than its amount is spent. That is never more than an exchange with fixed windows counts (Binance), and it
spends what is allowed at once when many markets begin, where a bucket that refills evenly would have to keep half of
it back for the same promise. Waiters are served in order; an exchange that tells what it has counted (Binance) or
orders a pause (`Retry-After`) corrects the allowance, for all who wait on it. Times are trio's monotonic seconds.
"""

from __future__ import annotations

import datetime
import email.utils
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

import trio

_SLACK: Final = 1.02
"""A window is taken so much longer: what was sent late in one and early in the next may arrive closer together."""
_ROUNDING: Final = 1e-6
"""Seconds and tokens that floating point may lose: they must not become one more wait."""
_LONGEST_PAUSE: Final = 3600.0


def retry_after(value: str | None) -> float | None:
    """Seconds, from the header's two forms (RFC 9110 section 10.2.3); None when absent or not understood."""
    if value is None:
        return None
    if value.strip().isdigit():
        return min(float(value), _LONGEST_PAUSE)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        seconds = (moment - datetime.datetime.now(datetime.UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


class Allowance:
    """At most `amount` in any `seconds`.

    `share` is the number of nodes that share it (they are behind one address): each takes its part. `kept` is the part
    that only urgent requests may use, so that they need not wait behind the others. A request for more than the whole
    waits for an empty window and takes it all.
    """

    def __init__(self, amount: float, seconds: float, share: int = 1, kept: float = 0.0) -> None:
        if amount <= 0 or seconds <= 0:
            raise ValueError(f"an allowance needs a positive amount and window, got {amount} and {seconds}")
        self._whole = amount
        self._seconds = seconds * _SLACK
        self._kept = kept
        self._orders = {urgent: trio.StrictFIFOLock() for urgent in (False, True)}
        self._spent: deque[tuple[float, float]] = deque()
        """(when, how much), oldest first; no older than the window."""
        self._sum = 0.0
        self._closed_until = 0.0
        self.waiting = 0
        """How many requests wait."""
        self.share(share)

    def share(self, nodes: int) -> None:
        """Divide it among so many nodes, from now on."""
        self.amount = max(1.0, self._whole / max(1, nodes))

    @property
    def spacing(self) -> float:
        """Seconds between requests that would use it up evenly."""
        return self._seconds / self.amount

    @property
    def remaining(self) -> float:
        """What may be spent now. Needs a running trio loop."""
        self._forget(trio.current_time())
        return max(0.0, self.amount - self._sum)

    @property
    def paused(self) -> float:
        """For how many seconds more the exchange wants to be left alone."""
        return max(0.0, self._closed_until - trio.current_time())

    async def take(self, tokens: float | Callable[[], float] = 1.0, *, urgent: bool = False) -> None:
        """Wait until so much may be spent, and spend it. First come, first served, apart from what is urgent. A
        function is asked how much when it is its turn."""
        self.waiting += 1
        try:
            async with self._orders[urgent]:
                if callable(tokens):
                    tokens = tokens()
                while (pause := self._pause(tokens, urgent)) > 0:  # noqa: ASYNC110 - it is told how long
                    await trio.sleep(pause)
                self._spend(min(tokens, self.amount))
        finally:
            self.waiting -= 1

    def give_back(self) -> None:
        """What was spent last has reached nobody who could count it."""
        if self._spent:
            self._sum -= self._spent.pop()[1]

    def pause(self, seconds: float) -> None:
        """Give out nothing for so long: the exchange has asked for it."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)

    def learn_used(self, used: float) -> None:
        """The exchange says how much of the window is gone (others behind our address count too)."""
        unknown = self.remaining - max(0.0, self._whole - used)
        if unknown > 0:
            self._spend(unknown)

    def _pause(self, tokens: float, urgent: bool) -> float:
        """Seconds until so much may be spent, if nobody else spends; 0: now."""
        now = trio.current_time()
        self._forget(now)
        most = self.amount if urgent else max(1.0, self.amount * (1 - self._kept))
        excess = self._sum + min(tokens, most) - most
        if excess > _ROUNDING:
            for when, amount in self._spent:
                excess -= amount
                if excess <= _ROUNDING:
                    return max(when + self._seconds - now, self.paused, _ROUNDING)
        return self.paused

    def _spend(self, amount: float) -> None:
        self._spent.append((trio.current_time(), amount))
        self._sum += amount

    def _forget(self, now: float) -> None:
        spent = self._spent
        while spent and spent[0][0] + self._seconds <= now + _ROUNDING:
            self._sum -= spent.popleft()[1]
        if not spent:
            self._sum = 0.0


class Backoff:
    """Delays that double up to `cap`, each a random part of that (full jitter); `healthy` seconds start them again.

    Full jitter spreads the clients of an exchange that came back; randomness is passed in. With `free` the first
    attempts of a series are not delayed: a repair after long health should be prompt, only repeated ones must not be.
    """

    def __init__(
        self, random: Random, base: float = 1.0, cap: float = 60.0, healthy: float = 60.0, free: int = 0
    ) -> None:
        self._random = random
        self._base = base
        self._cap = cap
        self._healthy = healthy
        self._free = free
        self.failures = 0

    def next(self, healthy_for: float = 0.0) -> float:
        """Seconds to wait after a failure that ended `healthy_for` seconds of health."""
        if healthy_for >= self._healthy:
            self.failures = 0
        exponent = self.failures - self._free
        self.failures += 1
        if exponent < 0:
            return 0.0
        return self._random.uniform(0.0, min(self._cap, self._base * 2.0 ** min(exponent, 30)))
