"""The life of a market as a table that code, documentation and tests read.

    STARTING → SYNCING → LIVE ⇄ STALE
    LIVE | STALE → GAP → SYNCING
    any → HALTED → SYNCING
    any → STOPPED

* STARTING: the instrument is resolved, no connection has been made.
* SYNCING: subscribed, the book is not yet complete.
* LIVE: the book is right as far as the exchange's protocol can prove.
* STALE: the book was right, but there is no evidence that it still is.
* GAP: the book is known to be wrong or incomplete (sequence break, checksum, lost connection).
* HALTED: the exchange refuses, is in maintenance, has banned us, or cannot be reached; tried again for ever.
* STOPPED: the end; a market that is started again is a new term.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class FeedState(StrEnum):
    STARTING = "STARTING"
    SYNCING = "SYNCING"
    LIVE = "LIVE"
    STALE = "STALE"
    GAP = "GAP"
    HALTED = "HALTED"
    STOPPED = "STOPPED"


_S = FeedState

TRANSITIONS: Final[dict[FeedState, frozenset[FeedState]]] = {
    _S.STARTING: frozenset({_S.SYNCING, _S.HALTED, _S.STOPPED}),
    _S.SYNCING: frozenset({_S.LIVE, _S.HALTED, _S.STOPPED}),
    _S.LIVE: frozenset({_S.STALE, _S.GAP, _S.HALTED, _S.STOPPED}),
    _S.STALE: frozenset({_S.LIVE, _S.GAP, _S.HALTED, _S.STOPPED}),
    _S.GAP: frozenset({_S.SYNCING, _S.HALTED, _S.STOPPED}),
    _S.HALTED: frozenset({_S.SYNCING, _S.STOPPED}),
    _S.STOPPED: frozenset(),
}
"""What may follow each state. A transition that is not here is a bug of ours."""

MARKED: Final = frozenset({_S.STALE, _S.GAP, _S.HALTED, _S.STOPPED})
"""States that end trust in the last published prices: each is marked in the spread stream itself."""
