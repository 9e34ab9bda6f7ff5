"""The failure detector: one probe a period, with the help of others, and helping others.

A probe is a ping that only the life that is meant answers. Without an ack in time some others are asked to ping; a
helper that gets no answer either says so before the period ends (nack), which tells a dead target from a prober that
hears nothing. Without any ack by the end of the period, or by the nack of the last helper, the target is suspected. An
ack counts only for the probe that it answers; rumours never prove that anybody lives.
"""

from __future__ import annotations

from typing import Final

from level4.swim.core import Core, accusation
from level4.swim.member import Address, Member, State
from level4.swim.messages import Ack, Heard, Nack, Ping, PingRequest, encode
from level4.swim.rumours import Rumours

MAX_RELAYS: Final = 1024
"""Pings for others that are under way. A request beyond is not answered."""


class _Round:
    __slots__ = ("acked", "helpers", "nacks", "sequence", "target")

    def __init__(self, target: Member, sequence: int) -> None:
        self.target = target
        self.sequence = sequence
        self.acked = False
        self.helpers: set[Address] = set()
        self.nacks: set[Address] = set()


class Prober:
    def __init__(self, core: Core, rumours: Rumours) -> None:
        self._core = core
        self._rumours = rumours
        self._round: _Round | None = None
        self._relays: dict[int, tuple[Address, int]] = {}
        """Own sequence → (who asked, its sequence)."""

    def period(self, now: float) -> None:
        """End a period and begin the next."""
        core = self._core
        if self._round is not None:
            self._conclude(self._round, now)
        self._round = None
        target = core.roster.next_target()
        if target is not None:
            core.stats.probes += 1
            probe = self._round = _Round(target, core.next_sequence())
            self._ping(target, probe.sequence, now)
            timeout = core.config.probe_timeout * core.health.multiplier
            core.timers.at(now + timeout, self._ask_others, probe)
        core.timers.at(now + core.config.probe_interval * core.health.multiplier, self.period)

    def _ping(self, target: Member, sequence: int, now: float) -> None:
        parts = [encode(Ping(sequence, target.name, target.generation))]
        if target.state == State.SUSPECT and self._core.config.lifeguard:
            parts.append(encode(Heard(accusation(target))))  # the buddy system: it may refute at once
        self._core.outlet.send(target.address, parts, now)

    def _ask_others(self, probe: _Round, now: float) -> None:
        if probe.acked or probe is not self._round:
            return
        target, core = probe.target, self._core
        request = encode(PingRequest(probe.sequence, target.name, target.generation, target.address))
        for helper in core.roster.sample(core.config.indirect_probes, alive=True, besides=target.name):
            probe.helpers.add(helper.address)
            core.outlet.send(helper.address, (request,), now)

    def _conclude(self, probe: _Round, now: float) -> None:
        core = self._core
        if probe.acked:
            return
        core.stats.failed_probes += 1
        core.health.worsen(len(probe.helpers - probe.nacks) if probe.helpers else 1)
        held = core.roster.members.get(probe.target.name)
        if held is not None and held.live and held.generation == probe.target.generation:
            self._rumours.accuse(held, State.SUSPECT, now)

    def acked(self, sequence: int, now: float) -> None:
        """An ack came: of the probe under way, or one to hand on."""
        probe = self._round
        if probe is not None and sequence == probe.sequence and not probe.acked:
            probe.acked = True
            self._core.health.improve()
        elif (relay := self._relays.pop(sequence, None)) is not None:
            self._core.outlet.send(relay[0], (encode(Ack(relay[1])),), now)

    def nacked(self, sequence: int, source: Address, now: float) -> None:
        """A helper got no answer so far. When all say so, there is nothing left to wait for."""
        probe = self._round
        if probe is not None and sequence == probe.sequence and not probe.acked:
            probe.nacks |= {source} & probe.helpers
            if self._core.config.lifeguard and probe.nacks == probe.helpers:
                self._round = None
                self._conclude(probe, now)

    def help(self, request: PingRequest, source: Address, now: float) -> None:
        """Ping for somebody."""
        core = self._core
        if len(self._relays) >= MAX_RELAYS:
            return
        sequence = core.next_sequence()
        self._relays[sequence] = source, request.sequence
        ping = encode(Ping(sequence, request.name, request.generation))
        core.outlet.send(request.address, (ping,), now)
        core.timers.at(now + core.config.probe_timeout * core.config.nack_fraction, self._no_answer, sequence)
        core.timers.at(now + core.config.probe_interval, self._give_up, sequence)

    def _no_answer(self, sequence: int, now: float) -> None:
        relay = self._relays.get(sequence)
        if relay is not None:
            self._core.outlet.send(relay[0], (encode(Nack(relay[1])),), now)

    def _give_up(self, sequence: int, now: float) -> None:
        self._relays.pop(sequence, None)

    def check(self) -> None:
        assert len(self._relays) <= MAX_RELAYS
