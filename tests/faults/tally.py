"""What all runs of the matrix came to: protocol × fault.

A run comes as a line of JSON with the report of its test, so that it may have run in another process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from matrix import Outcome
from strikes import Kind

_HEAD = (
    f"{'protocol':<18}{'fault':<10}{'shown':<9}{'runs':>5}{'marked':>7}{'within':>7}{'right':>6}"
    f"{'wrong records':>14}{'wrong frames':>13}{'longest':>8}{'repaired':>9}"
)
_LEGEND = (
    "at once: by numbers, checksum or shape; counted: by 50 old updates in a row, or silence; late: by a checksum that",
    "comes now and then; harmless; blind: not at all",
    "marked: runs with a mark; within: frames from fault to mark, at most; right: unmarked and never wrong",
    "wrong records: LIVE records that were not true; wrong frames: after which a consumer is wrong, in all runs",
    "longest: such frames in one run; repaired: by itself, or (where blind) by one planned reconnect",
)


CELL = "frame fault"
"""The name under which a run comes with the report of its test."""


def cell(protocol: str, kind: Kind, shown: str, outcome: Outcome) -> str:
    return json.dumps((protocol, kind, shown, asdict(outcome)))


class Table:
    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], tuple[str, list[Outcome]]] = {}

    def add(self, text: str) -> None:
        """Take a run, as `cell` wrote it."""
        protocol, kind, shown, outcome = json.loads(text)
        self.cells.setdefault((protocol, kind), (shown, []))[1].append(Outcome(**outcome))

    def lines(self) -> Iterator[str]:
        yield from _LEGEND
        yield _HEAD
        for (protocol, kind), (shown, outcomes) in sorted(self.cells.items()):
            marks = [each.frames_to_mark for each in outcomes if each.frames_to_mark is not None]
            right = sum(each.frames_to_mark is None and not each.wrong_turns for each in outcomes)
            wrong = sum(len(each.wrong_records) for each in outcomes)
            turns = [each.wrong_turns for each in outcomes]
            yield (
                f"{protocol:<18}{kind:<10}{shown:<9}{len(outcomes):>5}{len(marks):>7}{max(marks, default='-'):>7}"
                f"{right:>6}{wrong:>14}{sum(turns):>13}{max(turns):>8}{sum(each.repaired for each in outcomes):>9}"
            )
        runs = sum(len(outcomes) for _, outcomes in self.cells.values())
        told = [o for shown, outcomes in self.cells.values() if shown in ("at once", "counted") for o in outcomes]
        wrong = sum(bool(each.wrong_records) for each in told)
        yield f"{runs} runs; of {len(told)} whose protocol shows the fault, {wrong} published anything wrong"

