"""Load and faults for a while: nothing grows, nothing hangs, and in the end every book is the exchange's."""

from __future__ import annotations

import json
import os

import pytest
import trio
from soaking import Report, soak

SHORT_SECONDS, LONG_SECONDS = 20.0, 300.0
MAX_LAG_MS, MAX_MIB_PER_MINUTE = 20.0, 0.5
MAX_BLOCKS_PER_MINUTE = 10_000
"""Well under one for each event (20,000 a minute), and above what books and what is kept for them come and go by."""


def judge(report: Report) -> None:
    print(json.dumps(report.content(), indent=1))
    where = f"seed {report.seed}"
    assert not report.not_live, f"{where}: {report.not_live}"
    assert not report.different, f"{where}: books differ: {report.different}"
    assert report.tasks_left == 0, f"{where}: {report.tasks_left} tasks left"
    assert report.events["gap"] > 0, f"{where}: no fault was seen"
    assert report.frames_per_second > 500, f"{where}: {report.frames_per_second:.0f} frames/s is no load"
    if report.load < 1:  # on a busy machine the lag is the machine's
        assert report.lag_ms["p99"] < MAX_LAG_MS, f"{where}: {report.lag_ms}"
    if report.blocks_per_minute is not None:
        assert report.blocks_per_minute < MAX_BLOCKS_PER_MINUTE, f"{where}: something is kept that should not be"
    if report.rss_mib_per_minute is not None:
        assert report.rss_mib_per_minute < MAX_MIB_PER_MINUTE, f"{where}: memory grows"


async def test_a_short_soak() -> None:
    judge(await soak(SHORT_SECONDS, seed=1))


@pytest.mark.slow
async def test_a_long_soak() -> None:
    """Five minutes, or LEVEL4_SOAK_SECONDS; the figures go to the file LEVEL4_SOAK_RESULT, if that is set."""
    report = await soak(float(os.environ.get("LEVEL4_SOAK_SECONDS", LONG_SECONDS)), seed=2)
    if result := os.environ.get("LEVEL4_SOAK_RESULT"):
        await trio.Path(result).write_text(json.dumps(report.content()))
    judge(report)
