"""Tell any number of watchers that something changed, without a queue for any of them.

A watcher is told *that* something changed and then reads the present state itself. So a slow one skips states in
between but never the newest, the memory is that of one event, and whoever changes something never waits: `notify` is
cheap enough to be called at every transition of a feed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

import trio

T = TypeVar("T")


class Changes:
    def __init__(self) -> None:
        self._changed = trio.Event()
        self._followers: WeakSet[_Following[Any]] = WeakSet()

    @property
    def watched(self) -> bool:
        """Whether anybody follows."""
        return bool(self._followers)

    def notify(self) -> None:
        """Something changed. Call it in trio's thread."""
        self._changed.set()
        self._changed = trio.Event()

    def next(self) -> trio.Event:
        """Set at the next change."""
        return self._changed

    def follow(self, read: Callable[[], T]) -> AsyncIterator[T]:
        """`read()` at once, and again after every change. May be left at any point."""
        following = _Following(self, read)
        self._followers.add(following)
        return following


class _Following(Generic[T]):
    """Not an async generator: those have to be closed by whoever leaves them early."""

    def __init__(self, changes: Changes, read: Callable[[], T]) -> None:
        self._changes = changes
        self._read = read
        self._changed: trio.Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._changed is None:
            await trio.lowlevel.checkpoint()
        else:
            await self._changed.wait()
        self._changed = self._changes.next()
        return self._read()
