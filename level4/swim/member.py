"""Who is talked about: members, and the rumours that travel about them.

A member is one life of a named node: `(name, generation)`. `generation` is the wall-clock millisecond at which that
process started, given from outside, and never changes. `incarnation` starts at 0 and only the member itself raises it.

**Rank.** Rumours about one name are ordered by `generation + incarnation`, not by generation first. A new process
outranks what is remembered of its predecessor by starting later; a process that is wrongly buried under another one of
its name outbids it by raising its incarnation, and need not change its generation (which the rest of the program has
used as its identity). With "a higher generation always wins" the second could never come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import blake2b

Address = tuple[str, int]
"""IP address in text (no host name, no scope) and port."""


class State(IntEnum):
    """What is believed of a member. ALIVE and SUSPECT are live: probed, and counted as members."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A life of a named node as known here. As a rumour (state ALIVE): its full record."""

    name: str
    generation: int
    """Milliseconds since 1970 at which the process started."""
    incarnation: int
    address: Address
    meta: bytes = b""
    """Opaque to this room. A change of it is a new incarnation."""
    state: State = State.ALIVE
    fingerprint: int = field(init=False, repr=False, compare=False)
    """64-bit hash of (name, generation, incarnation); of a whole view, the exclusive or of its live members'."""

    def __post_init__(self) -> None:
        text = f"{self.name}\0{self.generation}\0{self.incarnation}".encode()
        digest = blake2b(text, digest_size=8).digest()
        object.__setattr__(self, "fingerprint", int.from_bytes(digest, "big"))

    @property
    def rank(self) -> int:
        return self.generation + self.incarnation

    @property
    def live(self) -> bool:
        return self.state <= State.SUSPECT

    def believed(self, state: State) -> Member:
        """The same life in another state."""
        return replace(self, state=state)


@dataclass(frozen=True, slots=True)
class Accusation:
    """A rumour that a member is SUSPECT, DEAD or LEFT. Says nothing new about its address or meta."""

    state: State
    name: str
    generation: int
    incarnation: int
    accuser: str
    """Name of the member that says so first-hand; of the member itself if it left. Empty: nobody first-hand."""

    @property
    def rank(self) -> int:
        return self.generation + self.incarnation


Rumour = Member | Accusation
