"""Sequence rules: what the numbers of an update must be, one function for each way in which exchanges number.

A rule gets the number of the last update applied (0: the snapshot had none) and the update's first, last and previous
number, and answers with a `Verdict`. Each states its source and a worked example.
"""

from __future__ import annotations

from level4.book.sync import APPLY, GAP, OLD, Verdict


def binance_futures_joins(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """The first update after a REST snapshot on Binance USD-M, COIN-M and options.

    Documented: drop `u < L`, the first needs `U <= L <= u`. Observed on the wire (2026-08): the first may instead have
    `pu == L` with `U` above it. `pu <= L <= u` allows both and leaves no hole. A number of zero or less is that of a
    new, empty symbol: any update starts it.

    L = 100: (u 99) is contained; (U 150, u 160, pu 100) joins; (pu 101) shows that the snapshot is too old.
    """
    if last is None or previous is None:
        raise ValueError("expected the numbers u and pu")
    if last < at:
        return OLD
    return APPLY if previous <= at or at <= 0 else GAP


def binance_futures(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Binance futures and options after the first update: `pu` is the `u` before (documented, 2026-08).

    `U` proves nothing: at 160, (U 192, u 200, pu 160) follows and nothing is missing; (pu 161) is a gap.
    """
    if last is None or previous is None:
        raise ValueError("expected the numbers u and pu")
    if last <= at:
        return OLD
    return APPLY if previous == at else GAP


def next_number(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Every update's number is the last one plus one (HitBTC v2 `sequence`, v3 `s`; documented, and so in all of 23,000
    recorded and probed updates, 2021–2026). A number that came before is a break like any other.

    At 7: 8 follows; 7 and 9 are gaps.
    """
    if last is None:
        raise ValueError("expected an update's number")
    return APPLY if last == at + 1 else GAP


def names_previous(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Every update names the number of the one before; numbers may jump (Poloniex `lastId`, documented, 283 of 283 in a
    recording of 2022-08).

    At 4485675: (lastId 4485675, id 4485681) follows; (lastId 4485680, id 4485681) is a gap.
    """
    if last is None or previous is None:
        raise ValueError("expected an update's number and the one before")
    return APPLY if previous == at else GAP


def overlaps(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Gemini `depthUpdate` (API of 2026): `U <= last u < u`, overlapping by one, other than Binance's. Numbers come
    from one range for all symbols, so they jump.

    At 192323: (U 192323, u 192686) follows; (U 192000, u 192323) is contained; (U 192324, u 192686) is a gap.
    """
    if first is None or last is None:
        raise ValueError("expected the numbers U and u")
    if last <= at:
        return OLD
    return APPLY if first <= at else GAP


def newer(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Only what is newer than the snapshot counts; nothing shows a gap (Bitstamp `microtimestamp`, 2022 and 2026).

    Snapshot of 695572693: the diff of 695572693 is contained, that of 695580000 applies, whatever lies between.
    """
    if last is None:
        raise ValueError("expected an update's time")
    return OLD if last <= at else APPLY


def unproven(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """An update after the first one where nothing can show a gap: two may even bear the same time (Bitstamp)."""
    return APPLY


def next_or_old(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Every update's number is the last one plus one; one that came before is contained (Kraken futures `seq`, so in
    7,014 of 7,014 recorded updates of 2021-07; the documentation is silent).

    At 326072249: 326072250 follows, 326072249 is contained, 326072251 is a gap.
    """
    if last is None:
        raise ValueError("expected an update's number")
    if last <= at:
        return OLD
    return APPLY if last == at + 1 else GAP


def bybit(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """Bybit v5 `u`: the last one plus one (documented for the SBE feed, and so in recordings, 2023–2026). After the
    empty snapshot of an idle option, whose number is 0, the chain starts with any number.

    At 24641: 24642 follows. At 0: 17 follows.
    """
    return APPLY if at == 0 and last is not None else next_or_old(at, first, last, previous)


def okx(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """OKX `books`: `prevSeqId` is the last `seqId` (documented, 2026-02). `seqId` may stay (keep-alive) or fall (reset
    by maintenance). Frames of 2022 have no numbers, and prove themselves by checksum.

    At 450001: (450001, 450019), (450001, 450001) and (450001, 3) follow; (450002, 450019) is a gap.
    """
    return APPLY if previous is None or previous == at else GAP


def okx_joins(at: int, first: int | None, last: int | None, previous: int | None) -> Verdict:
    """The first update after a REST book on OKX: `prevSeqId <= seqId of the book < seqId` (announced 2026-02).

    Book at 450010: (450001, 450010) is contained, (450001, 450019) joins, (450019, 450030) shows a book too old.
    """
    if last is None or previous is None:
        raise ValueError("expected the numbers seqId and prevSeqId")
    if last <= at:
        return OLD
    return APPLY if previous <= at else GAP
