"""The records that a node writes about markets: claims, stops, records written again. Data only; the log judges them.

A **term** is a host's tenure of a market, and the high part of its streams' epochs: the highest term known + 1, or the
Unix seconds of the claim where those are more. So terms rise for ever, also when a log was lost with its broker, and
also when a node dies and claims again within one second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from level4.model import Instrument, MarketRequest
from level4.placement.fold import Entry, Ownership
from level4.placement.records import Desired, Mark, MarketRecord, Released


@dataclass(frozen=True, slots=True)
class Writer:
    """Who claims: a process."""

    node: str
    generation: int

    def holds(self, entry: Entry | None) -> bool:
        """Whether a market's valid record says that this process is to publish it."""
        return entry is not None and entry.record.held_by(self.node, self.generation)


def next_term(highest_known: int, unix_seconds: int) -> int:
    return max(highest_known + 1, unix_seconds)


def claim(
    known: Ownership,
    by: Mark,
    market: MarketRequest,
    unix_seconds: int,
    *,
    instrument: Instrument | None = None,
    released: Released | None = None,
    term: int | None = None,
) -> MarketRecord:
    """The record by which the writer takes a market, from whoever has it or from nobody. `term`: one chosen before; the
    claim is void if others have gone beyond it."""
    present = known.market(market.id)
    return MarketRecord(
        market=market,
        instrument=instrument or (present.record.instrument if present and present.record.market == market else None),
        desired=Desired.RUNNING,
        host=by.node,
        generation=by.generation,
        term=term or next_term(known.highest_term(market.id), unix_seconds),
        released=released,
        by=by,
        supersedes=present.offset if present else None,
        seen=known.newest(market.id),
    )


def stop(known: Ownership, by: Mark, present: Entry, reason: str) -> MarketRecord:
    """The record by which a market is no longer to run. Anybody may write it; the host reads it and stops."""
    return _after(known, by, present, desired=Desired.STOPPED, reason=reason)


def unplace(known: Ownership, by: Mark, present: Entry, reason: str) -> MarketRecord:
    """The record of a market that is to run and has no host: who had it is gone, and nobody has room."""
    return _after(known, by, present, host=None, generation=0, reason=reason)


def again(known: Ownership, by: Mark, present: Entry) -> MarketRecord:
    """The valid record once more, after a void one: the newest record of a key is the one that compaction keeps."""
    return _after(known, by, present)


def resume(known: Ownership, by: Mark, held: MarketRecord) -> MarketRecord:
    """The record of a market that the writer holds, for a log that lost it. The tenure goes on: same term."""
    present = known.market(held.market.id)
    supersedes = present.offset if present else None
    return replace(held, by=by, supersedes=supersedes, seen=known.newest(held.market.id))


def _after(known: Ownership, by: Mark, present: Entry, **changes: object) -> MarketRecord:
    market_id = present.record.market.id
    return replace(present.record, by=by, supersedes=present.offset, seen=known.newest(market_id), **changes)


def to_take_back(known: Ownership, writer: Writer) -> Mapping[int, Entry]:
    """Markets that are to run and were held by an earlier process of this name."""
    return {
        market_id: entry
        for market_id, entry in known.markets().items()
        if entry.record.desired is Desired.RUNNING
        and entry.record.host == writer.node
        and entry.record.generation != writer.generation
    }
