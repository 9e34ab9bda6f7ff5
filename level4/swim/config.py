"""Timing and bounds, as named profiles, and the few formulas that follow from them.

`FEEDS` is the default: a death is known everywhere within five seconds on one network, at about four small datagrams
per member and second. `LAN` and `WAN` are the values that are customary for clusters of hundreds and for slow links;
`LOCAL` is for several nodes on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, log10
from typing import Final

MAX_NAME_BYTES: Final = 64
MAX_META_BYTES: Final = 512
MIN_PACKET_BYTES: Final = 1024
"""The largest record, a sender, a ping and the overhead of a sealed packet fit in it, so no record is ever stuck."""
MAX_INCARNATION_JUMP: Final = 1 << 40
"""An accusation further ahead of what is held than this is refused, and a record further ahead than twice this: 35
years of generations. So a member can always answer an accusation that others would believe."""


@dataclass(frozen=True, slots=True)
class Config:
    """All times in seconds."""

    probe_interval: float = 0.5
    """The protocol period: each member probes one other in it. At least three round trips."""
    probe_timeout: float = 0.2
    """How long a direct ping may take before others are asked to ping. Less than the period."""
    indirect_probes: int = 3
    """How many members are asked. Three bring a false suspicion at 5 % loss to one in a thousand periods."""
    nack_fraction: float = 0.8
    """Share of the probe timeout after which such a helper says that it got no answer either."""
    suspicion_mult: float = 2.5
    """Shortest suspicion, in periods times log10 of the members."""
    suspicion_max_mult: float = 3.0
    """Longest suspicion (nobody confirms), in shortest ones."""
    confirmations: int = 2
    """Independent confirmations that bring a suspicion from the longest to the shortest."""
    gossip_interval: float = 0.1
    """How often news is sent to `gossip_fanout` members while there is any."""
    gossip_fanout: int = 3
    gossip_to_dead: float = 30.0
    """How long a dead member is still told, so that it can refute."""
    retransmit_mult: int = 3
    """How often a rumour is sent by one member: times log10 of the members, rounded up."""
    retransmit_floor: int = 8
    """The least of that. Without it, rumours miss somebody in small clusters at 30 % loss."""
    sync_interval: float = 10.0
    """How often the view is compared with that of a random member whatever the fingerprints say."""
    sync_quiet: float = 2.0
    """How long a view must have been unchanged before another fingerprint in a ping starts a comparison."""
    contact_interval: float = 5.0
    """How often (on average, with jitter) a seed or a remembered member that is not live is tried, for ever."""
    join_wait: float = 1.5
    """How long a newcomer waits for an answer before it is active alone."""
    packet_bytes: int = 1400
    """Largest datagram that is sent."""
    health_max: int = 8
    """The local health multiplier is below this: a slow member probes up to so many times more slowly."""
    lifeguard: bool = True
    """Local health, suspicions that start long, the buddy system, and not counting time in which this process did not
    run. Off is plain SWIM, for comparison."""
    max_members: int = 10_000
    max_tombstones: int = 2_000
    """Dead and left members that are remembered; the oldest go first."""
    tombstone_seconds: float = 24 * 3600.0
    max_remembered: int = 256
    """Addresses of dead members that are tried for ever."""

    def __post_init__(self) -> None:
        if not 0 < self.probe_timeout < self.probe_interval:
            raise ValueError(
                f"expected 0 < probe_timeout < probe_interval, got {self.probe_timeout} and {self.probe_interval} s"
            )
        if not MIN_PACKET_BYTES <= self.packet_bytes <= 65_000:
            raise ValueError(f"expected packet_bytes from {MIN_PACKET_BYTES} to 65000, got {self.packet_bytes}")

    def retransmits(self, members: int) -> int:
        """How often one member sends a rumour, in a cluster of so many live members."""
        return max(self.retransmit_floor, self.retransmit_mult * ceil(log10(members + 1)))

    def suspicion_bounds(self, members: int) -> tuple[float, float]:
        """Shortest and longest suspicion in seconds."""
        shortest = self.suspicion_mult * max(1.0, log10(max(members, 1))) * self.probe_interval
        return shortest, shortest * self.suspicion_max_mult if self.lifeguard else shortest

    def wanted_confirmations(self, members: int) -> int:
        """Confirmations that can be had: everybody but the accuser and the accused may give one."""
        return max(0, min(self.confirmations, members - 2)) if self.lifeguard else 0


def suspicion_timeout(shortest: float, longest: float, wanted: int, confirmations: int) -> float:
    """Length of a suspicion: from longest to shortest, logarithmic in the confirmations (Lifeguard, DSN 2018)."""
    if confirmations >= wanted:
        return shortest
    return longest - (longest - shortest) * log(confirmations + 1) / log(wanted + 1)


FEEDS: Final = Config()
LAN: Final = Config(
    probe_interval=1.0, probe_timeout=0.5, suspicion_mult=4.0, suspicion_max_mult=6.0,
    gossip_interval=0.2, retransmit_mult=4, sync_interval=30.0, sync_quiet=3.0, contact_interval=10.0, join_wait=3.0,
)  # fmt: skip
WAN: Final = Config(
    probe_interval=5.0, probe_timeout=3.0, suspicion_mult=6.0, suspicion_max_mult=6.0, confirmations=4,
    gossip_interval=0.5, gossip_fanout=4, gossip_to_dead=60.0, retransmit_mult=4,
    sync_interval=60.0, sync_quiet=10.0, contact_interval=15.0, join_wait=10.0,
)  # fmt: skip
LOCAL: Final = Config(
    probe_interval=0.25, probe_timeout=0.1, indirect_probes=1, gossip_interval=0.05, gossip_to_dead=15.0,
    sync_interval=5.0, sync_quiet=1.0, contact_interval=2.0, join_wait=0.75,
)  # fmt: skip
PROFILES: Final[dict[str, Config]] = {"feeds": FEEDS, "lan": LAN, "wan": WAN, "local": LOCAL}
