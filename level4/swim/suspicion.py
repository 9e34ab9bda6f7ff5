"""One suspicion under way: it starts long and gets shorter with each independent accuser (LHA-Suspicion)."""

from __future__ import annotations

from level4.swim.config import suspicion_timeout


class Suspicion:
    __slots__ = ("_accusers", "_longest", "_shortest", "_wanted", "start")

    def __init__(self, accuser: str, start: float, bounds: tuple[float, float], wanted: int) -> None:
        self.start = start
        self._accusers = {accuser}
        self._shortest, self._longest = bounds
        self._wanted = wanted

    @property
    def deadline(self) -> float:
        """When the member is declared dead if it does not refute."""
        confirmations = len(self._accusers) - 1
        return self.start + suspicion_timeout(self._shortest, self._longest, self._wanted, confirmations)

    def confirm(self, accuser: str) -> bool:
        """Whether this accuser is new and still wanted."""
        if not accuser or accuser in self._accusers or len(self._accusers) > self._wanted:
            return False
        self._accusers.add(accuser)
        return True
