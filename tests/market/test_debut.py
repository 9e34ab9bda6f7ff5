"""A market that was made ready in silence goes on where another host ended."""

from __future__ import annotations

import pytest
from stage import Stage

from level4.cluster.curtain import Curtain
from level4.market.debut import debut
from level4.model import Position, Trade

SPREAD_END, TRADES_END = Position(6_000_002, 40), Position(6_000_001, 7)


class Silent(Stage):
    """Whose events go behind a curtain until `debut`."""

    def __init__(self, *, contiguous: bool) -> None:
        super().__init__(contiguous=contiguous)
        self.curtain = Curtain(self)
        self.market._publisher = self.curtain
        self.curtain.close(17)
        self.begin()
        self.snapshot("10x1", "11x1")

    def trade(self, trade_id: str) -> None:
        self.market.trade("buy", "10", "1", trade_id)
        self.settle()

    def debut(self, trade_id: str | None) -> None:
        debut(self.market, SPREAD_END, TRADES_END, trade_id, self.curtain.open(17), self.now_ns, self.now)

    def told_trades(self) -> list[str | None]:
        return [event.trade_id for event in self.trades()]


def test_the_book_goes_on_from_the_end_of_the_old_host() -> None:
    it = Silent(contiguous=False)
    it.delta("10x2")
    assert not it.events
    it.debut(None)
    (first,) = it.spreads()
    assert first.follows == SPREAD_END
    assert (first.seq, first.changed, first.bid_size) == (1, "state", "2")
    it.delta("10x3")
    assert [event.seq for event in it.spreads()] == [1, 2]
    it.market.check()


@pytest.mark.parametrize("contiguous", [True, False])
def test_trades_after_the_last_one_are_told_once_and_follow_it(contiguous: bool) -> None:
    it = Silent(contiguous=contiguous)
    for number in (4, 5, 6, 7):
        it.trade(str(number))
    it.debut("5")
    it.trade("8")
    assert it.told_trades() == ["6", "7", "8"]
    first: Trade = it.trades()[0]
    assert first.follows == TRADES_END
    assert [event.seq for event in it.trades()] == [1, 2, 3]
    assert {event.epoch for event in it.trades()} == {first.epoch}


@pytest.mark.parametrize("contiguous", [True, False])
def test_when_the_last_one_was_heard_the_next_one_follows(contiguous: bool) -> None:
    it = Silent(contiguous=contiguous)
    it.trade("5")
    it.debut("5")
    it.trade("6")
    (first,) = it.trades()
    assert first.follows == TRADES_END


def test_an_old_host_that_was_ahead_is_not_repeated() -> None:
    it = Silent(contiguous=True)
    it.trade("4")
    it.debut("6")
    for number in (5, 6, 7):
        it.trade(str(number))
    (only,) = it.trades()
    assert (only.trade_id, only.follows) == ("7", TRADES_END)


def test_what_cannot_be_proven_is_not_claimed() -> None:
    it = Silent(contiguous=False)
    it.trade("x1")
    it.debut("unheard")
    it.trade("x2")
    (first,) = it.trades()
    assert (first.trade_id, first.follows, first.seq) == ("x2", None, 1)
