"""Metrics of membership: who this node believes to be there, how gossip gets through; and how fast failovers are.

Whether all nodes believe the same shows only beside each other, so the view has a number: equal where it is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from level4.ops.histogram import Histogram
from level4.ops.metrics import Source
from level4.swim.events import Change
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
_FAILOVER_BOUNDS: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0)
_VIEW_BITS: Final = 32
"""Of the view's 64: a sample is a double, which holds no more than 53 exactly."""


class GossipSource(Protocol):
    """What is asked of `level4.cluster.gossip.Gossip`."""

    @property
    def running(self) -> bool: ...

    @property
    def membership(self) -> Membership: ...


class FailoverSource(Protocol):
    """What is asked of `level4.cluster.failovers.Failovers`."""

    observe: Callable[[float], object]

    @property
    def pending(self) -> int: ...


class FailoverMetrics:
    """Markets that this node took over from hosts that were gone. A `Source`."""

    def __init__(self, failovers: FailoverSource) -> None:
        self._failovers = failovers
        self._seconds = Histogram(_FAILOVER_BOUNDS)
        failovers.observe = self._seconds.observe

    def __call__(self) -> Iterable[Metric]:
        doc = "From the last sign of a market's dead host in the ownership log to LIVE on this node."
        seconds = HistogramMetricFamily("level4_failover_seconds", doc)
        seconds.add_metric((), self._seconds.cumulated(), self._seconds.total)
        doc = "Markets taken over from a dead host and not LIVE yet."
        return [seconds, GaugeMetricFamily("level4_failovers_pending", doc, self._failovers.pending)]


def cluster_metrics(gossip: GossipSource, changes: Mapping[Change, int]) -> Source:
    """Membership; nothing before gossip runs. `changes`: of other members, counted."""

    def collect() -> Iterable[Metric]:
        return [*_look(gossip.membership), _changes(changes)] if gossip.running else ()

    return collect


def _changes(counts: Mapping[Change, int]) -> Metric:
    doc = "Changes of other members; suspected ones end refuted or dead."
    family = CounterMetricFamily("level4_cluster_changes", doc, labels=("change",))
    for change in Change:  # all of them: a counter that first shows as 1 has no rate
        family.add_metric((change.value,), counts.get(change, 0))
    return family


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
