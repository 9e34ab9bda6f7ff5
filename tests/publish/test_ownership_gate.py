"""The publisher's door: shut while the lease is lost, and for markets that another node has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio

from level4.model import STATUS, Status
from level4.model.events import RUNS_PER_TERM
from level4.publish import EmbeddedBroker, KafkaPublisher, KafkaSettings, Layout, PublisherSettings

pytestmark = pytest.mark.broker

ReadBack = Callable[[str, str, int], list[Any]]


def status(market_id: int | None, term: int, reason: str) -> Status:
    return Status(
        market_id=market_id, event="live", state=None, reason=reason, member=None, epoch=term * RUNS_PER_TERM + 1,
        seq=0, node="node1", published_us=0,
    )  # fmt: skip


async def test_what_is_not_ours_is_dropped_and_counted_and_a_shut_door_keeps_the_rest(
    broker: EmbeddedBroker, read_back: ReadBack
) -> None:
    settings = PublisherSettings(KafkaSettings((broker.endpoint,), layout=Layout(partitions=4)))
    publisher = KafkaPublisher(settings, "node1")
    open_door = False
    publisher.may_publish = lambda: open_door
    async with trio.open_nursery() as nursery:
        await nursery.start(publisher.run)
        await publisher.first_connected()
        publisher.put(status(1, 100, "old"))
        publisher.put(status(2, 100, "ours"))
        publisher.put(status(None, 100, "of the node"))
        assert await publisher.drain(0.3) == 3, "the door is shut"
        publisher.fence(1, 101)
        publisher.fence(1, 90)
        open_door = True
        publisher.put(status(1, 101, "new"))
        assert await publisher.drain(10) == 0
        stats = publisher.stats
        assert (stats.fenced, stats.acked) == (1, 3)
        nursery.cancel_scope.cancel()
    reasons = [json.loads(record.value)["reason"] for record in read_back(broker.endpoint, STATUS, 3)]
    assert sorted(reasons) == ["new", "of the node", "ours"]
