"""Keys of the cluster that change while it runs.

The file is looked at again and again, as those of certificates and tokens are. What is half written or wrong is not
taken: the keys that were good stay in force, and the log says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
import trio

from level4.ops.allowed import split_keys

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
_MAX_BYTES: Final = 1 << 16


async def follow_keys(path: Path, in_force: Sequence[bytes], take: Callable[[Sequence[bytes]], object]) -> None:
    """Until cancelled: hand the file's keys over whenever they are others than those in force."""
    known, refused = tuple(in_force), ""
    while True:
        await trio.sleep(LOOK_SECONDS)
        now = _read(path)
        if now == known:
            refused = ""
        elif isinstance(now, str):
            if now != refused:
                refused = now
                log.error("keys not taken; the ones before stay in force", file=str(path), reason=now)
        else:
            known, refused = now, ""
            take(now)
            log.warning("keys read anew, because they changed", file=str(path), keys=len(now))


def _read(path: Path) -> tuple[bytes, ...] | str:
    """The keys, or why there are none."""
    try:
        with path.open("rb") as file:
            keys = split_keys(file.read(_MAX_BYTES).decode())
    except (OSError, ValueError) as error:
        return str(error)
    return keys or "no key"
