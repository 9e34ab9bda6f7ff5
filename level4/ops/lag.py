"""How late the event loop is: a timer that notes by how much it was woken too late.

Everything a node does for its markets happens on one event loop. What blocks it (a slow handler, a starved machine)
shows here first, as delay of every frame and every timer.
"""

from __future__ import annotations

from typing import Final

import trio

from level4.ops.histogram import Histogram

INTERVAL: Final = 0.1
"""Seconds between two looks."""
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class LoopLag:
    """`run` measures until it is cancelled."""

    def __init__(self) -> None:
        self.seconds = Histogram(BOUNDS)
        self.last = 0.0
        """The newest measurement, in seconds."""

    async def run(self) -> None:
        while True:
            due = trio.current_time() + INTERVAL
            await trio.sleep_until(due)
            self.last = trio.current_time() - due
            self.seconds.observe(self.last)
