"""The integrity check: its rules one by one, then random traffic against a model that knows what was lost."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from level4.client.integrity import Account, Integrity, Kind, Verdict
from level4.model import SPREAD, STATUS, TIMESALES, FeedState, Position, Spread, Status, Trade

A, B = 1_000_001, 2_000_001


def feed(*records: tuple[int, int] | tuple[int, int, Position | None]) -> tuple[list[Verdict], Account]:
    """The verdicts on (epoch, seq[, follows]) records of one stream, and its account."""
    integrity = Integrity()
    verdicts = [
        integrity.check(17, SPREAD, record[0], record[1], record[2] if len(record) == 3 else UNSET)
        for record in records
    ]
    return verdicts, integrity.accounts[17, SPREAD, None]


def test_the_first_record_seen_is_judged_by_nobody() -> None:
    (verdict,), account = feed((A, 900))
    assert verdict == Verdict(Kind.FIRST_SEEN)
    assert verdict.fresh
    assert verdict.whole
    assert account == Account(A, 900, records=1)


def test_the_same_epoch_counts_up() -> None:
    verdicts, account = feed((A, 5), (A, 6), (A, 7))
    assert [verdict.kind for verdict in verdicts] == [Kind.FIRST_SEEN, Kind.NEXT, Kind.NEXT]
    assert account == Account(A, 7, records=3)


def test_a_hole_is_a_loss_of_exactly_the_difference() -> None:
    verdicts, account = feed((A, 5), (A, 9), (A, 10))
    assert verdicts[1] == Verdict(Kind.LOSS, 3)
    assert verdicts[1].fresh
    assert not verdicts[1].whole
    assert verdicts[2].kind is Kind.NEXT
    assert account == Account(A, 10, records=3, lost=3)


def test_what_was_seen_is_a_duplicate() -> None:
    verdicts, account = feed((A, 5), (A, 6), (A, 6), (A, 5), (A, 7))
    assert [verdict.fresh for verdict in verdicts] == [True, True, False, False, True]
    assert verdicts[2].kind is Kind.DUPLICATE
    assert account == Account(A, 7, records=3, duplicates=2)


def test_a_lower_epoch_is_an_old_host() -> None:
    verdicts, account = feed((B, 1), (A, 99), (B, 2))
    assert verdicts[1].kind is Kind.OLD_HOST
    assert not verdicts[1].fresh
    assert account == Account(B, 2, records=2, old_host=1)


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        ((B, 1, Position(A, 5)), Verdict(Kind.NEW_STREAM)),
        ((B, 1, Position(A, 8)), Verdict(Kind.NEW_STREAM, lost=3)),
        ((B, 1, Position(A, 3)), Verdict(Kind.NEW_STREAM)),  # the old host's last records were seen, not by the new one
        ((B, 1, Position(A + 1, 2)), Verdict(Kind.NEW_STREAM, unknown=True)),  # an epoch between was missed as a whole
        ((B, 1, Position(A - 1, 2)), Verdict(Kind.NEW_STREAM, unknown=True)),
        ((B, 1, None), Verdict(Kind.NEW_STREAM, unknown=True)),
        ((B, 1), Verdict(Kind.NEW_STREAM, unknown=True)),
        ((B, 3), Verdict(Kind.NEW_STREAM, lost=2, unknown=True)),
        ((B, 3, Position(A, 5)), Verdict(Kind.NEW_STREAM, lost=2, unknown=True)),  # only seq 1 may say what it follows
    ],
)
def test_a_new_epoch_says_what_is_missing(
    first: tuple[int, int] | tuple[int, int, Position | None], verdict: Verdict
) -> None:
    verdicts, account = feed((A, 5), first)
    assert verdicts[1] == verdict
    assert verdicts[1].whole == (not verdict.lost and not verdict.unknown)
    assert account == Account(B, first[1], records=2, lost=verdict.lost, unknown=int(verdict.unknown), epochs=2)


def test_streams_do_not_mix() -> None:
    integrity = Integrity()
    for market, topic in ((1, SPREAD), (1, TIMESALES), (2, SPREAD)):
        assert integrity.check(market, topic, A, 7).kind is Kind.FIRST_SEEN
        assert integrity.check(market, topic, A, 8).kind is Kind.NEXT


@pytest.mark.parametrize(("epoch", "seq"), [(A, 0), (A, -1), (-1, 1)])
def test_an_impossible_position_is_refused_and_changes_nothing(epoch: int, seq: int) -> None:
    integrity = Integrity()
    integrity.check(17, SPREAD, A, 1)
    with pytest.raises(ValueError, match=r"level4\.spread of market 17: expected seq from 1"):
        integrity.check(17, SPREAD, epoch, seq)
    assert integrity.accounts[17, SPREAD, None] == Account(A, 1, records=1)


def test_verdicts_read_well() -> None:
    assert str(Verdict(Kind.NEXT)) == "next"
    assert str(Verdict(Kind.LOSS, 1234)) == "loss (1,234 lost)"
    assert str(Verdict(Kind.NEW_STREAM, 2, True)) == "new stream (2 lost, unknown number lost)"


def spread(epoch: int, seq: int, follows: Position | UnsetType | None = UNSET) -> Spread:
    return Spread(
        17, "KRAKEN", "SPOT", "BTC/USD", FeedState.LIVE, "both", "1", "1", "2", "1", "1.5", epoch, seq, 1, 2, 3,
        "node1", follows,
    )  # fmt: skip


def test_events_carry_what_is_needed() -> None:
    integrity = Integrity()
    assert integrity.check_event(spread(A, 1, None)).kind is Kind.FIRST_SEEN
    assert integrity.check_event(spread(A, 3)) == Verdict(Kind.LOSS, 1)
    assert integrity.check_event(spread(B, 1, Position(A, 3))) == Verdict(Kind.NEW_STREAM)
    trade = Trade(17, "KRAKEN", "SPOT", "BTC/USD", "buy", "1", "1", "7", A, 1, 1, 2, 3, "node1", None)
    assert integrity.check_event(trade).kind is Kind.FIRST_SEEN
    assert set(integrity.accounts) == {(17, SPREAD, None), (17, TIMESALES, None)}


def test_what_belongs_to_no_market_is_counted_by_node() -> None:
    integrity = Integrity()
    for node, epoch in (("a", B), ("b", A)):
        for seq in (1, 2):
            status = Status(None, "node_joined", None, None, node, epoch, seq, node, 1)
            assert integrity.check_event(status).fresh
    assert set(integrity.accounts) == {(None, STATUS, "a"), (None, STATUS, "b")}


def test_an_alive_event_shows_a_lost_tail() -> None:
    integrity = Integrity()
    assert integrity.behind(17, SPREAD, None) == 0, "the host has sent nothing"
    assert integrity.behind(17, SPREAD, Position(A, 1)) is None, "nothing seen to compare with"
    integrity.check(17, SPREAD, A, 5)
    assert integrity.behind(17, SPREAD, Position(A, 5)) == 0
    assert integrity.behind(17, SPREAD, Position(A, 9)) == 4
    assert integrity.behind(17, SPREAD, Position(A, 3)) == 0, "an alive event that is late"
    assert integrity.behind(17, SPREAD, Position(A - 1, 9)) == 0
    assert integrity.behind(17, SPREAD, Position(B, 1)) is None


@dataclass
class Sent:
    epoch: int
    seq: int
    follows: Position | UnsetType | None


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Sent], list[bool]]:
    """What hosts sent, in order: several epochs, each following the one before or knowing nothing; and what arrives."""
    sent: list[Sent] = []
    last: Position | None = None
    epoch = 0
    for _ in range(draw(st.integers(1, 5))):
        epoch += draw(st.integers(1, 3))
        follows = last if draw(st.booleans()) else None
        length = draw(st.integers(1, 8))
        sent += [Sent(epoch, seq, follows if seq == 1 else UNSET) for seq in range(1, length + 1)]
        last = Position(epoch, sent[-1].seq)
    arrives = draw(st.lists(st.booleans(), min_size=len(sent), max_size=len(sent)))
    return sent, arrives


@given(streams())
def test_the_account_of_random_losses_is_exact_or_says_unknown(case: tuple[list[Sent], list[bool]]) -> None:
    """The account never tells of more than was lost, and of exactly that when nothing was unknown."""
    sent, arrives = case
    integrity = Integrity()
    seen: int | None = None
    for place, (record, arrived) in enumerate(zip(sent, arrives, strict=True)):
        if not arrived:
            continue
        verdict = integrity.check(17, SPREAD, record.epoch, record.seq, record.follows)
        assert verdict.fresh
        if seen is None:
            assert verdict.kind is Kind.FIRST_SEEN
        else:
            missing = place - seen - 1
            assert verdict.lost <= missing
            assert verdict.unknown or verdict.lost == missing
            if record.epoch == sent[seen].epoch:
                assert not verdict.unknown, "within an epoch nothing is ever unknown"
            elif record.seq == 1 and record.follows == Position(sent[seen].epoch, sent[seen].seq):
                assert verdict.whole, "the proof that nothing is missing is there"
        seen = place
    if seen is not None:
        account = integrity.accounts[17, SPREAD, None]
        assert account.records == sum(arrives)
        assert (account.epoch, account.seq) == (sent[seen].epoch, sent[seen].seq)
        assert account.duplicates == account.old_host == 0
        first = arrives.index(True)
        assert account.epochs == len({record.epoch for record, come in zip(sent, arrives, strict=True) if come})
        if not account.unknown:
            assert account.records + account.lost == seen - first + 1


@given(streams(), st.randoms(use_true_random=False))
def test_repeats_and_old_hosts_change_nothing_but_their_counts(
    case: tuple[list[Sent], list[bool]], rng: random.Random
) -> None:
    """Records sent again, at once or much later, leave every other verdict as it was."""
    sent, arrives = case
    clean, noisy = Integrity(), Integrity()
    arrived = [record for record, come in zip(sent, arrives, strict=True) if come]
    duplicates = old = 0
    for place, record in enumerate(arrived):
        expected = clean.check(17, SPREAD, record.epoch, record.seq, record.follows)
        assert noisy.check(17, SPREAD, record.epoch, record.seq, record.follows) == expected
        for again in rng.sample(arrived[: place + 1], rng.randint(0, place + 1)):
            verdict = noisy.check(17, SPREAD, again.epoch, again.seq, again.follows)
            assert not verdict.fresh
            duplicates += again.epoch == record.epoch
            old += again.epoch < record.epoch
            assert verdict.kind is (Kind.DUPLICATE if again.epoch == record.epoch else Kind.OLD_HOST)
    if arrived:
        one, other = clean.accounts[17, SPREAD, None], noisy.accounts[17, SPREAD, None]
        assert (other.duplicates, other.old_host) == (duplicates, old)
        assert one == replace(other, duplicates=0, old_host=0)
