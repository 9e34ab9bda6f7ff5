"""How fast we may ask: token buckets for what exchanges count, full-jitter backoff for what fails.

An exchange counts connection attempts, messages and REST weight over a window and bans whoever exceeds it, so these
budgets are kept before asking, not after being refused. A bucket serves its waiters in order; an exchange that tells
what it has counted (Binance) or orders a pause (`Retry-After`) corrects the bucket, for all who wait on it. Times are
trio's monotonic seconds.
"""

from __future__ import annotations

import datetime
import email.utils
from random import Random

import trio

_ROUNDING = 1e-6
"""Part of a token that may be missing: what floating point loses must not become one more wait."""


_LONGEST_PAUSE = 3600.0


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


class TokenBucket:
    """`capacity` tokens at first, refilled at `per_second`.

    `share` is the number of nodes that share the exchange's allowance (they are behind one address): each takes its
    part of both capacity and rate. A request for more than the capacity waits for a full bucket and then empties it.
    """

    def __init__(self, capacity: float, per_second: float, share: int = 1) -> None:
        if capacity <= 0 or per_second <= 0:
            raise ValueError(f"a bucket needs a positive capacity and rate, got {capacity} and {per_second}")
        self._whole_capacity = capacity
        self._whole_rate = per_second
        self._order = trio.StrictFIFOLock()
        self._tokens = capacity
        self._filled: float | None = None
        self._closed_until = 0.0
        self.share(share)

    def share(self, nodes: int) -> None:
        """Divide the allowance among so many nodes, from now on."""
        self.capacity = max(1.0, self._whole_capacity / max(1, nodes))
        self._rate = self._whole_rate / max(1, nodes)
        self._tokens = min(self._tokens, self.capacity)

    def _fill(self) -> None:
        now = trio.current_time()
        if self._filled is not None:
            self._tokens = min(self.capacity, self._tokens + (now - self._filled) * self._rate)
        self._filled = now

    @property
    def remaining(self) -> float:
        """Tokens that are there now. Needs a running trio loop."""
        self._fill()
        return self._tokens

    async def take(self, tokens: float = 1.0) -> None:
        """Wait until so many tokens are there, and take them. First come, first served."""
        async with self._order:
            while True:
                self._fill()
                wanted = min(tokens, self.capacity)
                missing = wanted - self._tokens
                closed = self._closed_until - trio.current_time()
                if missing <= _ROUNDING and closed <= 0:
                    self._tokens -= wanted
                    return
                await trio.sleep(max(missing / self._rate, closed))

    def pause(self, seconds: float) -> None:
        """Give out nothing for so long: the exchange has asked for it."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)

    def learn_used(self, used: float) -> None:
        """The exchange says how much of the window's allowance is gone (others behind our address count too)."""
        self._fill()
        self._tokens = min(self._tokens, self._whole_capacity - used)


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
