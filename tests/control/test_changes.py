"""Watchers see the newest state, whatever their pace, and may leave at any time."""

from __future__ import annotations

import trio
import trio.testing

from level4.control.changes import Changes


async def test_every_watcher_sees_the_newest_state_and_a_slow_one_skips() -> None:
    changes, state = Changes(), [0]
    seen: dict[str, list[int]] = {"fast": [], "slow": []}
    go_on = trio.Event()

    async def watch(name: str) -> None:
        async for now in changes.follow(lambda: state[0]):
            seen[name].append(now)
            if name == "slow" and now == 0:
                await go_on.wait()
            if now == 3:
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, "fast")
        nursery.start_soon(watch, "slow")
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            state[0] += 1
            changes.notify()
        go_on.set()
    assert seen == {"fast": [0, 1, 2, 3], "slow": [0, 3]}


async def test_a_change_while_the_state_is_handled_is_not_missed() -> None:
    changes, state = Changes(), ["old"]
    states = changes.follow(lambda: state[0])
    assert await anext(states) == "old"
    state[0] = "new"
    changes.notify()
    with trio.fail_after(1):
        assert await anext(states) == "new"
    with trio.move_on_after(0.05) as nothing_more:
        await anext(states)
    assert nothing_more.cancelled_caught
