"""Checks of the machine: its clock and its file descriptors."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable
from typing import Final

from level4.ops.findings import Finding, fail, ok, warn

_OWN_DESCRIPTORS: Final = 64
"""The program itself, Kafka, HTTP."""
_PER_MARKET: Final = 4
"""Book and trades on sockets of their own, twice while they are replaced."""
_CALLERS: Final = 512
"""Connections to the control service (`level4.rpc.gate.Limits`)."""

_UNSYNCHRONISED: Final = 0x40
_WRONG_SECONDS: Final = 1.0
_ERROR: Final = -1


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>, as far as it is looked at; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 512),
    )


def kernel_clock() -> tuple[bool, float] | None:
    """Whether the kernel thinks its clock is synchronised, and its greatest error in seconds. None: not told here."""
    if sys.platform != "linux":
        return None
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = _Timex()
    if adjtimex(ctypes.byref(state)) == _ERROR:
        return None
    return not state.status & _UNSYNCHRONISED, state.maxerror / 1e6


def check_clock(
    offsets: list[float], kernel: Callable[[], tuple[bool, float] | None] = kernel_clock
) -> list[Finding]:
    """`offsets`: seconds by which servers' clocks are ahead of ours, each within half a second."""
    findings = []
    told = kernel()
    if told is None:
        findings.append(warn("clock", "the kernel does not tell whether its clock is synchronised"))
    elif told[0]:
        findings.append(ok("clock", f"synchronised, as the kernel sees it; greatest error {told[1]:.3f} s"))
    else:
        findings.append(
            warn("clock", "not synchronised, as the kernel sees it", "run chrony or another NTP client on this machine")
        )
    if offsets:
        middle = sorted(offsets)[len(offsets) // 2]
        text = f"{abs(middle):.1f} s {'behind' if middle > 0 else 'ahead of'} {len(offsets)} servers (± 0.5 s)"
        if abs(middle) > _WRONG_SECONDS:
            findings.append(fail("clock", text, "set the clock: every time in the events comes from it"))
        else:
            findings.append(ok("clock", text))
    return findings


def check_descriptors(max_feeds: int, limit: int | None = None) -> Finding:
    """`limit`: the process's soft limit unless told otherwise."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    least = _OWN_DESCRIPTORS + _PER_MARKET * max_feeds
    wanted = least + _CALLERS
    text = f"{'unlimited' if limit == resource.RLIM_INFINITY else limit} file descriptors, {max_feeds} markets at most"
    if limit != resource.RLIM_INFINITY and limit < least:
        return fail("descriptors", f"{text} need {least}", f"raise the limit (ulimit -n, LimitNOFILE) to {wanted}")
    if limit != resource.RLIM_INFINITY and limit < wanted:
        return warn("descriptors", f"{text} and {_CALLERS} callers need {wanted}", f"ulimit -n {wanted}")
    return ok("descriptors", text)


def check_folder(path: os.PathLike[str]) -> Finding:
    """The folder of the instrument lists."""
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - of whatever kind of path
    except OSError as error:
        return warn("cache", f"{os.fspath(path)}: {error.strerror}", "LEVEL4_CACHE_DIR names another folder")
    if not os.access(path, os.W_OK):
        return warn("cache", f"{os.fspath(path)} cannot be written", "LEVEL4_CACHE_DIR names another folder")
    return ok("cache", f"{os.fspath(path)} can be written")
