"""A market that was made ready in silence begins to publish, where another host has just ended.

Its book goes out at once as the first record of a new epoch that follows the old host's last one: the book was whole
before that one ended, so no state was missed. Trades after the old host's last one were heard in silence and are told
now; the stream follows only if that can be proven: by numbers without a hole, or by having heard the very last one.
"""

from __future__ import annotations

from collections.abc import Sequence

from level4.market.market import Market
from level4.model import FeedState, Position, Trade


def debut(
    market: Market,
    spread: Position | None,
    timesales: Position | None,
    trade_id: str | None,
    heard: Sequence[Trade],
    now_ns: int,
    now: float,
) -> None:
    """`spread`, `timesales`, `trade_id`: where the old host ended. `heard`: trades of the silent time, in order."""
    market._announce("moved", None)
    stream, trades = market._spread, market._trades
    stream.next_epoch()
    if market.state is FeedState.LIVE:
        market._publish_book(market._book.seen(), "state", now_ns, now)
    else:
        market._publisher.put(stream.mark(market.state, now_ns // 1000))
    if market.state is FeedState.LIVE and stream.last is not None:
        stream.last.follows = spread  # it is numbered and written only after this frame of control
    rest, proven = _after(heard, trade_id)
    trades.resume(timesales, trade_id, proven=proven)
    for told in rest:
        record, _ = trades.trade(told.side, told.price, told.size, told.trade_id, told.exchange_us, told.received_us)
        market._publisher.put(record)


def _after(heard: Sequence[Trade], trade_id: str | None) -> tuple[list[Trade], bool]:
    """The trades after that one, and whether nothing is missing before the first of them."""
    if trade_id is None:
        return [], False
    for place in range(len(heard) - 1, -1, -1):
        if heard[place].trade_id == trade_id:
            return list(heard[place + 1 :]), True
    if not trade_id.isdecimal():
        return [], False
    last = int(trade_id)
    return [told for told in heard if told.trade_id and told.trade_id.isdecimal() and int(told.trade_id) > last], False
