"""How the return of an address is noticed within seconds, though nobody asks all the time.

Connections wait longer and longer between attempts, a minute at most and each a random part of it: then an exchange
that comes back is not run over, but the last of them notices half a minute late. So one of those that wait for an
address is its scout. It asks every 2 to 4 s, and no closer than two thirds of the exchange's allowance of attempts
permit; whoever is let in first wakes the others, spread over a second. Attempts that reached nobody (the name is not
resolved, the port is closed) count nowhere and are given back.

Nobody scouts, or is woken, where asking makes it worse: after a refusal (HTTP 4xx: banned, too many, not served here),
when the exchange orders a pause (`Retry-After`), or when sockets open and end at once.

A handshake that is not answered is given up after 3 s while the address is away, so that the next attempt is not late;
each eighth has the whole patience, for an exchange that is slow on its way back.
"""

from __future__ import annotations

from random import Random
from typing import Final

import trio

from level4.feeds.pacing import Allowance

SCOUT_SECONDS: Final = 4.0
"""From one attempt of the scout to the next, at most, where the allowance permits."""
HASTE_SECONDS: Final = 3.0
_PATIENT_EVERY: Final = 8
_SPREAD_SECONDS: Final = 1.0
_ALLOWED_PART: Final = 1.5
"""Of the allowance two thirds, what is left is for others."""
_LEAST_PAUSE: Final = 0.5


class Scouting:
    """Those who wait for one address. `connects`: the exchange's allowance of attempts."""

    def __init__(self, connects: Allowance, random: Random) -> None:
        self.connects = connects
        self._random = random
        self._scouted = False
        self._returned = trio.Event()

    async def wait(self, seconds: float, since: float, *, reached: bool) -> None:
        """Wait after an attempt that an outage made fail, `seconds` at most. `since`: when the attempt began;
        `reached`: whether anybody was there who may count attempts."""
        returned = self._returned
        scouting, self._scouted = not self._scouted, True
        if scouting:
            apart = self._random.uniform(SCOUT_SECONDS / 2, SCOUT_SECONDS)
            if reached:
                apart = max(apart, _ALLOWED_PART * self.connects.spacing)
            seconds = min(seconds, max(_LEAST_PAUSE, since + apart - trio.current_time()))
        try:
            with trio.move_on_after(seconds):
                await returned.wait()
                await trio.sleep(self._random.uniform(0.0, _SPREAD_SECONDS))
        finally:
            if scouting:
                self._scouted = False

    def returned(self) -> None:
        """The address has let somebody in."""
        self._returned.set()
        self._returned = trio.Event()


def patience(failures: int) -> float:
    """Seconds for the next attempt after so many in a row that were not answered; infinity: as long as it takes."""
    return HASTE_SECONDS if failures % _PATIENT_EVERY else float("inf")
