"""What the event stream itself tells of the feeds: a publisher that counts what it passes on.

Counted here, at the source: events by topic, how old the newest one is and how old it usually gets, and how far the
exchange's clock is behind ours. So the numbers on a dashboard and the records in Kafka cannot disagree, and no room
needs a clock for statistics.

It is on the way of every event: one dictionary look-up and a few additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from level4.model import Event, FeedState, Publisher, Spread, Status, Trade
from level4.ops.histogram import Histogram

EXCHANGE_LATENCY_BOUNDS: Final = (
    -1.0, -0.1, 0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
"""Seconds. Below zero the exchange's clock is ahead of ours, or ours is behind."""
_WEIGHT: Final = 0.02
"""Of the newest interval in the usual one: about the last fifty count."""


@dataclass(slots=True)
class MarketTally:
    """Counts of one market since it was started here."""

    spreads: int = 0
    trades: int = 0
    statuses: int = 0
    newest_us: int | None = None
    """Receive time of the newest price change or trade, microseconds since 1970."""
    usual_us: float = 0.0
    """Usual time between two of those; 0 until two have come."""


class Tally:
    """Passes events on to `publisher` and counts them. Implements `Publisher`."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.markets: dict[int, MarketTally] = {}
        """By market id; a market that was stopped is gone."""
        self.exchange_latency: dict[tuple[str, str], Histogram] = {}
        """Receive time minus exchange time in seconds, by exchange and market type."""

    def put(self, event: Event) -> None:
        self._publisher.put(event)
        market_id = event.market_id
        if market_id is None:
            return
        row = self.markets.get(market_id)
        if row is None:
            row = self.markets[market_id] = MarketTally()
        if isinstance(event, Status):
            row.statuses += 1
            if event.event == "feed_stopped":
                del self.markets[market_id]
        elif isinstance(event, Trade):
            row.trades += 1
            self._time(row, event)
        else:
            row.spreads += 1
            if event.changed != "none" and event.state is FeedState.LIVE:
                self._time(row, event)

    def _time(self, row: MarketTally, event: Spread | Trade) -> None:
        received_us = event.received_us
        if row.newest_us is not None and received_us > row.newest_us:
            interval = received_us - row.newest_us
            row.usual_us = interval if not row.usual_us else row.usual_us + _WEIGHT * (interval - row.usual_us)
        row.newest_us = received_us
        if event.exchange_us is not None:
            key = event.exchange, event.type or ""
            latency = self.exchange_latency.get(key)
            if latency is None:
                latency = self.exchange_latency[key] = Histogram(EXCHANGE_LATENCY_BOUNDS)
            latency.observe((received_us - event.exchange_us) / 1e6)
