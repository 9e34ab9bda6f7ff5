"""Sequence numbers that are known only when an event leaves: spread and status.

A spread's `seq` is given after coalescing, so that it has no holes; a status event is numbered at the same moment, so
that `alive` can carry the last positions of both data streams in the order in which consumers see them. Trades bring
their own `seq` (given when decoded: a hole is the exact loss). Replay, `watch` and the Kafka hand-off all number with
this class.

Invariant: within an epoch of a stream, `seq` is 1, 2, 3 …; the first record of a spread epoch is a state record.
"""

from __future__ import annotations

from msgspec import UNSET

from level4.model.decimals import mid
from level4.model.events import Event, Position, Spread, Status, Trade

_NOWHERE = Position(0, 0)


class Numbering:
    """Give `seq`, `mid_price` and `published_us` to events in the order in which they leave."""

    def __init__(self) -> None:
        self._spread: dict[int, Position] = {}
        self._trades: dict[int, Position] = {}
        self._trade_ids: dict[int, str | None] = {}
        self._status: dict[int | None, Position] = {}

    def number(self, event: Event, published_us: int) -> None:
        event.published_us = published_us
        if type(event) is Spread:
            last = self._spread.get(event.market_id)
            if last is None or last.epoch != event.epoch:
                event.seq = 1
                event.changed = "state"
                if event.follows is UNSET:
                    event.follows = None
            else:
                event.seq = last.seq + 1
            if event.bid_price is not None and event.ask_price is not None:
                event.mid_price = mid(event.bid_price, event.ask_price)
            self._spread[event.market_id] = Position(event.epoch, event.seq)
        elif type(event) is Trade:
            self._trades[event.market_id] = Position(event.epoch, event.seq)
            self._trade_ids[event.market_id] = event.trade_id
        elif type(event) is Status:
            last = self._status.get(event.market_id, _NOWHERE)
            event.seq = last.seq + 1 if last.epoch == event.epoch else 1
            self._status[event.market_id] = Position(event.epoch, event.seq)
            if event.event == "alive" and event.market_id is not None:
                event.spread = self._spread.get(event.market_id)
                event.timesales = self._trades.get(event.market_id)

    def ends(self, market_id: int) -> tuple[Position | None, Position | None, str | None]:
        """The last positions of a market's spread and trades, and the id of its last trade."""
        return self._spread.get(market_id), self._trades.get(market_id), self._trade_ids.get(market_id)
