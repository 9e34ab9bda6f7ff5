"""Keys of the cluster that change in their file while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import trio

from level4.ops import keys
from level4.ops.keys import follow_keys

FIRST, SECOND = "11" * 32, "22" * 32


async def until(done: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not done():  # noqa: ASYNC110 - a file is looked at by time
            await trio.sleep(0.005)


async def test_good_keys_are_taken_and_others_leave_the_good_ones_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.01)
    path = tmp_path / "keys"
    path.write_text(FIRST)
    taken: list[tuple[bytes, ...]] = []
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_keys, path, [bytes.fromhex(FIRST)], lambda found: taken.append(tuple(found)))
            for wrong in (FIRST[:-2], "", None):
                if wrong is None:
                    path.unlink()
                else:
                    path.write_text(wrong)
                count = len(logs)
                await until(lambda count=count: len(logs) > count)  # type: ignore[misc]  # a default binds it now
            await trio.sleep(0.05)
            assert len(logs) == 3, "said once each"
            assert not taken
            path.write_text(f"{SECOND}\n{FIRST}\n")
            await until(lambda: bool(taken))
            nursery.cancel_scope.cancel()
    assert taken == [(bytes.fromhex(SECOND), bytes.fromhex(FIRST))]
    assert [line["log_level"] for line in logs] == ["error"] * 3 + ["warning"]
    assert FIRST not in str(logs)
