"""The small parts: suspicion, health, timers, rumours on their way, the roster, the configuration."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from level4.swim import FEEDS, LAN, LOCAL, PROFILES, WAN, Config, Member, State
from level4.swim.config import suspicion_timeout
from level4.swim.dissemination import Dissemination
from level4.swim.health import LocalHealth
from level4.swim.roster import Roster
from level4.swim.suspicion import Suspicion
from level4.swim.timers import Timers


def test_a_suspicion_of_memberlist_s_lan_profile_shortens_as_published() -> None:
    """10 members, wanted 3: 24 s alone, then 14.0, 8.2 and 4 s."""
    assert LAN.suspicion_bounds(10) == (4.0, 24.0)
    times = [suspicion_timeout(4.0, 24.0, 3, confirmations) for confirmations in range(4)]
    assert times == pytest.approx([24.0, 14.0, 8.15, 4.0], abs=0.01)


@pytest.mark.parametrize(
    ("config", "members", "bounds"),
    [(LAN, 3, (4, 24)), (LAN, 100, (8, 48)), (LAN, 1000, (12, 72)), (WAN, 10, (30, 180)), (FEEDS, 10, (1.25, 3.75))],
)
def test_the_bounds_of_a_suspicion(config: Config, members: int, bounds: tuple[float, float]) -> None:
    assert config.suspicion_bounds(members) == pytest.approx(bounds)


def test_plain_swim_has_one_timeout() -> None:
    plain = replace(LAN, lifeguard=False)
    assert plain.suspicion_bounds(100) == (8.0, 8.0)
    assert plain.wanted_confirmations(100) == 0


def test_only_new_accusers_count_and_not_more_than_wanted() -> None:
    suspicion = Suspicion("a", 100.0, (4.0, 24.0), 2)
    assert suspicion.deadline == 124.0
    assert not suspicion.confirm("a")
    assert not suspicion.confirm("")
    assert suspicion.confirm("b")
    assert suspicion.deadline == pytest.approx(111.4, abs=0.05)
    assert suspicion.confirm("c")
    assert suspicion.deadline == 104.0
    assert not suspicion.confirm("d")


def test_two_members_have_nobody_who_could_confirm() -> None:
    assert [LAN.wanted_confirmations(members) for members in (1, 2, 3, 4, 50)] == [0, 0, 1, 2, 2]


def test_the_retransmit_limit_grows_with_the_logarithm_and_has_a_floor() -> None:
    assert [LAN.retransmits(members) for members in (3, 10, 100, 1000, 10_000)] == [8, 8, 12, 16, 20]
    assert LOCAL.retransmits(2) == 8


def test_health_stays_within_its_bounds() -> None:
    health = LocalHealth(8, enabled=True)
    health.improve()
    assert health.multiplier == 1
    health.worsen(100)
    assert health.multiplier == 8
    health.improve()
    assert health.multiplier == 7
    off = LocalHealth(8, enabled=False)
    off.worsen(3)
    assert off.multiplier == 1


def test_timers_run_in_order_and_keep_it_when_delayed() -> None:
    timers, ran = Timers(), []
    for when in (3.0, 1.0, 2.0):
        timers.at(when, lambda name, now: ran.append((name, now)), when)
    timers.run(1.5)
    assert ran == [(1.0, 1.5)]
    timers.delay(10.0)
    assert timers.next() == 12.0
    timers.run(13.0)
    assert ran[1:] == [(2.0, 13.0), (3.0, 13.0)]
    assert timers.next() is None


@pytest.mark.parametrize(
    ("change", "says"),
    [({"probe_timeout": 0.5}, "probe_timeout < probe_interval"), ({"packet_bytes": 100}, "packet_bytes from 1024")],
)
def test_a_wrong_configuration_is_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(FEEDS, **change)  # type: ignore[arg-type]  # one value per case


def test_the_profiles_have_their_names() -> None:
    assert PROFILES == {"feeds": FEEDS, "lan": LAN, "wan": WAN, "local": LOCAL}


# Rumours on their way


def test_the_least_sent_goes_first_and_the_newest_of_those() -> None:
    queue = Dissemination(100)
    for name in "abc":
        queue.add(name, name.encode() * 10)
    assert queue.take(20, 3) == [b"c" * 10, b"b" * 10]
    assert queue.take(10, 3) == [b"a" * 10]
    queue.add("d", b"d" * 10)
    assert queue.take(10, 3) == [b"d" * 10]


def test_a_newer_rumour_takes_the_place_of_the_older() -> None:
    queue = Dissemination(100)
    queue.add("a", b"old")
    queue.take(100, 3)
    queue.add("a", b"new")
    assert len(queue) == 1
    assert [queue.take(100, 3) for _ in range(4)] == [[b"new"]] * 3 + [[]]
    assert not queue


def test_one_that_does_not_fit_waits_and_does_not_block() -> None:
    queue = Dissemination(100)
    queue.add("small", b"s")
    queue.add("large", b"l" * 500)
    assert queue.take(100, 1) == [b"s"]
    assert queue.take(1000, 1) == [b"l" * 500]


def test_beyond_the_limit_the_most_sent_goes() -> None:
    queue = Dissemination(2)
    queue.add("a", b"a")
    queue.take(1, 9)
    queue.add("b", b"b")
    queue.add("c", b"c")
    assert ["a" in queue, "b" in queue, "c" in queue] == [False, True, True]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 40), st.integers(0, 60)), max_size=60))
def test_the_queue_against_a_plain_one(steps: list[tuple[str, int, int]]) -> None:
    queue, plain, limit = Dissemination(100), dict[str, tuple[bytes, int]](), 3
    for name, size, budget in steps:
        part = name.encode() * size
        queue.add(name, part)
        plain[name] = part, 0
        taken = queue.take(budget, limit)
        assert sum(map(len, taken)) <= budget
        for one in taken:
            key = chr(one[0])
            assert plain[key][0] == one
            plain[key] = one, plain[key][1] + 1
            if plain[key][1] == limit:
                del plain[key]
        assert len(queue) == len(plain)
        assert all(key in queue for key in plain)


# The roster


def member(name: str, incarnation: int = 0, state: State = State.ALIVE) -> Member:
    return Member(name, 1000, incarnation, ("10.0.0.1", 1 + sum(name.encode())), b"", state)


def suspicion() -> Suspicion:
    return Suspicion("y", 0.0, (1.0, 2.0), 0)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(State)), max_size=80), st.integers())
def test_any_changes_leave_the_roster_in_order(changes: list[tuple[str, State]], seed: int) -> None:
    roster = Roster(member("own"), Random(seed), 3, 2)
    for i, (name, state) in enumerate(changes):
        roster.put(member(name, i, state), suspicion() if state == State.SUSPECT else None, float(i))
        roster.check()
        roster.next_target()
        found = roster.sample(3, alive=True, besides="a")
        assert len({one.name for one in found}) == len(found)
        assert all(one.state == State.ALIVE and one.name != "a" for one in found)
    roster.forget_older(float(len(changes)))
    assert not roster.graves
    roster.check()


def test_each_member_is_probed_once_a_round() -> None:
    roster = Roster(member("own"), Random(1), 10, 10)
    roster.preload([member(f"m{i}") for i in range(20)])
    rounds = [sorted(str(roster.next_target()) for _ in range(20)) for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert len(set(rounds[0])) == 20


def test_a_newcomer_is_probed_at_a_random_place_of_the_round() -> None:
    places = set()
    for seed in range(200):
        roster = Roster(member("own"), Random(seed), 10, 10)
        roster.preload([member(f"m{i}") for i in range(9)])
        roster.put(member("new"), None, 0.0)
        targets = [roster.next_target() for _ in range(10)]
        places.add([one.name for one in targets if one].index("new"))
    assert places == set(range(10))


def test_the_dead_are_still_told_for_a_while() -> None:
    roster = Roster(member("own"), Random(1), 10, 10)
    roster.preload([member("a")])
    roster.put(member("a", 0, State.DEAD), None, 100.0)
    assert roster.sample(3) == []
    assert [one.name for one in roster.sample(3, dead_since=90.0)] == ["a"]
    assert roster.sample(3, dead_since=110.0) == []


def test_equal_views_have_equal_fingerprints_whatever_came_before() -> None:
    one, other = Roster(member("a"), Random(1), 10, 10), Roster(member("b"), Random(2), 10, 10)
    one.put(member("b"), None, 0.0)
    one.put(member("c"), None, 0.0)
    one.put(member("c", 0, State.DEAD), None, 1.0)
    other.put(member("a", 0, State.SUSPECT), suspicion(), 0.0)
    assert one.view == other.view
    other.put(member("a", 1), None, 0.0)
    assert one.view != other.view
