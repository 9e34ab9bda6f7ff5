"""Faults of frames, and the one that strikes in a run.

A strike waits for a frame of one market's book that it can change, lets some pass, and strikes once; `RESET` goes on
from there: all numbers of the exchange, also in later connections and in answers by REST, start anew.
"""

from __future__ import annotations

import re
from enum import StrEnum
from random import Random

from client import Wire

from level4.simulator import faults
from level4.simulator.faults import Channel, Frame


class Kind(StrEnum):
    DROP = "drop"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DELAY = "delay"
    CORRUPT = "corrupt"
    TRUNCATE = "truncate"
    GARBAGE = "garbage"
    CHECKSUM = "checksum"
    RESET = "reset"


NUMBERS = {
    "binance.coinm": r'"(?:U|u|pu|lastUpdateId)":(\d+)',
    "binance.options": r'"(?:U|u|pu|lastUpdateId)":(\d+)',
    "binance.spot": r'"(?:U|u|lastUpdateId)":(\d+)',
    "binance.usdm": r'"(?:U|u|pu|lastUpdateId)":(\d+)',
    "bitfinex.v2": r",(\d+),\d{13}\]$",
    "bybit.v5.inverse": r'"u":(\d+)',
    "bybit.v5.linear": r'"u":(\d+)',
    "bybit.v5.option": r'"u":(\d+)',
    "bybit.v5.spot": r'"u":(\d+)',
    "coinbase.advanced": r'"sequence_num":(\d+)',
    "deribit.v2": r'"(?:prev_)?change_id":(\d+)',
    "gemini.v3": r'"(?:U|u|lastUpdateId)":(\d+)',
    "hitbtc.v2": r'"sequence":(\d+)',
    "hitbtc.v3": r'"s":(\d+)',
    "kraken_futures.v1": r'"seq":(\d+)',
    "okx.v5": r'"(?:prevSeqId|seqId)":(\d+)',
    "okx.v5.rest": r'"(?:prevSeqId|seqId)":(\d+)',
    "poloniex.v2": r'"(?:lastId|id)":(\d+)',
}
"""Where the numbers of a book stand."""
CHECKSUMS = {
    "bitfinex.v2": r'"cs",(-?\d+)',
    "kraken.v1": r'"c":"(\d+)"',
    "kraken.v2": r'"checksum":(\d+)',
    "kraken_futures.v2": r'"checksum":(\d+)',
}
"""Where the checksum of a book stands."""
NUMBERED_CONNECTIONS = {"bitfinex.v2", "coinbase.advanced"}
_FIRST_NUMBER = 500
"""After a reset. Not less: a market whose number is a little behind must not come to 1, which says something else where
(Bybit) a snapshot has it."""


def kinds(protocol: str) -> list[Kind]:
    """The faults that a protocol's frames can have."""
    return [
        kind
        for kind in Kind
        if (kind is not Kind.RESET or protocol in NUMBERS)
        and (kind not in (Kind.CORRUPT, Kind.CHECKSUM) or protocol in CHECKSUMS)
    ]


class Strike:
    """`name`: what the exchange calls the market that is struck."""

    def __init__(self, protocol: str, kind: Kind, name: str, random: Random) -> None:
        self.kind = kind
        self.turn: int | None = None
        """When it struck."""
        self.wire: Wire | None = None
        self.updates: list[int] = []
        """Turns of the market's frames that have come since, the struck one among them."""
        self._name = name
        self._protocol = protocol
        self._after: int | None = None
        self._random = random
        self._held: tuple[int, Frame] | None = None
        self._wait = 1 if kind is Kind.REORDER else random.randint(2, 6)
        self._offset: int | None = None

    def arm(self) -> None:
        """Strike some frame from now on."""
        self._after = self._random.randrange(6 if self.kind in (Kind.CHECKSUM, Kind.CORRUPT) else 20)

    def frames(self, wire: Wire, arrived: list[tuple[int, Frame]]) -> list[tuple[int, str | bytes]]:
        out: list[tuple[int, str | bytes]] = []
        for turn, frame in arrived:
            if self.turn is None and self._after is not None and self._strikes(frame):
                self._after -= 1
                if self._after < 0:
                    self.turn, self.wire = turn, wire
                    self.updates.append(turn)
                    out += self._struck(turn, frame)
                    continue
            elif self.turn is not None and frame.channel is Channel.BOOK and frame.market == self._name:
                self.updates.append(turn)
            out.append((turn, self._renumbered(frame.data, wire)))
            if self._held is not None and frame.channel is Channel.BOOK and frame.market == self._name:
                self._wait -= 1
                if self._wait == 0 and wire is self.wire:
                    out.append((self._held[0], self._held[1].data))
                    self._held = None
        return out

    def body(self, body: bytes) -> bytes:
        whole = self._protocol not in NUMBERED_CONNECTIONS
        return self._lower(body.decode()).encode() if whole and self._offset is not None else body

    def _strikes(self, frame: Frame) -> bool:
        data = frame.data if isinstance(frame.data, str) else ""
        if self.kind is Kind.CHECKSUM:
            return frame.market in (None, self._name) and re.search(CHECKSUMS[self._protocol], data) is not None
        if frame.channel is not Channel.BOOK or frame.market != self._name:
            return False
        if self.kind is Kind.CORRUPT:
            return frame.top and faults.corrupt(data) != data
        return self.kind is not Kind.RESET or re.search(NUMBERS[self._protocol], data) is not None

    def _struck(self, turn: int, frame: Frame) -> list[tuple[int, str | bytes]]:
        data, kind = frame.data, self.kind
        if kind is Kind.DROP:
            return []
        if kind in (Kind.REORDER, Kind.DELAY):
            self._held = turn, frame
            return []
        if kind is Kind.DUPLICATE:
            return [(turn, data), (turn, data)]
        if kind is Kind.CORRUPT:
            return [(turn, faults.corrupt(data))]
        if kind is Kind.TRUNCATE:
            return [(turn, faults.truncate(data))]
        if kind is Kind.GARBAGE:
            return [(turn, faults.garbage(data))]
        assert isinstance(data, str)
        if kind is Kind.CHECKSUM:
            return [(turn, re.sub(CHECKSUMS[self._protocol], _another, data, count=1))]
        found = re.findall(NUMBERS[self._protocol], data)
        number = min(int(number) for number in found)
        self._offset = number - min(_FIRST_NUMBER, number // 2)
        return [(turn, self._lower(data))]

    def _renumbered(self, data: str | bytes, wire: Wire) -> str | bytes:
        """The frame as it is after a reset; a connection's own numbers are reset on that connection only."""
        if self._offset is None or (self._protocol in NUMBERED_CONNECTIONS and wire is not self.wire):
            return data
        assert isinstance(data, str)
        return self._lower(data)

    def _lower(self, text: str) -> str:
        offset = self._offset
        assert offset is not None

        def lower(found: re.Match[str]) -> str:
            start, end = found.start(1) - found.start(), found.end(1) - found.start()
            return f"{found.group()[:start]}{int(found.group(1)) - offset}{found.group()[end:]}"

        return re.sub(NUMBERS[self._protocol], lower, text)


def _another(found: re.Match[str]) -> str:
    start, end = found.start(1) - found.start(), found.end(1) - found.start()
    return f"{found.group()[:start]}{int(found.group(1)) ^ 1}{found.group()[end:]}"
