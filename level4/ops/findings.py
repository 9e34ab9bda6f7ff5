"""What a check of `level4 doctor` found: a verdict, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """A node runs with it, and somebody should know."""
    FAIL = "fail"
    """A node does not do its work with it."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: Verdict
    text: str
    """What was looked at and what was seen."""
    advice: str = ""
    """What to do; empty when nothing is to be done."""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def warn(check: str, text: str, advice: str = "") -> Finding:
    return Finding(check, Verdict.WARN, text, advice)


def fail(check: str, text: str, advice: str = "") -> Finding:
    return Finding(check, Verdict.FAIL, text, advice)
