"""The fold of the ownership log: who holds what, computed alike by everybody who reads the log.

**The rule.** A record of a market is *valid* when it names, in `supersedes`, the offset of the market's present valid
record (None where there is none) and does not go back in terms; else it is *void* and changes nothing. So of all who
claim at once the first in log order wins, and every reader sees the same winner. A tombstone has no value to name
anything in; it does so in a header.

**Compaction** keeps the newest record of a key, be it valid or void. Therefore whoever holds a market appends its
record again after a void one (`overwritten`), long before the compactor may come (`min.compaction.lag.ms`); and every
record says in `seen` how far its writer had read. A reader that comes after a compaction cannot judge the first record
of a key that it sees. It believes it, keeps what follows, and waits for a witness: a record whose writer had read that
first one says, by what it names, what was valid then. The same holds for every key after a hole in the offsets: a
reader that slept longer than the compactor waits.

A smaller offset than the last means that the log itself is another one (a broker that lost its data): everything is
forgotten but the highest terms, which must never be used twice.

Pure: `apply` takes records in log order; `check` states the invariants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from level4.placement.records import Barrier, Mark, MarketRecord, NodeRecord, Record, decode, parse_key

_MOST_KEPT: Final = 64
"""Records kept while the first one of a key may yet turn out to be void. Evidence comes with the next few, or never."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A valid record and where it stands."""

    offset: int
    record: MarketRecord


@dataclass(frozen=True, slots=True)
class Valid:
    """A market's present record is another one. `entry` None: the market was removed."""

    market_id: int
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Void:
    """A record that changes nothing. `record` None: not readable, or a tombstone."""

    market_id: int
    record: MarketRecord | None
    why: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A node wrote its record; None: it left in order."""

    node: str
    record: NodeRecord | None


@dataclass(frozen=True, slots=True)
class Passed:
    """A barrier."""

    by: Mark


@dataclass(frozen=True, slots=True)
class Replaced:
    """The log is another one than before; what was known of it is void."""


Outcome = Valid | Void | Heard | Passed | Replaced


@dataclass(frozen=True, slots=True)
class _Written:
    """A record of a market as it stands in the log. `record` None: a tombstone."""

    offset: int
    record: MarketRecord | None
    supersedes: int | None
    seen: int


@dataclass(slots=True)
class _Key:
    """What is known of one market."""

    offset: int | None = None
    """Of the present valid record."""
    record: MarketRecord | None = None
    seen: int = -1
    """What the writer of the present record had read."""
    newest: int = -1
    """Offset of the newest record, valid or void."""
    void: int = -1
    """Offset of the newest void record."""
    before: tuple[int | None, MarketRecord | None] = (None, None)
    """What was known when a record had to be believed unjudged."""
    unsettled: list[_Written] = field(default_factory=list)
    """The record that was believed unjudged and all after it, until a writer that had read it has testified."""
    unjudged: bool = True
    """The next record cannot be judged: something before it may be missing."""


class Ownership:
    """The state of the log up to `last_offset`."""

    def __init__(self) -> None:
        self.last_offset = -1
        self.nodes: dict[str, NodeRecord | None] = {}
        """By name the newest record; None: left in order."""
        self.unreadable = 0
        self.void = 0
        self._keys: dict[int, _Key] = {}
        self._terms: dict[int, int] = {}

    # -- reading ------------------------------------------------------------------------------------------------

    def market(self, market_id: int) -> Entry | None:
        """The valid record of a market."""
        return _entry(self._keys.get(market_id))

    def markets(self) -> Mapping[int, Entry]:
        """All valid records by market id."""
        return {market_id: entry for market_id, key in sorted(self._keys.items()) if (entry := _entry(key))}

    def newest(self, market_id: int) -> int | None:
        """Offset of a market's newest record, valid or void: a writer's `seen`."""
        key = self._keys.get(market_id)
        return None if key is None or key.newest < 0 else key.newest

    def overwritten(self, market_id: int) -> bool:
        """Whether there is a void record that the writer of the valid one had not read: the valid one has to be
        appended again, or a compaction that ends between both would leave the void one without a witness."""
        key = self._keys.get(market_id)
        return key is not None and key.void > key.seen

    def all_overwritten(self) -> list[int]:
        """Ids of the markets, removed ones too, whose valid record (or tombstone) is to be appended again."""
        return [market_id for market_id in sorted(self._keys) if self.overwritten(market_id)]

    def highest_term(self, market_id: int) -> int:
        """The highest term that any record of the market named, valid or void, ever."""
        return self._terms.get(market_id, 0)

    # -- folding ------------------------------------------------------------------------------------------------

    def apply(
        self, offset: int, key: str, value: bytes | None, names: tuple[int | None, int | None] = (None, None)
    ) -> list[Outcome]:
        """Take the next record of the log. Never raises for what it holds.

        `names`: `supersedes` and `seen` of a tombstone, which has no value to carry them.
        """
        outcomes: list[Outcome] = []
        if offset <= self.last_offset:
            self._keys.clear()
            self.nodes.clear()
            outcomes.append(Replaced())
        elif offset > self.last_offset + 1:
            for known in self._keys.values():
                known.unjudged = True
        self.last_offset = offset
        parsed = parse_key(key)
        record: Record | None = None
        if parsed is not None and value is not None:
            record = decode(parsed, value)
        if parsed is None or (value is not None and record is None):
            self.unreadable += 1
        if parsed is None:
            return outcomes
        if parsed.kind is NodeRecord:
            if value is None or isinstance(record, NodeRecord):
                node = record if isinstance(record, NodeRecord) else None
                self.nodes[parsed.node] = node
                outcomes.append(Heard(parsed.node, node))
        elif parsed.kind is Barrier:
            if isinstance(record, Barrier):
                outcomes.append(Passed(record.by))
        else:
            outcomes += self._take(parsed.market_id, offset, self._written(offset, value, record, names))
        return outcomes

    @staticmethod
    def _written(
        offset: int, value: bytes | None, record: Record | None, names: tuple[int | None, int | None]
    ) -> _Written | None:
        market = record if isinstance(record, MarketRecord) else None
        if market is None and value is not None:
            return None
        supersedes, seen = (market.supersedes, market.seen) if market else names
        return _Written(offset, market, supersedes, -1 if seen is None else seen)

    def _take(self, market_id: int, offset: int, written: _Written | None) -> Iterator[Outcome]:
        key = self._keys.setdefault(market_id, _Key())
        key.newest = offset
        if written is None:
            self.void += 1
            key.void = offset
            yield Void(market_id, None, "not readable")
            return
        if written.record is not None:
            self._terms[market_id] = max(self.highest_term(market_id), written.record.term)
        if key.unjudged:
            key.unjudged = False
            key.before, key.unsettled = (key.offset, key.record), [written]
            _set(key, written)
            yield Valid(market_id, _entry(key))
            return
        if key.unsettled and written.seen >= key.unsettled[0].offset:
            yield from self._testify(market_id, key, written)
            return
        if len(key.unsettled) > _MOST_KEPT:
            key.unsettled = []
        if key.unsettled:
            key.unsettled.append(written)
        yield self._judge(market_id, key, written)

    def _judge(self, market_id: int, key: _Key, written: _Written) -> Outcome:
        why = _why_void(key, written)
        if why is None:
            _set(key, written)
            return Valid(market_id, _entry(key))
        self.void += 1
        key.void = written.offset
        return Void(market_id, written.record, why)

    def _testify(self, market_id: int, key: _Key, witness: _Written) -> Iterator[Outcome]:
        """A writer that had read the unsettled record, and more, says in `supersedes` what was valid then. That is
        believed; what it had not read is judged anew, then the witness itself."""
        read = {one.offset: one for one in key.unsettled}
        unread = [one for one in key.unsettled if one.offset > witness.seen]
        believed, key.unsettled = _entry(key), []
        names, (known_offset, known) = witness.supersedes, key.before
        if names in read:
            _set(key, read[names])
        else:
            key.offset, key.record, key.seen = names, known if names == known_offset else None, witness.seen
        for one in unread:
            self._judge(market_id, key, one)
        verdict = self._judge(market_id, key, witness)
        if isinstance(verdict, Void) and _entry(key) != believed:
            yield Valid(market_id, _entry(key))
        yield verdict

    def check(self) -> None:
        """Invariants; raises AssertionError."""
        for market_id, key in self._keys.items():
            assert key.newest <= self.last_offset, market_id
            assert key.offset is None or key.offset <= key.newest, market_id
            assert key.record is None or key.record.market.id == market_id
            assert key.record is None or key.record.term <= self.highest_term(market_id), market_id
            assert len(key.unsettled) <= _MOST_KEPT + 1, market_id
            assert key.seen <= self.last_offset, market_id


def _entry(key: _Key | None) -> Entry | None:
    return None if key is None or key.offset is None or key.record is None else Entry(key.offset, key.record)


def _set(key: _Key, written: _Written) -> None:
    key.record = written.record
    key.offset = None if written.record is None else written.offset
    key.seen = written.seen


def _why_void(key: _Key, written: _Written) -> str | None:
    if written.supersedes != key.offset:
        return f"it names the record at {written.supersedes}, the valid one is at {key.offset}"
    present, record = key.record, written.record
    if present is None or record is None:
        return None
    same = record.host == present.host and record.generation == present.generation
    if record.term < present.term or (record.term == present.term and record.host is not None and not same):
        return f"its term {record.term} is not above {present.term}, the one of {present.host}"
    return None
