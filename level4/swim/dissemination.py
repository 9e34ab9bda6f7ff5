"""Rumours on their way: each is sent a bounded number of times, the least sent first, within a byte budget.

At most one rumour per name is kept: a newer one about the same name takes the place of the older. Beyond the limit, the
one that was sent most is dropped for a new one. A rumour that does not fit is left for a packet with more room; records
are bounded so that each fits into an otherwise empty packet.
"""

from __future__ import annotations

from typing import Final

MISSES_BEFORE_FULL: Final = 4
"""Rumours that may not fit before the packet is taken for full."""


class Dissemination:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._levels: list[dict[str, bytes]] = []
        """Times sent → name → part. Newest last."""
        self._level_of: dict[str, int] = {}

    def add(self, name: str, part: bytes) -> None:
        """Spread a rumour about `name` from now on, in place of an older one."""
        self.drop(name)
        if len(self._level_of) >= self.limit:
            self.drop(next(iter(next(level for level in reversed(self._levels) if level))))
        if not self._levels:
            self._levels.append({})
        self._levels[0][name] = part
        self._level_of[name] = 0

    def drop(self, name: str) -> None:
        level = self._level_of.pop(name, None)
        if level is not None:
            del self._levels[level][name]

    def take(self, budget: int, limit: int) -> list[bytes]:
        """Rumours for one packet of at most `budget` bytes together, and count them as sent. One that was sent `limit`
        times is forgotten."""
        taken: list[bytes] = []
        moved: list[tuple[int, str, bytes]] = []
        misses = 0
        for level, rumours in enumerate(self._levels):
            for name in reversed(rumours):
                part = rumours[name]
                if len(part) > budget:
                    misses += 1
                    if misses > MISSES_BEFORE_FULL:
                        break
                    continue
                budget -= len(part)
                taken.append(part)
                moved.append((level, name, part))
            if misses > MISSES_BEFORE_FULL:
                break
        for level, name, part in moved:
            del self._levels[level][name]
            if level + 1 >= limit:
                del self._level_of[name]
                continue
            if level + 1 == len(self._levels):
                self._levels.append({})
            self._levels[level + 1][name] = part
            self._level_of[name] = level + 1
        while self._levels and not self._levels[-1]:
            self._levels.pop()
        return taken

    def clear(self) -> None:
        self._levels.clear()
        self._level_of.clear()

    def __len__(self) -> int:
        return len(self._level_of)

    def __contains__(self, name: object) -> bool:
        return name in self._level_of

    def __bool__(self) -> bool:
        return bool(self._level_of)
