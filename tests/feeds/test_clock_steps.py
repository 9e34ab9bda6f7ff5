"""The wall clock is for stamps only: one that jumps changes nothing but stamps."""

from __future__ import annotations

import trio
from fake_exchange import books, rig, upd
from trio.testing import MockClock


async def test_a_stepped_wall_clock_harms_nothing_but_stamps(autojump_clock: MockClock) -> None:
    async with rig() as r:
        r.transport.answers = books
        socket = await r.live(1)
        for number, step in enumerate((0, 2 * 10**9, -3600 * 10**9, 10**18, 0)):
            r.wall_step_ns = step
            for size in range(40):
                await trio.sleep(0.5)
                socket.give(upd("AAA-USD", f"10.{number}{size % 9 + 1}"))
        await trio.sleep(1)
        assert {s.state for s in r.published.spreads(1)} == {"LIVE"}
        assert len({s.epoch for s in r.published.spreads(1)}) == 1
        assert r.published.statuses(1).count("alive") == 10
        assert len(r.transport.sockets) == 1
        stamps = {s.received_us // 10**12 for s in r.published.spreads(1)}
        assert len(stamps) > 1, "the clock did jump"
