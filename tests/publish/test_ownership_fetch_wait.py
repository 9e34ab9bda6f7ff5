"""How long fetches wait is learnt from own records: long where nothing is late for it, short elsewhere."""

from __future__ import annotations

import pytest
import trio

from level4.ops.kafka import kafka_settings
from level4.ops.settings import load
from level4.publish import EmbeddedBroker, LogSettings, OwnershipLog, ownership
from level4.publish.fetch_wait import FIRST_TRIAL, LATE_SECONDS, LONG_MS, SHORT_MS, FetchWait

PROMPT, LATE = 0.0, 2 * LATE_SECONDS


def records_until(wait: FetchWait, ms: int) -> int:
    """How many prompt records it takes until the wait is that."""
    for count in range(1, 10_000):
        wait.came_back(PROMPT)
        if wait.ms == ms:
            return count
    raise AssertionError(f"it stays at {wait.ms} ms")


def test_waits_are_long_where_no_record_is_late() -> None:
    wait = FetchWait()
    assert wait.ms == SHORT_MS
    assert records_until(wait, LONG_MS) == FIRST_TRIAL
    for _ in range(1_000):
        wait.came_back(LATE_SECONDS)
        assert wait.ms == LONG_MS


def test_trials_that_fail_become_rare_and_never_end() -> None:
    wait = FetchWait()
    counts = []
    for _ in range(12):
        counts.append(records_until(wait, LONG_MS))
        wait.came_back(LATE)
        assert wait.ms == SHORT_MS
    assert counts[:4] == [10, 20, 40, 80]
    assert counts[-2:] == [3_600, 3_600]


def test_a_late_record_of_a_short_wait_only_puts_the_trial_off() -> None:
    wait = FetchWait()
    for _ in range(FIRST_TRIAL - 1):
        wait.came_back(PROMPT)
    wait.came_back(LATE)
    assert records_until(wait, LONG_MS) == FIRST_TRIAL


@pytest.mark.broker
async def test_a_broker_that_answers_late_gets_short_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tansu looks again after half the wait; records are appended at all moments of it."""
    wait = FetchWait()
    monkeypatch.setattr(ownership, "FetchWait", lambda: wait)
    with EmbeddedBroker() as broker:
        log = OwnershipLog(
            LogSettings(kafka_settings(load({"KAFKA_ENDPOINTS": broker.endpoint}))), lambda records: None
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            with trio.fail_after(30):
                while not log.connected:  # noqa: ASYNC110 - it tells nobody
                    await trio.sleep(0.01)
                for ms in (LONG_MS, SHORT_MS):
                    while wait.ms != ms:
                        await log.append("node:me", b"{}")
                        await trio.sleep(0.037)
            nursery.cancel_scope.cancel()
