"""Two hundred clients at once, of which some cancel and some vanish, while a handler crashes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from probe_service import act, running

from level4.rpc.client import connect
from level4.rpc.errors import InternalError

CLIENTS, CALLS = 200, 3
CROWD = Path(__file__).with_name("crowd.py")


async def test_a_crowd_is_served_and_the_loop_stays_responsive(report: Callable[[str], None]) -> None:
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = trio.current_time() + 0.002
            await trio.sleep_until(due)
            lags.append(trio.current_time() - due)

    async with running() as served, trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        command = [sys.executable, str(CROWD), str(served.port), str(CLIENTS), str(CALLS)]
        began = trio.current_time()
        async with connect("127.0.0.1", served.port) as control:
            with trio.fail_after(120):
                async with trio.open_nursery() as crashing:

                    async def crash_now_and_then() -> None:
                        while True:
                            with pytest.raises(InternalError):
                                await control.start_market(act("crash"))
                            await trio.sleep(0.1)

                    crashing.start_soon(crash_now_and_then)
                    crowd = await trio.run_process(command, capture_stdout=True)
                    crashing.cancel_scope.cancel()
            took = trio.current_time() - began
            await served.probe.until(running=0)  # the hanging streams are noticed and cancelled
            await control.start_market(act("echo"))
        nursery.cancel_scope.cancel()
    lags.sort()
    p50, p99 = (1000 * lags[int(len(lags) * share)] for share in (0.5, 0.99))
    lag = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {lags[-1]:.3f} s"
    report(f"{CLIENTS} clients in {took:.1f} s: event-loop lag {lag}")
    assert json.loads(crowd.stdout) == {
        "right": CLIENTS * CALLS,
        "cancelled": CLIENTS // 5,
        "left hanging": CLIENTS // 5,
    }
    assert served.stats.in_flight == 0
    assert p99 < 1000  # shared, slow cores; the point is that nothing blocks the loop for long
