"""Who hosts what, pure: the fold of the ownership log, claims, takeover, choice of host, handover.

`fold.py` is the judge (read it first), `records.py` the spelling, `claims.py` what a node writes, `takeover.py` when
a host is gone, `choice.py` who gets its markets, `handover.py` how a market moves without a break. Time and randomness
are arguments; decisions are data that `cluster` acts on.
"""

from level4.placement.balance import balance
from level4.placement.choice import Room, choose, least_loaded, spread_over
from level4.placement.claims import Writer, again, claim, next_term, resume, stop, to_take_back, unplace
from level4.placement.fold import Entry, Heard, Outcome, Ownership, Passed, Replaced, Valid, Void
from level4.placement.handover import Answer, AskRelease, Claim, ClaimBack, Source, Target
from level4.placement.records import (
    TOPIC,
    Barrier,
    Desired,
    Mark,
    MarketRecord,
    NodeRecord,
    Record,
    Released,
    encode,
    key_of,
    node_key,
)
from level4.placement.takeover import DEAD_SECONDS, INTERVAL_SECONDS, Lease, Orphan, Silence, gone, orphans

__all__ = [
    "DEAD_SECONDS",
    "INTERVAL_SECONDS",
    "TOPIC",
    "Answer",
    "AskRelease",
    "Barrier",
    "Claim",
    "ClaimBack",
    "Desired",
    "Entry",
    "Heard",
    "Lease",
    "Mark",
    "MarketRecord",
    "NodeRecord",
    "Orphan",
    "Outcome",
    "Ownership",
    "Passed",
    "Record",
    "Released",
    "Replaced",
    "Room",
    "Silence",
    "Source",
    "Target",
    "Valid",
    "Void",
    "Writer",
    "again",
    "balance",
    "choose",
    "claim",
    "encode",
    "gone",
    "key_of",
    "least_loaded",
    "next_term",
    "node_key",
    "orphans",
    "resume",
    "spread_over",
    "stop",
    "to_take_back",
    "unplace",
]
