"""What the tests of synthetic exchanges share: a consumer that counts what it sees, and a check that everything agrees
with what the simulator says a correct consumer must have derived."""

from __future__ import annotations

import gzip
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from simulated import Json, PlainBook, shape, texts
from trio_websocket import WebSocketConnection

from level4.simulator import Simulator

Levels = list[tuple[str, str]]
COUNTS = ("frames", "best_changes", "best_price_changes")


class Consumer(ABC):
    """One market, rebuilt from frames by the exchange's rules. `wrong` counts what the protocol proves wrong."""

    def __init__(self) -> None:
        self.book = PlainBook()
        self.whole = False
        self.unharmed = True
        """Whether nothing was lost, doubled or swapped on the way; then the book is never crossed."""
        self.frames = self.best_changes = self.best_price_changes = self.wrong = self.snapshots = self.history = 0
        self.trades: list[tuple[str, Decimal, Decimal]] = []

    @abstractmethod
    def take(self, message: Json) -> None:
        """One frame; numbers are texts."""

    def snapshot(self, bids: Levels, asks: Levels) -> None:
        self.book = PlainBook()
        self.book.apply(bids, asks)
        self.whole = True
        self.snapshots += 1

    def update(self, bids: Levels, asks: Levels) -> None:
        if not self.whole:
            return
        before = self.book.best()
        self.book.apply(bids, asks)
        self.changed(before)

    def changed(self, before: Any) -> None:
        after = self.book.best()
        self.frames += 1
        self.best_changes += _numbers(before) != _numbers(after)
        self.best_price_changes += [t and t[0] for t in _numbers(before)] != [t and t[0] for t in _numbers(after)]
        bid, ask = after
        if self.unharmed:
            assert bid is not None
            assert ask is not None
            assert Decimal(bid[0]) < Decimal(ask[0])

    def trade(self, side: str, price: str, size: str) -> None:
        """A taker takes what the consumer sees at the best of the other side, or next to it."""
        self.trades.append((side, Decimal(price), Decimal(size)))
        if self.whole and self.unharmed:
            bids, asks = self.book.sides()
            levels = asks[:3] if side == "buy" else bids[:3]
            assert Decimal(price) in [Decimal(level[0]) for level in levels]


def _numbers(best: Any) -> list[tuple[Decimal, Decimal] | None]:
    return [touch and (Decimal(touch[0]), Decimal(touch[1])) for touch in best]


async def consume(socket: WebSocketConnection, consumer: Consumer, frames: int) -> None:
    while consumer.frames < frames:
        consumer.take(texts(await socket.get_message()))


async def agrees(
    simulator: Simulator,
    socket: WebSocketConnection,
    consumer: Consumer,
    exchange: str,
    native: str,
    depth: int = 10**6,
) -> None:
    """Pause, read all that was generated, and compare book, trades and counts."""
    simulator.pause()
    exchanges: Any = simulator.stats()["exchanges"]
    stats = exchanges[exchange][native]
    while (consumer.frames, len(consumer.trades)) != (stats["frames"], stats["trades"]):
        consumer.take(texts(await socket.get_message()))
    assert consumer.wrong == 0
    assert {name: getattr(consumer, name) for name in COUNTS} == {name: stats[name] for name in COUNTS}
    assert consumer.best_price_changes > 0
    whole: Any = simulator.book(exchange, native)
    assert consumer.book.equals({side: whole[side][:depth] for side in ("bids", "asks")})
    told: Any = simulator.trades(exchange, native)
    true = [(each["taker"], Decimal(each["price"]), Decimal(each["size"])) for each in told]
    assert consumer.trades
    assert consumer.trades == true[-len(consumer.trades) :]


def having(**wanted: object) -> Callable[[Json], bool]:
    """Whether a message is an object with these values."""
    return lambda message: isinstance(message, dict) and all(message.get(key) == wanted[key] for key in wanted)


async def reply(socket: WebSocketConnection, wanted: Callable[[Json], bool]) -> Json:
    """The first message that is wanted, as plain JSON."""
    while True:
        message = json.loads(await socket.get_message())
        if wanted(message):
            return message


def recorded(recordings: Path, name: str, wanted: Callable[[Json], bool]) -> Json:
    """The first recorded frame that is wanted."""
    return next(filter(wanted, _frames(recordings / f"{name}.jsonl.gz")))


def _frames(path: Path) -> Iterator[Json]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = [json.loads(line) for line in file][1:]
    for event in events:
        if event["k"] in ("recv", "http") and event["d"][:1] in "[{":
            yield json.loads(event["d"])


def listing(recordings: Path, folder: str, path: str) -> Json:
    """A recorded list of instruments."""
    with gzip.open(recordings / folder / "instruments.json.gz") as file:
        responses = json.load(file)["responses"]
    return next(each["body"] for each in responses if each["url"].endswith(path))


def shapes_agree(made: Json, real: Json, added: frozenset[str] = frozenset()) -> None:
    """Keys and JSON types are those of the real frame; `added`: keys that newer versions have."""
    assert _without(shape(made), added) == _without(shape(real), added)


def _without(value: Json, keys: frozenset[str]) -> Json:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value
