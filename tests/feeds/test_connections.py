"""Connections on scripted sockets in virtual time: sharing, batching, pacing, reconnection, silence, bad frames."""

from __future__ import annotations

import itertools
from random import Random

import pytest
import trio
from fake_exchange import (
    ADDRESS,
    BOOK,
    TRADES,
    FakeScheme,
    FakeSequenceScheme,
    books,
    rig,
    say,
    scheme_with,
    settled,
    snap,
    until,
    upd,
)
from structlog.testing import capture_logs
from trio.testing import MockClock

from level4.exchanges.scheme import Limits
from level4.feeds import Disconnected


async def test_markets_share_a_connection_and_become_live(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2, 3)
        assert r.transport.urls == [ADDRESS]
        assert socket.sent == ["sub book+trades AAA-USD,BBB-USD,CCC-USD"]
        socket.give(upd("BBB-USD", "10.5"), say("trade", s="CCC-USD", p="11", id="1"))
        await settled()
        assert [s.bid_price for s in r.published.spreads(2)] == ["10", "10.5"]
        assert len(r.published.spreads(1)) == 1
        assert [t.price for t in r.published.trades(3)] == ["11"]
        stats = r.feeds.connections()[0]
        assert (stats.frames, stats.markets, stats.up) == (5, 3, True)


async def test_subscriptions_are_batched_and_paced_after_a_reconnect(autojump_clock: MockClock) -> None:
    limits = Limits(messages_per_second=2.0, symbols_per_message=2, silence_seconds=1000.0)
    async with rig(scheme_with(limits=limits, greeting=lambda self: ["hello"])) as r:
        await r.start(1, 2, 3, 4, 5)
        r.transport.sockets[0].cut()
        await trio.sleep(10)
        socket = r.transport.sockets[1]
        assert socket.sent == [
            "hello",
            "sub book+trades AAA-USD,BBB-USD",
            "sub book+trades CCC-USD,DDD-USD",
            "sub book+trades EEE-USD",
        ]
        # Two at once (the burst), then one every half second.
        assert [round(at - socket.sent_at[0], 3) for at in socket.sent_at] == [0.0, 0.0, 1.02, 1.02]


async def test_a_full_connection_is_followed_by_another(autojump_clock: MockClock) -> None:
    async with rig(scheme_with(limits=Limits(markets_per_connection=2))) as r:
        await r.start(1, 2, 3, 4, 5)
        assert len(r.transport.open) == 3
        await r.feeds.stop(2, "test")
        await r.start(2)
        assert len(r.transport.open) == 3  # the free place is used again


async def test_few_markets_share_a_numbered_connection(autojump_clock: MockClock) -> None:
    async with rig(FakeSequenceScheme, markets_per_connection=2) as r:
        await r.start(1, 2, 3)
        assert [stats.markets for stats in r.feeds.connections()] == [2, 1]


async def test_more_share_a_numbered_connection_where_a_minute_has_too_few_of_them(autojump_clock: MockClock) -> None:
    limits = Limits(markets_per_connection=3, connects=2, connects_seconds=60.0)
    async with rig(scheme_with(FakeSequenceScheme, limits=limits), markets_per_connection=1) as r:
        await r.start(1, 2, 3, 4, 5)
        assert [stats.markets for stats in r.feeds.connections()] == [1, 1, 3]


async def test_one_instrument_under_two_ids_takes_two_connections(autojump_clock: MockClock) -> None:
    async with rig() as r:
        await r.start(1)
        first = r.feeds.markets()[0].request
        await r.feeds.start(type(first)(900, "FAKE", first.type, "AAA", "USD"), term=7)
        await settled()
        for socket in r.transport.open:
            socket.give(snap("AAA-USD"))
        await settled()
        assert r.state(1) == r.state(900) == "LIVE"


async def test_book_and_trades_of_different_addresses(autojump_clock: MockClock) -> None:
    async with rig(scheme_with(websocket={BOOK: ADDRESS, TRADES: "wss://trades.fake.example"})) as r:
        await r.start(1)
        book, trades = r.transport.at(ADDRESS), r.transport.at("wss://trades.fake.example")
        assert (book.sent, trades.sent) == (["sub book AAA-USD"], ["sub trades AAA-USD"])
        book.give(snap("AAA-USD"))
        trades.give(say("trade", s="AAA-USD", p="10.5", id="1"))
        await settled()
        trades.cut()
        await settled()
        assert r.state(1) == "LIVE"  # the book is as right as it was
        assert len(r.published.trades(1)) == 1
        await r.feeds.stop(1, "test")
        await settled()
        assert r.transport.open == []
        assert r.feeds.connections() == []


async def test_stopping_touches_nobody_else_and_late_frames_are_counted(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        await r.feeds.stop(1, "no longer wanted")
        socket.give(upd("AAA-USD", "10.1"), upd("BBB-USD", "10.2"))
        await settled()
        assert socket.sent[-1] == "unsub book+trades AAA-USD"
        assert r.published.statuses(1)[-1] == "feed_stopped"
        assert r.published.spreads(1)[-1].state == "STOPPED"
        assert r.published.spreads(2)[-1].bid_price == "10.2"
        assert r.feeds.connections()[0].dropped == 1
        assert r.published.statuses(2).count("gap") == 0
        await r.feeds.stop(2, "no longer wanted")
        await settled()
        assert socket.closed
        assert r.feeds.markets() == []


async def test_a_market_is_started_again_on_the_same_connection(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        await r.feeds.stop(1, "test")
        await r.live(1)
        assert socket.sent[-2:] == ["unsub book+trades AAA-USD", "sub book+trades AAA-USD"]
        assert len(r.transport.sockets) == 1


# -- ends of a socket -------------------------------------------------------------------------------------------


async def test_a_lost_socket_is_a_gap_at_once_and_heals(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        socket.cut("reset by peer")
        await settled()
        assert r.state(1) == r.state(2) == "GAP"
        assert r.published.spreads(1)[-1].state == "GAP"
        assert r.published.spreads(1)[-1].bid_price is None
        assert r.published.reasons(1, "reconnecting") == ["book: reset by peer (1006)", "trades: reset by peer (1006)"]
        await trio.sleep(1.0)
        assert len(r.transport.sockets) == 2
        r.transport.sockets[1].give(snap("AAA-USD"), snap("BBB-USD"))
        await settled()
        assert r.state(1) == r.state(2) == "LIVE"
        assert r.published.spreads(1)[-1].epoch > r.published.spreads(1)[0].epoch


async def test_reconnection_backs_off_with_a_cap_and_never_gives_up(autojump_clock: MockClock) -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    async with rig(random=Longest()) as r:
        r.transport.refuse_always = Disconnected(403, "not you")
        await r.start(1)
        await trio.sleep(1000)
        attempts = r.transport.attempts
        delays = [round(after - before, 3) for before, after in itertools.pairwise(attempts)]
        assert delays[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
        assert set(delays[8:]) == {60}
        r.transport.refuse_always = None
        r.transport.answers = books
        await until(lambda: r.state(1) == "LIVE")
        await trio.sleep(10)
        r.transport.open[0].cut()  # after a short life the long delay goes on
        lost = trio.current_time()
        await trio.sleep(100)
        assert r.transport.attempts[-1] - lost == pytest.approx(60)


async def test_a_minute_of_health_forgets_failures(autojump_clock: MockClock) -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    async with rig(random=Longest()) as r:
        r.transport.refuse = [Disconnected(503, "busy")] * 5
        await r.start(1)
        await trio.sleep(40)
        socket = r.transport.open[0]
        for _ in range(7):
            socket.give(snap("AAA-USD"))
            await trio.sleep(10)
        socket.cut()
        await settled()
        lost = trio.current_time()
        await trio.sleep(5)
        assert r.transport.attempts[-1] - lost == pytest.approx(1)


async def test_jitter_is_full(autojump_clock: MockClock) -> None:
    async with rig(random=Random(3)) as r:
        r.transport.refuse_always = Disconnected(403, "no")
        await r.start(1)
        await trio.sleep(600)
        delays = [b - a for a, b in zip(r.transport.attempts, r.transport.attempts[1:], strict=False)]
        assert all(0 <= delay <= 60 for delay in delays)
        assert len({round(delay, 6) for delay in delays}) == len(delays)


async def test_attempts_of_one_exchange_share_an_allowance(autojump_clock: MockClock) -> None:
    limits = Limits(markets_per_connection=1, connects=2, connects_seconds=20.0)
    async with rig(scheme_with(limits=limits)) as r:
        await r.start(1, 2, 3, 4)
        await trio.sleep(25)
        assert [round(at - r.transport.attempts[0]) for at in r.transport.attempts] == [0, 0, 20, 20]


async def test_silence_ends_a_connection_that_still_looks_open(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        await trio.sleep(29)
        socket.give(say("nothing"))
        await trio.sleep(29.5)
        assert len(r.transport.sockets) == 1
        await trio.sleep(1)
        assert socket.closed
        assert "silence" in str(r.published.reasons(1, "gap")[-1])
        assert r.feeds.connections()[0].silences == 1


async def test_the_planned_end_comes_before_the_exchanges(autojump_clock: MockClock) -> None:
    limits = Limits(lifetime_seconds=1000.0, silence_seconds=10_000.0)
    async with rig(scheme_with(limits=limits)) as r:
        r.transport.answers = books
        await r.live(1)
        await trio.sleep(949)
        assert len(r.transport.sockets) == 1
        await trio.sleep(50)
        assert len(r.transport.sockets) == 2
        assert len(r.transport.open) == 1
        assert {s.epoch for s in r.published.spreads(1)} == {7_000_001}


async def test_pings_are_sent(autojump_clock: MockClock) -> None:
    async with rig(scheme_with(ping_seconds=5.0)) as r:
        socket = await r.live(1)
        await trio.sleep(16)
        assert socket.sent.count("ping") == 3


async def test_an_answered_ping_frame_breaks_the_silence(autojump_clock: MockClock) -> None:
    async with rig(scheme_with(ping_seconds=20.0, ping=lambda self: None)) as r:
        r.transport.answers = books
        socket = await r.live(1)
        await trio.sleep(110)
        assert socket.pings == 5
        assert len(r.transport.sockets) == 1


async def test_the_exchange_asks_to_reconnect(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        socket.give(say("notice", what="reconnect"))
        await trio.sleep(2)
        assert socket.closed
        assert len(r.transport.open) == 1


async def test_maintenance_halts_and_its_end_brings_the_markets_back(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        socket.give(say("notice", what="maintenance"))
        await settled()
        assert r.state(1) == r.state(2) == "HALTED"
        socket.give(say("notice", what="online"))
        await settled()
        assert socket.sent[-2:] == ["unsub book+trades AAA-USD,BBB-USD", "sub book+trades AAA-USD,BBB-USD"]
        socket.give(snap("AAA-USD"), snap("BBB-USD"))
        await settled()
        assert r.state(1) == r.state(2) == "LIVE"


async def test_a_maintenance_without_an_end_is_asked_about(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        socket.give(say("notice", what="maintenance"))
        for _ in range(32):
            await trio.sleep(10)
            socket.give(say("nothing"))
        assert socket.closed
        assert "maintenance" in r.feeds.connections()[0].last_reason


async def test_a_broken_sequence_ends_all_books_of_the_connection(autojump_clock: MockClock) -> None:
    async with rig(FakeSequenceScheme) as r:
        await r.start(1, 2)
        socket = r.transport.open[0]
        socket.give(snap("AAA-USD", n=41), snap("BBB-USD", n=42))
        await settled()
        assert r.state(1) == r.state(2) == "LIVE"
        socket.give(upd("AAA-USD", "10.5", n=44))
        await settled()
        assert [r.published.spreads(m)[-1].state for m in (1, 2)] == ["GAP", "GAP"]
        assert all(s.bid_price != "10.5" for s in r.published.spreads(1))
        assert "expected 43, got 44" in str(r.published.reasons(1, "gap")[0])
        await trio.sleep(2)
        assert len(r.transport.sockets) == 2  # once, though each market asked for it too
        r.transport.open[0].give(snap("AAA-USD", n=7), snap("BBB-USD", n=8))
        await trio.sleep(20)
        assert r.state(1) == r.state(2) == "LIVE"
        assert len(r.transport.sockets) == 2


# -- bad frames -------------------------------------------------------------------------------------------------

BAD_FRAMES = {
    "truncated": upd("AAA-USD", "10.5")[:-10],
    "wrong shape": '{"t": "upd", "s": "AAA-USD", "b": [["1"]], "a": []}',
    "a bug after a part was applied": say("boom", s="AAA-USD"),
    "binary": b"\xff\xfe\x00" + upd("AAA-USD", "10.5").encode()[:-3],
    "eight megabytes": '{"t": "upd", "s": "AAA-USD", ' + "[" * (8 * 2**20),
    "no number": upd("AAA-USD", "ten"),
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_costs_the_market_it_names(frame: str | bytes, autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        socket.give(frame)
        await settled()
        assert [s.state for s in r.published.spreads(1)] == ["LIVE", "GAP"]
        assert r.published.spreads(1)[-1].bid_price is None
        assert socket.sent[-2:] == ["unsub book AAA-USD", "sub book AAA-USD"]
        socket.give(snap("AAA-USD", bid="9"))
        await settled()
        assert r.state(1) == "LIVE"
        assert r.published.spreads(1)[-1].bid_price == "9"
        assert r.published.statuses(2) == ["feed_started", "snapshot", "live"]
        assert len(r.transport.sockets) == 1


@pytest.mark.parametrize("frame", ["<html>bad gateway</html>", b"\x00\x01", "", "null"])
async def test_a_frame_that_names_nobody_costs_all_of_its_connection(
    frame: str | bytes, autojump_clock: MockClock
) -> None:
    async with rig(scheme_with(limits=Limits(markets_per_connection=2))) as r:
        await r.live(1, 2)
        await r.live(3)
        first = r.transport.sockets[0]
        first.give(frame)
        await settled()
        assert [r.published.statuses(m).count("gap") for m in (1, 2, 3)] == [1, 1, 0]
        first.give(snap("AAA-USD"), snap("BBB-USD"))
        await settled()
        assert [r.state(m) for m in (1, 2, 3)] == ["LIVE"] * 3
        assert sum(r.feeds.connections()[0].errors.values()) == 1


async def test_unknown_kinds_are_counted_and_bounded(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        socket.give(*(say(f"kind {i % 500}") for i in range(1000)))
        await settled()
        unknown = r.feeds.connections()[0].unknown
        assert unknown["kind 0"] == 2
        assert sum(unknown.values()) == 1000
        assert len(unknown) <= 101
        assert r.state(1) == "LIVE"


async def test_what_has_arrived_is_drained_without_a_wait_for_each_frame(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        waits = socket.receives
        socket.give(*(upd("AAA-USD", f"10.{i}") for i in range(1, 100)))
        await settled()
        assert socket.receives - waits <= 2
        waits = socket.receives
        socket.give(*(upd("AAA-USD", f"9.{i}") for i in range(1, 1001)))
        await settled()
        assert 1000 / 128 <= socket.receives - waits <= 12  # but others get their turn


# -- refusals ---------------------------------------------------------------------------------------------------


async def test_a_refused_market_is_halted_and_asked_for_again(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        await r.start(2)
        socket.give(say("refuse", s="BBB-USD", why="not supported"))
        await settled()
        assert (r.state(1), r.state(2)) == ("LIVE", "HALTED")
        for _ in range(4):
            await trio.sleep(20)
            socket.give(say("nothing"))
            if socket.sent[-1] == "sub book BBB-USD":
                break
        socket.give(snap("BBB-USD"))
        await settled()
        assert r.state(2) == "LIVE"


async def test_a_refusal_without_a_name_is_for_those_without_an_answer(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1)
        socket.give(say("ack", s="AAA-USD", ch="book"), say("ack", s="AAA-USD", ch="trades"))
        await r.start(2)
        socket.give(say("refuse", why="too many"))
        await settled()
        assert (r.state(1), r.state(2)) == ("LIVE", "HALTED")


# -- bugs and repairs -------------------------------------------------------------------------------------------


async def test_a_bug_in_a_scheme_costs_a_reconnect_not_the_node(autojump_clock: MockClock) -> None:
    class Buggy(FakeScheme):
        broken = True

        def greeting(self) -> list[str]:
            if Buggy.broken:
                raise RuntimeError("a bug in the greeting")
            return []

    with capture_logs() as logs:
        async with rig(Buggy) as r:
            await r.start(1)
            await trio.sleep(20)
            assert r.feeds.connections()[0].bugs >= 3
            Buggy.broken = False
            await until(lambda: bool(r.transport.open))
            await settled()
            r.transport.open[0].give(snap("AAA-USD"))
            await settled()
            assert r.state(1) == "LIVE"
    assert any(entry["log_level"] == "error" and entry["exc_info"] for entry in logs)


async def test_a_market_that_cannot_be_repaired_moves_to_another_connection(autojump_clock: MockClock) -> None:
    async with rig() as r:
        socket = await r.live(1, 2)
        answered = 0
        for _ in range(60):
            if socket.sent.count("sub book AAA-USD") >= answered:
                answered += 1
                socket.give(upd("AAA-USD", "10.5")[:-10])
            socket.give(upd("BBB-USD", "10.2"))
            await trio.sleep(1)
            if len(r.transport.sockets) > 1:
                break
        assert len(r.transport.open) == 2
        assert not socket.closed
        r.transport.sockets[1].give(snap("AAA-USD"))
        await settled()
        assert r.state(1) == r.state(2) == "LIVE"
        assert r.published.statuses(2).count("gap") == 0
