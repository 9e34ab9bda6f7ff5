"""A network of memberships in virtual time: one heap of what happens next.

A datagram takes 0.5 to 2 ms, or is lost. A paused node does nothing, like a stopped process or a blocked event loop:
what arrives waits in its receive buffer up to a bound, its timers fire late, all at once, before the buffer is read
(the unkind order). A blocked node runs, but its socket neither sends nor receives until it is unblocked; both
directions wait, up to the bound (the Lifeguard paper's way to make a member slow). A killed node is silent. Nodes of
different sides of a partition do not hear each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from level4.swim.config import FEEDS, Config
from level4.swim.events import Departed, Event
from level4.swim.member import Address, Member
from level4.swim.membership import Membership
from level4.swim.packet import Keyring

if TYPE_CHECKING:
    from random import Random

CLUSTER: Final = "simulated"
FIRST_GENERATION: Final = 1_700_000_000_000
BUFFER: Final = 256
"""Datagrams that wait for a paused or blocked node; more are lost, as in a kernel."""
DELAY_SECONDS: Final = (0.0005, 0.002)


class Node:
    """A process with a membership in it."""

    __slots__ = ("address", "blocked", "buffer", "membership", "paused", "running", "side", "timer", "unsent")

    def __init__(self, membership: Membership, address: Address) -> None:
        self.membership = membership
        self.address = address
        self.running = True
        self.paused = False
        self.blocked = False
        self.side = 0
        self.unsent: list[tuple[bytes, Address]] = []
        self.buffer: list[tuple[bytes, Address]] = []
        self.timer: float | None = None
        """When the next look at its timers is planned."""


class Network:
    def __init__(
        self,
        make_random: Callable[[str], Random],
        *,
        config: Config = FEEDS,
        loss: float = 0.0,
        keyring: Keyring | None = None,
        watch: Callable[[float, Node, Event], None] = lambda now, node, event: None,
        checked: bool = False,
    ) -> None:
        """`make_random` gives a random source for a text, always the same for the same. `watch` sees all events of all
        nodes. `checked` asserts every node's invariants after each of its steps."""
        self.now = 0.0
        self.loss = loss
        self.nodes: dict[Address, Node] = {}
        """By address; the last process there."""
        self.tap: Callable[[bytes, Address, Address], None] | None = None
        """Sees (datagram, source, destination) of all that is sent."""
        self.lost: Counter[str] = Counter()
        self._config = config
        self._keyring = keyring
        self._make_random = make_random
        self._rng = make_random("network")
        self._watch = watch
        self._checked = checked
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._births = 0

    # Nodes

    def start(
        self, name: str, address: Address, *, seeds: Iterable[Address] = (), members: Iterable[Member] = (),
        generation: int | None = None, meta: bytes = b"",
    ) -> Node:  # fmt: skip
        """Start a process, in place of one that was at this address."""
        self._births += 1
        rng = self._make_random(f"node {name} {self._births}")
        membership = Membership(
            name,
            generation if generation is not None else FIRST_GENERATION + int(self.now * 1000),
            address,
            cluster=CLUSTER,
            rng=rng,
            secret=rng.randbytes(32),
            now=self.now,
            config=self._config,
            keyring=self._keyring,
            seeds=seeds,
            meta=meta,
            members=members,
        )
        node = Node(membership, address)
        if (former := self.nodes.get(address)) is not None:
            former.running = False
        self.nodes[address] = node
        self.settle(node)
        return node

    def grown(self, count: int) -> list[Node]:
        """Start nodes `node1` … that know each other, and the first three as seeds."""
        members = [Member(f"node{i + 1}", FIRST_GENERATION, 0, where(i)) for i in range(count)]
        seeds = [member.address for member in members[:3]]
        return [
            self.start(member.name, member.address, seeds=seeds, members=members, generation=member.generation)
            for member in members
        ]

    def move(self, node: Node, address: Address) -> None:
        """Its machine is given another address, and the process finds that out."""
        del self.nodes[node.address]
        self.nodes[address] = node
        node.address = address
        node.membership.set_address(address, self.now)
        self.settle(node)

    def kill(self, node: Node) -> None:
        node.running = False
        node.buffer.clear()

    def pause(self, node: Node, seconds: float) -> None:
        node.paused = True
        self.at(self.now + seconds, self._resume, node)

    def _resume(self, node: Node) -> None:
        node.paused = False
        if node.running:
            self._tick(node, self.now)
            self._read(node)

    def block(self, node: Node, seconds: float) -> None:
        node.blocked = True
        self.at(self.now + seconds, self._unblock, node)

    def _unblock(self, node: Node) -> None:
        node.blocked = False
        if node.running:
            unsent, node.unsent = node.unsent, []
            for data, destination in unsent:
                self.send(data, node.address, destination, node.side)
            self._read(node)

    def _read(self, node: Node) -> None:
        buffer, node.buffer = node.buffer, []
        for data, source in buffer:
            self._arrive(node, data, source)

    def divide(self, sides: Iterable[Iterable[Node]]) -> None:
        """Put nodes on sides; the others are on side 0."""
        for node in self.nodes.values():
            node.side = 0
        for side, nodes in enumerate(sides, 1):
            for node in nodes:
                node.side = side

    def heal(self) -> None:
        self.divide(())

    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.running]

    def agreed(self) -> bool:
        """Whether all running nodes see exactly the running ones."""
        running = self.running()
        views = {node.membership.view for node in running}
        return len(views) == 1 and len(running[0].membership.members()) == len(running)

    # Time

    def at(self, when: float, action: Callable[..., None], *arguments: object) -> None:
        """Have something done at a time."""
        self._count += 1
        heappush(self._heap, (when, self._count, action, arguments))

    def run(self, until: float) -> None:
        """Let time pass up to then."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, arguments = heappop(heap)
            action(*arguments)
        self.now = until

    def run_until(self, done: Callable[[], bool], until: float, step: float = 0.1) -> bool:
        """Let time pass until something is so, looked at every `step` seconds; False if it is not in time."""
        while not done():
            if self.now >= until:
                return False
            self.run(min(until, self.now + step))
        return True

    def send(self, data: bytes, source: Address, destination: Address, side: int = 0) -> None:
        """Put a datagram on its way."""
        if self.tap is not None:
            self.tap(data, source, destination)
        if self.loss and self._rng.random() < self.loss:
            self.lost["loss"] += 1
            return
        node = self.nodes.get(destination)
        if node is None or not node.running:
            self.lost["nobody"] += 1
        elif node.side != side:
            self.lost["partition"] += 1
        else:
            low, high = DELAY_SECONDS
            self.at(self.now + low + (high - low) * self._rng.random(), self._arrive, node, data, source)

    def _arrive(self, node: Node, data: bytes, source: Address) -> None:
        if not node.running:
            return
        if node.paused or node.blocked:
            if len(node.buffer) < BUFFER:
                node.buffer.append((data, source))
            else:
                self.lost["buffer"] += 1
            return
        node.membership.receive_datagram(data, source, self.now)
        self.settle(node)

    def _tick(self, node: Node, planned: float) -> None:
        if node.timer is None or planned < node.timer or node.paused or not node.running:
            return  # a later plan has replaced this one, or `_resume` looks again
        node.timer = None
        node.membership.handle_timer(self.now)
        self.settle(node)

    def settle(self, node: Node) -> None:
        """Send what a node has to send, show its events, and plan the next look at its timers."""
        membership = node.membership
        for data, destination in membership.datagrams_to_send(self.now):
            if not node.blocked:
                self.send(data, node.address, destination, node.side)
            elif len(node.unsent) < BUFFER:
                node.unsent.append((data, destination))
        while (event := membership.next_event()) is not None:
            self._watch(self.now, node, event)
            if isinstance(event, Departed):
                node.running = False
        timer = membership.get_timer()
        if timer is not None and (node.timer is None or timer < node.timer):
            node.timer = timer
            self.at(max(timer, self.now), self._tick, node, timer)
        if self._checked:
            membership.check()


def where(i: int) -> Address:
    """The address of the i-th node."""
    return f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}", 7946
