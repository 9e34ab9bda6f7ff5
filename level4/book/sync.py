"""How a book is seeded and how it is known that nothing is missing: the shared policies, of which a scheme names one.

* **seed**: the snapshot comes in the stream, or by REST while updates are kept.
* **rule**: what the numbers of an update must be. `joins` is asked for the first update after a snapshot, `follows`
  for every later one; both get the last number applied and the update's numbers and answer with a `Verdict`.
* **checksum**: a book whose checksum fails is wrong.
* **connection_sequence**: numbers run over the whole connection, which then is the unit of repair for what they show.
* **named_rows**: rows of the book are told by id; an unknown one shows that something is missing.

Rules are facts of the exchanges; each states its source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from level4.book.checksum import Checksum, KrakenChecksum, TopChecksum
from level4.book.named import NamedBook
from level4.book.orderbook import BatchBook, OrderBook, RankedBook


class Verdict(IntEnum):
    APPLY = 0
    OLD = 1
    """Already contained: ignored."""
    GAP = 2


APPLY: Final = Verdict.APPLY
OLD: Final = Verdict.OLD
GAP: Final = Verdict.GAP
"""By name, because every update asks: on Python 3.11 a member of an enum costs 50 ns to look up in its class."""

Rule = Callable[[int, int | None, int | None, int | None], Verdict]
"""(last number applied, first, last, previous of the update) → verdict."""


def binance_spot(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Binance spot, how to manage a local order book (wording of 2025-11-12): `u <= L` is contained, `U > L + 1` is a
    gap. Also right for the first update after a snapshot."""
    if first is None or last is None:
        raise ValueError("expected the numbers U and u")
    if last <= at:
        return OLD
    return APPLY if first <= at + 1 else GAP


@dataclass(frozen=True, slots=True)
class Sync:
    """A policy. Make one with `seeded_in_stream` or `seeded_by_rest`."""

    rest: bool = False
    """The snapshot comes by REST; updates before it are kept."""
    joins: Rule | None = None
    follows: Rule | None = None
    checksum: Callable[[], Checksum] | None = None
    connection_sequence: bool = False
    named_rows: bool = False
    """Rows have ids, and a change need not tell the price."""
    seldom_checksum: TopChecksum | None = None
    """A checksum that is hardly ever sent: no reason to keep the book in a shape made for it."""

    def book(self) -> OrderBook:
        """An empty book of the shape that serves this policy best."""
        if self.named_rows:
            return NamedBook()
        return BatchBook(self.seldom_checksum) if self.checksum is None else RankedBook(self.checksum())


def seeded_in_stream(
    *,
    follows: Rule | None = None,
    checksum: Callable[[], Checksum] | None = None,
    connection_sequence: bool = False,
    named_rows: bool = False,
    seldom_checksum: TopChecksum | None = None,
) -> Sync:
    """The exchange sends the snapshot in the stream, before the updates."""
    return Sync(
        follows=follows,
        checksum=checksum,
        connection_sequence=connection_sequence,
        named_rows=named_rows,
        seldom_checksum=seldom_checksum,
    )


def seeded_by_rest(*, joins: Rule, follows: Rule) -> Sync:
    """The snapshot is fetched by REST while updates are kept."""
    return Sync(rest=True, joins=joins, follows=follows)


KRAKEN_CHECKSUM = seeded_in_stream(checksum=KrakenChecksum)
