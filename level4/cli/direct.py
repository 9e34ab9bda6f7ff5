"""Feeds in this very process: exchange to terminal or file, without Kafka and without a node."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, TypeVar

import click
import trio

from level4.cli.show import busy
from level4.exchanges import venue
from level4.feeds import TRANSPORTS, AddressBook, Feeds, FeedSettings, Instruments, Rest
from level4.feeds.names import Named, Names
from level4.model import Event, MarketRequest, Numbering, Publisher
from level4.ops import logs
from level4.ops.markets import WantedMarket
from level4.ops.settings import Settings, load
from level4.recording import Recorder

F = TypeVar("F", bound=Callable[..., Any])


def source_options(command: F) -> F:
    """Where settings come from besides the environment, and who plays the exchanges."""
    config = click.option("--config", metavar="FILE", help="Settings file (TOML).")
    return config(simulator_option(command))


def simulator_option(command: F) -> F:
    return click.option(
        "--simulator", metavar="HOST:PORT", help="Ask this simulator instead of the exchanges (LEVEL4_SIMULATOR)."
    )(command)


def settings_for(config: str | None, simulator: str | None) -> Settings:
    """The settings in force; logs of this command are kept to warnings."""
    settings = load(os.environ, {"config": config, "simulator": simulator})
    logs.configure("warning", "text", secrets=settings.secrets())
    return settings


class Numbered:
    """A publisher for one process: numbers events as they leave, and hands them on."""

    def __init__(self, take: Callable[[Event], Any]) -> None:
        self._take = take
        self._numbering = Numbering()

    def put(self, event: Event) -> None:
        self._numbering.number(event, time.time_ns() // 1000)
        self._take(event)


def address_book(settings: Settings) -> AddressBook:
    """Where the settings say that exchanges are."""
    of_kind = {
        kind: {
            name.removesuffix(f".{kind}"): address
            for name, address in settings.endpoints.items()
            if name.endswith(f".{kind}")
        }
        for kind in ("websocket", "rest")
    }
    simulator = None if settings.simulator is None else str(settings.simulator)
    return AddressBook(of_kind["websocket"], of_kind["rest"], simulator)


@asynccontextmanager
async def lists(settings: Settings) -> AsyncIterator[tuple[Rest, Instruments]]:
    """The exchanges' instrument lists."""
    cache = settings.cache_dir if settings.simulator is None else None
    async with Rest() as rest:
        yield rest, Instruments(rest, address_book(settings), cache)


async def find(settings: Settings, text: str) -> Named:
    """The market that a name means."""
    async with lists(settings) as (_, instruments):
        with busy(f"looking up {text}"):
            return await Names(instruments, partial(venue, protocols=settings.protocols)).find(text)


async def find_all(settings: Settings, wanted: Sequence[WantedMarket]) -> list[MarketRequest]:
    """The markets of a file; those that are given by name are looked up."""
    async with lists(settings) as (_, instruments):
        names = Names(instruments, partial(venue, protocols=settings.protocols))
        return [one if isinstance(one, MarketRequest) else await names.request(one) for one in wanted]


@dataclass(frozen=True, slots=True)
class Running:
    feeds: Feeds
    requests: tuple[MarketRequest, ...]


@asynccontextmanager
async def running(
    settings: Settings, markets: Sequence[str], publisher: Publisher, recorder: Recorder | None = None
) -> AsyncIterator[Running]:
    """Feeds of the named markets, with ids 1, 2, 3 …, until the block ends."""
    lookup = partial(venue, protocols=settings.protocols)
    transport = TRANSPORTS[settings.websocket_client]()
    async with lists(settings) as (rest, instruments), trio.open_nursery() as nursery:
        feeds = Feeds(
            FeedSettings(
                node=settings.hostname,
                spread_trigger=settings.spread_trigger,
                markets_per_connection=settings.markets_per_connection,
                addresses=address_book(settings),
            ),
            publisher=publisher,
            venue=lookup if recorder is None else recorder.venue(lookup),
            transport=transport if recorder is None else recorder.transport(transport),
            rest=rest,
            instruments=instruments,
            random=Random(),
            wall=time.time_ns if recorder is None else recorder.wall,
        )
        names = Names(instruments, lookup if recorder is None else recorder.venue(lookup))
        requests: list[MarketRequest] = []
        for text in markets:
            with busy(f"looking up {text}"):
                named = await names.find(text)
            if named.request not in (replace(request, id=0) for request in requests):
                requests.append(replace(named.request, id=len(requests) + 1))
        await nursery.start(feeds.run)
        for request in requests:
            await feeds.start(request, time.time_ns() // 1_000_000_000)
        yield Running(feeds, tuple(requests))
        nursery.cancel_scope.cancel()


async def until_told(seconds: float | None, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Wait for Ctrl-C or SIGTERM, or so long."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            async for _ in signals:
                return
