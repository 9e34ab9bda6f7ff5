"""A publisher that keeps events in memory: for tests, replay and tools."""

from __future__ import annotations

from collections.abc import Callable

from level4.model import Event, Numbering


class MemoryPublisher:
    """Numbers events as the Kafka hand-off would and appends them to `events`.

    `clock` gives microseconds since 1970 for `published_us`; without one it is the event's receive time (0 for status).
    """

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self.events: list[Event] = []
        self._clock = clock
        self._numbering = Numbering()

    def put(self, event: Event) -> None:
        published_us = getattr(event, "received_us", 0) if self._clock is None else self._clock()
        self._numbering.number(event, published_us)
        self.events.append(event)
