"""The difference between the markets of a file and those that are active, and how it is removed.

The id is the identity: the same id with another market is a change, made by stopping the one and starting the other.
Stops come first, because they make the room that starts may need. Each change stands by itself: one that fails is
reported and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from level4.cli.calls import described, market_of, request_of
from level4.model import Level4Error, MarketRequest
from level4.proto.level4_pb2 import Market
from level4.rpc.client import ControlClient


@dataclass(slots=True)
class Difference:
    start: list[MarketRequest] = field(default_factory=list)
    stop: list[Market] = field(default_factory=list)
    change: list[tuple[Market, MarketRequest]] = field(default_factory=list)
    """Active under an id, and wanted under it."""
    same: list[Market] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.start or self.stop or self.change)

    def lines(self) -> Iterator[str]:
        for market in self.stop:
            yield f"- {described(market)}"
        for market, request in self.change:
            yield f"~ {described(market)} -> {request}"
        for request in self.start:
            yield f"+ {request}"

    def as_json(self) -> dict[str, object]:
        return {
            "start": [str(request) for request in self.start],
            "stop": [market.id for market in self.stop],
            "change": [str(request) for _, request in self.change],
            "same": [market.id for market in self.same],
        }


def compare(wanted: Sequence[MarketRequest], active: Sequence[Market], keep_others: bool) -> Difference:
    """What must be done. `keep_others`: leave markets alone that are not wanted."""
    difference = Difference()
    there = {market.id: market for market in active}
    for request in wanted:
        market = there.pop(request.id, None)
        if market is None:
            difference.start.append(request)
        elif request_of(market) == request:
            difference.same.append(market)
        else:
            difference.change.append((market, request))
    if not keep_others:
        difference.stop += there.values()
    return difference


async def carry_out(
    control: ControlClient, difference: Difference, tell: Callable[[str], object] | None
) -> dict[int, Level4Error]:
    """Do it; returns what could not be done, by market id. `tell` hears of each step."""
    failures: dict[int, Level4Error] = {}

    def done(market_id: int, what: str, error: Level4Error | None = None) -> None:
        if error is not None:
            failures[market_id] = error
        if tell is not None:
            tell(what if error is None else f"{what}: {error}")

    for market in [*difference.stop, *(market for market, _ in difference.change)]:
        try:
            await control.stop_market(Market(id=market.id))
        except Level4Error as error:
            done(market.id, f"not stopped {described(market)}", error)
        else:
            done(market.id, f"stopped {described(market)}")
    for request in [*(request for _, request in difference.change), *difference.start]:
        if request.id in failures:
            continue
        try:
            started = (await control.start_market(market_of(request))).market
        except Level4Error as error:
            done(request.id, f"not started {request}", error)
        else:
            done(request.id, f"started {described(started)} on {started.node or 'no node yet'}")
    return failures
