"""What stands behind a set of addresses: a synthetic exchange, or a group of recordings."""

from __future__ import annotations

from typing import Protocol

from level4.simulator.address import Address
from level4.simulator.rest import Request, Response
from level4.simulator.session import Session


class Venue(Protocol):
    @property
    def exchange(self) -> str:
        """Upper case: `KRAKEN`."""

    def speaks(self, address: Address) -> bool:
        """Whether a WebSocket at this address is this venue's."""

    def answers(self, address: Address) -> bool:
        """Whether a REST request to this address is this venue's."""

    async def serve(self, session: Session) -> None:
        """Talk to one client until it is gone (ConnectionClosed)."""

    async def answer(self, request: Request) -> Response: ...

    def refusal(self, status: int, reason: str) -> Response:
        """A REST error in this exchange's style."""

    async def run(self) -> None:
        """Whatever goes on without clients."""
