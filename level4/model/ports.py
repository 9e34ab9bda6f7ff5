"""The small Protocols by which rooms meet: what a scheme calls, what a market asks for, where events go.

No message objects pass between wire and book: a scheme decodes a frame into typed Structs and calls the market it
names directly. Levels are the pairs of price and size text as decoded. Times of the exchange are passed as decoded
(text or integer) and converted only when an event is made. Live connections, replay and tests implement the same
Protocols.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

from level4.model.events import Event, TakerSide

Level = tuple[str, str]
"""Price text, size text, exactly as on the wire. Size is absolute; zero deletes."""

Row = tuple[int, str | None, str | int | None]
"""A row of a book whose rows have names: its id (unique on its side), its price text unless the exchange leaves it out,
its size (absolute; None in a delete)."""

RowChange = Literal["partial", "insert", "update", "delete"]
"""`partial`: the whole book."""

RawTime = str | int | None
"""A time as the exchange spells it; the scheme's `exchange_us` converts it."""


class MarketSink(Protocol):
    """One market as its scheme sees it. All calls of one frame are applied before anything is published."""

    def snapshot(
        self,
        bids: list[Level],
        asks: list[Level],
        last: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
        depth: int | None = None,
    ) -> None:
        """The whole book. `last`: its sequence number; `depth`: what later updates are cut to."""

    def delta(
        self,
        bids: list[Level],
        asks: list[Level],
        first: int | None = None,
        last: int | None = None,
        previous: int | None = None,
        checksum: int | None = None,
        exchange_time: RawTime = None,
    ) -> None:
        """Changed levels, with whatever the protocol gives to prove that none is missing."""

    def rows(self, change: RowChange, bids: list[Row], asks: list[Row], exchange_time: RawTime = None) -> None:
        """A snapshot or changes, in place of the two above, for a policy with `named_rows`."""

    def trade(
        self, side: TakerSide | None, price: str, size: str, trade_id: str | None, exchange_time: RawTime = None
    ) -> None:
        """One trade, with the taker's side."""

    def last_trade(self, trade_id: str) -> None:
        """The last trade before the subscription, which the exchange repeats as history: not published, but where ids
        rise by one it shows a loss before the first one that is."""

    def heartbeat(self) -> None:
        """Evidence that this market's subscription is alive though nothing changed."""


class Notice(StrEnum):
    """What an exchange announces about a whole connection."""

    MAINTENANCE = "maintenance"
    ONLINE = "online"
    RECONNECT = "reconnect"


class Markets(Protocol):
    """The markets of one connection, and the connection itself, as a scheme sees them."""

    def __getitem__(self, native_symbol: str, /) -> MarketSink:
        """Never fails: a market that is not ours is a sink that drops what it gets."""

    def subscribed(self, native_symbol: str, channel: str) -> None: ...

    def refused(self, native_symbol: str | None, reason: str) -> None: ...

    def notice(self, notice: Notice, text: str) -> None: ...

    def unknown(self, kind: str) -> None:
        """A message no rule knows: counted, logged once per kind, never fatal."""

    def sequence(self, number: int) -> None:
        """A number that must rise by one with every frame of the connection; a break ends all its books."""


class Commands(Protocol):
    """What one market asks of its feed. A call only notes the wish; the feed acts after the frame."""

    def fetch_snapshot(self) -> None:
        """Get the book by REST."""

    def resubscribe(self) -> None:
        """Unsubscribe and subscribe this market's book."""

    def reconnect(self, reason: str) -> None:
        """Drop the connection that carries this market's book and make a new one."""

    def probe(self) -> None:
        """Find out whether the book is still right: by REST where the book is seeded by REST (the answer goes to the
        market's `probed`), else by subscribing once more without a word to the market (the answer is a snapshot in
        the stream)."""


class Publisher(Protocol):
    def put(self, event: Event) -> None:
        """Take an event for publishing. Never blocks, never raises; what cannot be kept is counted and marked."""
