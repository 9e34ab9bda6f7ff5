"""Made ready in silence: nothing is heard before its time, and the trades that the old host did not tell are told."""

from __future__ import annotations

from level4.cluster.curtain import MOST_TRADES, Curtain
from level4.model import Event, FeedState, MarketType, Spread, Status, Trade


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)


def trade(market_id: int, number: int) -> Trade:
    kind = MarketType.SPOT
    return Trade(market_id, "KRAKEN", kind, "BTC/USD", "buy", "1", "1", str(number), 1_000_001, number, None, 1, 0, "a")


def spread(market_id: int) -> Spread:
    return Spread(
        market_id, "KRAKEN", MarketType.SPOT, "BTC/USD", FeedState.LIVE, "both",
        "1", "1", "2", "1", None, 1_000_001, 0, None, 1, 0, "a",
    )  # fmt: skip


def test_only_a_closed_market_is_silent_and_its_newest_trades_are_remembered() -> None:
    kept = Kept()
    curtain = Curtain(kept)
    curtain.close(1)
    for event in (spread(1), trade(1, 1), spread(2), trade(2, 1)):
        curtain.put(event)
    node = Status(None, "node_joined", None, None, "b", 1_000_001, 0, "a", 0)
    curtain.put(node)
    assert kept.events == [spread(2), trade(2, 1), node]
    assert curtain.heard(1, "1")
    assert not curtain.heard(1, "2")
    assert not curtain.heard(2, "1")
    for number in range(2, MOST_TRADES + 5):
        curtain.put(trade(1, number))
    heard = curtain.open(1)
    assert [one.seq for one in heard] == list(range(5, MOST_TRADES + 5))
    curtain.put(trade(1, 9_999))
    assert kept.events[-1] == trade(1, 9_999)
    assert curtain.open(1) == []
