"""The consumer's duty, as one small class: is anything missing, is this record still worth anything?

Every record carries the epoch and the sequence number of its stream, a stream being (market, topic). The rules:

* lower epoch than seen: an old host that does not know yet that it lost the market: drop the record;
* same epoch: `seq` is the last one + 1; lower is a duplicate, drop it; higher is a loss of exactly the difference;
* higher epoch: a new stream. Its first record (`seq` 1) says in `follows` after which position nothing is missing, or
  null when nobody knows. From that the end of the old epoch is judged: `follows` beyond what was seen is a loss of
  exactly the difference; `follows` at or before it, nothing is missing. If its first records were missed as well, those
  are lost and the end of the old epoch is unknown.

What was lost is thus either a number or "unknown"; the account never mixes them. What follows the last record seen is
not known to a stream itself: the status topic's `alive` events carry the last position of both data streams, and
`behind` compares. Ask it once everything of the data topic that was written before the `alive` event has been read.

Events that belong to no market (`market_id` null: what nodes say about themselves) are numbered by each node on its
own, so there the node's name is part of the stream.

Pure: feed it in the order of each partition; partitions may be mixed in any way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec import UNSET, UnsetType

from level4.model import TOPIC_OF, Event, Position, Status

Stream = tuple[int | None, str, str | None]
"""Market id, topic, and (only where there is no market) the node."""


class Kind(StrEnum):
    FIRST_SEEN = "first seen"
    """The first record of its stream that was fed: what came before it is not judged."""
    NEXT = "next"
    LOSS = "loss"
    """The right epoch, but `lost` records are missing before this one."""
    NEW_STREAM = "new stream"
    """A higher epoch: a new host, or a continuity that broke. `lost` and `unknown` say what is missing."""
    DUPLICATE = "duplicate"
    """Seen already: drop it."""
    OLD_HOST = "old host"
    """Of an epoch that is over: drop it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record is to its stream."""

    kind: Kind
    lost: int = 0
    """Records that are certainly missing before this one."""
    unknown: bool = False
    """Whether besides `lost` an unknown number of records (perhaps none) is missing before this one."""

    @property
    def fresh(self) -> bool:
        """Whether to use the record; a duplicate and an old host's record are to be dropped."""
        return self.kind not in (Kind.DUPLICATE, Kind.OLD_HOST)

    @property
    def whole(self) -> bool:
        """Whether certainly nothing is missing before this record (for the first seen: nothing that is judged)."""
        return not self.lost and not self.unknown

    def __str__(self) -> str:
        missing = [f"{self.lost:,} lost"] * (self.lost > 0) + ["unknown number lost"] * self.unknown
        return f"{self.kind} ({', '.join(missing)})" if missing else str(self.kind)


@dataclass(slots=True)
class Account:
    """What was seen of one stream."""

    epoch: int
    seq: int
    """The last position."""
    records: int = 0
    """Fresh records: neither duplicates nor an old host's."""
    lost: int = 0
    """Records certainly missing."""
    unknown: int = 0
    """Times that an unknown number was missing."""
    duplicates: int = 0
    epochs: int = 1
    old_host: int = 0


_NEXT = Verdict(Kind.NEXT)
_DUPLICATE = Verdict(Kind.DUPLICATE)
_OLD_HOST = Verdict(Kind.OLD_HOST)
_FIRST_SEEN = Verdict(Kind.FIRST_SEEN)


class Integrity:
    """Judges records one by one, and keeps the account of every stream. Memory: one `Account` a stream."""

    def __init__(self) -> None:
        self.accounts: dict[Stream, Account] = {}

    def check_event(self, event: Event) -> Verdict:
        """The verdict on an event."""
        follows = UNSET if isinstance(event, Status) else event.follows
        node = event.node if event.market_id is None else None
        return self.check(event.market_id, TOPIC_OF[type(event)], event.epoch, event.seq, follows, node)

    def check(
        self,
        market_id: int | None,
        topic: str,
        epoch: int,
        seq: int,
        follows: Position | UnsetType | None = UNSET,
        node: str | None = None,
    ) -> Verdict:
        """The verdict on a record at this position. Raises ValueError (and changes nothing) for an impossible one."""
        if seq < 1 or epoch < 0:
            raise ValueError(f"{topic} of market {market_id}: expected seq from 1 and epoch from 0, got {epoch}/{seq}")
        stream = (market_id, topic, node)
        account = self.accounts.get(stream)
        if account is None:
            self.accounts[stream] = Account(epoch, seq, records=1)
            return _FIRST_SEEN
        if epoch < account.epoch:
            account.old_host += 1
            return _OLD_HOST
        if epoch == account.epoch:
            return _same_epoch(account, seq)
        return _new_epoch(account, epoch, seq, follows)

    def behind(self, market_id: int | None, topic: str, end: Position | None) -> int | None:
        """Records between the last one seen and `end`, where the stream ends as its host says (0: all were seen).

        None when that cannot be told: the stream was never seen, or `end` is in an epoch of which nothing was seen.
        """
        account = self.accounts.get((market_id, topic, None))
        if end is None:
            return 0
        if account is None or end.epoch > account.epoch:
            return None
        return max(0, end.seq - account.seq) if end.epoch == account.epoch else 0


def _same_epoch(account: Account, seq: int) -> Verdict:
    if seq <= account.seq:
        account.duplicates += 1
        return _DUPLICATE
    lost = seq - account.seq - 1
    account.seq = seq
    account.records += 1
    account.lost += lost
    return Verdict(Kind.LOSS, lost) if lost else _NEXT


def _new_epoch(account: Account, epoch: int, seq: int, follows: Position | UnsetType | None) -> Verdict:
    lost, unknown = seq - 1, True
    if isinstance(follows, Position) and seq == 1 and follows.epoch == account.epoch:
        lost, unknown = max(0, follows.seq - account.seq), False
    account.epoch, account.seq = epoch, seq
    account.records += 1
    account.epochs += 1
    account.lost += lost
    account.unknown += unknown
    return Verdict(Kind.NEW_STREAM, lost, unknown)
