"""Who published which market when, as a consumer of Kafka sees it who follows the rule of epochs.

A market is covered while its newest accepted spread record is LIVE. It is uncovered from a record that is not LIVE,
or from the last record of a host that was superseded, to the next LIVE record. (A quiet market's last record may be
older than its host's end, so this is never too short.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from level4.model import FeedState, Spread
from level4.model.events import RUNS_PER_TERM


@dataclass
class Stream:
    """The spread records of one market, those of superseded hosts left out."""

    accepted: list[Spread] = field(default_factory=list)
    late: list[Spread] = field(default_factory=list)
    """Records of a lower epoch than was seen: a consumer drops them."""

    def add(self, event: Spread) -> None:
        last = self.accepted[-1] if self.accepted else None
        if last is not None and event.epoch < last.epoch:
            self.late.append(event)
        elif last is None or (event.epoch, event.seq) > (last.epoch, last.seq):
            self.accepted.append(event)

    @property
    def host(self) -> str | None:
        """Who publishes it LIVE now, as far as is known."""
        last = self.accepted[-1] if self.accepted else None
        return last.node if last is not None and last.state is FeedState.LIVE else None

    def uncovered(self, since_us: int) -> list[tuple[int, int]]:
        """Spans (microseconds since 1970) without a host that knows the book, that ended after `since_us`."""
        spans = []
        gone: int | None = None
        before: Spread | None = None
        for event in self.accepted:
            if event.state is not FeedState.LIVE:
                gone = event.published_us if gone is None else gone
            else:
                if gone is None and before is not None and before.node != event.node:
                    gone = before.published_us
                if gone is not None:
                    spans.append((gone, event.published_us))
                gone = None
            before = event
        return [span for span in spans if span[1] > since_us]

    def first_live(self, after_us: int, but: str) -> int | None:
        """When another node than that one first published it LIVE after that time, in a term of its own."""
        return next(
            (
                event.published_us
                for event in self.accepted
                if event.published_us > after_us and event.node != but and event.state is FeedState.LIVE
            ),
            None,
        )

    def hosts(self, since_us: int) -> set[tuple[str, int]]:
        """Nodes and terms whose records of that time on were accepted."""
        return {(one.node, one.epoch // RUNS_PER_TERM) for one in self.accepted if one.published_us > since_us}
