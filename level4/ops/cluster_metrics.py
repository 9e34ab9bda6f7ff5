"""Metrics of membership: who this node believes to be there, and how gossip gets through.

Whether all nodes believe the same shows only beside each other, so the view has a number: equal where it is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from level4.ops.metrics import Source
from level4.swim.member import State
from level4.swim.membership import Membership
from level4.swim.packet import Refusal

_COUNTERS: Final = {
    "sent": "Datagrams sent.",
    "sent_bytes": "Bytes sent.",
    "received": "Datagrams received.",
    "received_bytes": "Bytes received.",
    "challenges": "Challenges sent: first contacts, or replays.",
    "probes": "Probes of other members.",
    "failed_probes": "Probes that were not answered.",
    "refutations": "Suspicions of this node that it had to contradict.",
    "rumours_refused": "Rumours that were too far ahead, or of too many members.",
    "lags": "Times this process did not run for longer than a probe may take.",
}
"""Fields of `level4.swim.events.Stats`."""
_VIEW_BITS: Final = 32
"""Of the view's 64: a sample is a double, which holds no more than 53 exactly."""


class GossipSource(Protocol):
    """What is asked of `level4.cluster.gossip.Gossip`."""

    @property
    def running(self) -> bool: ...

    @property
    def membership(self) -> Membership: ...


def cluster_metrics(gossip: GossipSource) -> Source:
    """Nothing before gossip runs."""

    def collect() -> Iterable[Metric]:
        return list(_look(gossip.membership)) if gossip.running else ()

    return collect


def _look(membership: Membership) -> Iterator[Metric]:
    stats = membership.stats
    states = Counter(member.state for member in membership.members(dead=True))
    members = GaugeMetricFamily("level4_cluster_members", "Members, by what this node believes.", labels=("state",))
    for state in State:
        members.add_metric((state.name.lower(),), states[state])
    yield members
    view = membership.view % 2**_VIEW_BITS
    yield GaugeMetricFamily("level4_cluster_view", "Number of this node's view; equal where it is the same.", view)
    yield GaugeMetricFamily("level4_cluster_health_score", "How much this node doubts itself.", membership.health)
    for name, doc in _COUNTERS.items():
        yield CounterMetricFamily(f"level4_cluster_{name}", doc, getattr(stats, name))
    dropped = CounterMetricFamily("level4_cluster_dropped", "Datagrams not believed, by reason.", labels=("reason",))
    for reason in Refusal:
        dropped.add_metric((reason,), stats.dropped[reason])
    yield dropped
