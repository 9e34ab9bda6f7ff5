"""What works where, as a page made from the registry: docs/exchanges.md. A test proves that the page is current."""

from __future__ import annotations

from itertools import groupby

from level4.exchanges.registry import PROTOCOLS, VENUES, SchemeClass, Venue

_HEAD = """\
# What works where

<!-- Made from level4/exchanges/registry.py by tools/exchanges-page; a test keeps it current. -->

A market type is `SPOT`, `PERP` (linear or quanto perpetual), `FUTURE` (dated), `INVERSE` (settled in the base
currency; perpetual, or dated with an expiry) or `OPTION`. *Proof* says how a missing update is noticed; where the
protocol gives none, only silence, a lost connection and implausible books can be. Where trades come over a protocol of
their own, it is named. Another protocol of the same exchange is chosen with
`LEVEL4_PROTOCOLS=KRAKEN.SPOT=kraken.v1`. How long hundreds of markets take to be LIVE:
[operations.md](operations.md#how-long-many-markets-take).

| exchange | types | protocol | snapshot | proof of the book | trade ids |
|---|---|---|---|---|---|
"""

_TAIL = """
## Other protocols

For replay of recordings, or to choose:

"""


def proof(scheme: SchemeClass) -> str:
    """How a missing update is noticed, in words."""
    sync, proofs = scheme.sync, []
    if sync.connection_sequence:
        proofs.append("numbers of the connection")
    if sync.follows is not None and sync.follows.__name__ not in ("unproven", "newer"):
        proofs.append("numbers of the market")
    if sync.checksum is not None:
        proofs.append("checksum")
    if sync.named_rows:
        proofs.append("ids of rows")
    if scheme.heals:
        proofs.append("none needed: the next message heals what was lost")
    return ", ".join(proofs) or "none"


def _row(venue: Venue, types: list[str]) -> str:
    book: SchemeClass = venue.book
    protocol = f"`{book.protocol}`" + ("" if venue.trades is book else f", trades `{venue.trades.protocol}`")
    seed = "REST" if book.sync.rest else "in the stream"
    ids = "contiguous: a hole is a known loss" if venue.trades.contiguous_trade_ids else "as the exchange gives them"
    return f"| {venue.exchange} | {', '.join(types)} | {protocol} | {seed} | {proof(book)} | {ids} |"


def markdown() -> str:
    """The whole page."""
    rows = []
    used = set()
    for (_, book, trades), group in groupby(VENUES.values(), key=lambda v: (v.exchange, v.book, v.trades)):
        venues = list(group)
        used |= {book.protocol, trades.protocol}
        rows.append(_row(venues[0], [str(venue.type) for venue in venues]))
    others = ", ".join(f"`{name}`" for name in sorted(set(PROTOCOLS) - used))
    return _HEAD + "\n".join(rows) + "\n" + _TAIL + others + ".\n"
