"""A publisher with a curtain for each market: behind a closed one a feed plays without being heard.

So a market can be made ready on its next host while the present one still publishes it. What is dropped here was never
part of any stream; the last trades are remembered, because those after the old host's last one are the new host's to
tell.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from level4.model import Event, Publisher, Trade

MOST_TRADES: Final = 1_000
"""Of one market. The old host published until a moment ago, so the newest are enough."""


class Curtain:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._closed: dict[int, deque[Trade]] = {}

    def put(self, event: Event) -> None:
        if self._closed and event.market_id is not None:
            heard = self._closed.get(event.market_id)
            if heard is not None:
                if type(event) is Trade:
                    heard.append(event)
                return
        self._publisher.put(event)

    def close(self, market_id: int) -> None:
        self._closed[market_id] = deque(maxlen=MOST_TRADES)

    def heard(self, market_id: int, trade_id: str) -> bool:
        """Whether that trade came while the curtain was closed."""
        return any(told.trade_id == trade_id for told in reversed(self._closed.get(market_id, ())))

    def open(self, market_id: int) -> list[Trade]:
        """Let the market be heard from now on; returns the last trades that were not."""
        return list(self._closed.pop(market_id, ()))
