"""`level4 shell`: IPython beside a running node, in the same process.

IPython keeps the main thread, for the terminal's signals are delivered there: Ctrl-C then ends the cell and nothing
else. The node runs in a trio program in a second thread; whatever a cell awaits is sent over and runs there, so the
node's own objects can be used as they are. A cell without await runs in the main thread: to read is harmless, to change
something is for coroutines.

IPython's prompt needs an asyncio loop of its own, and trio_asyncio, which the node's gRPC rests on, takes the place of
asyncio's policy when it is imported. Setting the usual policy again for this thread gives the prompt its loop.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import click
import trio

from level4.model import UnavailableError
from level4.ops import logs
from level4.ops.markets import FLAG_HELP
from level4.ops.settings import Settings, load

_BANNER = """\
level4 shell: node {name}, control service on {address}. It runs in another thread; `await` reaches it.

  node, host, feeds, publisher     the parts of the node
  await start("kraken:BTC/USD")    start a market (id: the next free one, or start(…, 17)); await stop(1)
  market(1).book.bids.top(5)       look at a book; feeds.markets(), feeds.connections() show states and counters
  exit                             stop the feeds, flush Kafka, end
"""


@click.command()
@click.option("--config", metavar="FILE", help="Settings file (TOML).")
@click.option("--market", "markets", multiple=True, metavar="ID=MARKET", help=FLAG_HELP)
@click.option("--kafka", "kafka_endpoints", metavar="HOST:PORT,…", help="Kafka brokers.")
@click.option("--simulator", metavar="HOST:PORT", help="Send every exchange connection to this simulator.")
@click.option("--rpc-port", metavar="PORT", help="Port of the control service.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning")
def shell(markets: tuple[str, ...], **flags: str | None) -> None:
    """Run a node and an IPython shell beside it, in the same process.

    Needs IPython: pip install 'level4[shell]'. Top-level await works and reaches the node. Ctrl-C ends a cell, `exit`
    the node.
    """
    embed = _ipython()
    settings = load(os.environ, flags, markets)
    logs.configure(settings.log_level, settings.log_format, secrets=settings.secrets())
    beside = Beside(settings)
    beside.start()
    try:
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        embed(beside.namespace, beside.banner, beside.run)
    finally:
        beside.stop()


def _ipython() -> Callable[[dict[str, Any], str, Callable[[Coroutine[Any, Any, Any]], Any]], None]:
    try:
        from IPython.terminal.embed import InteractiveShellEmbed
        from traitlets.config import Config
    except ImportError:
        raise UnavailableError("IPython is not installed: pip install 'level4[shell]'") from None

    def embed(namespace: dict[str, Any], banner: str, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        config = Config()
        config.TerminalInteractiveShell.confirm_exit = False
        if os.environ.get("NO_COLOR"):
            config.InteractiveShell.colors = "nocolor"
        interactive = InteractiveShellEmbed(config=config, user_ns=namespace, banner1=banner)  # type: ignore[no-untyped-call]
        interactive.autoawait = True
        interactive.loop_runner = run
        # IPython catches what ends a cell inside the cell, this too; a traceback of trio would tell nobody anything.
        interactive.set_custom_exc((trio.Cancelled,), _say_cancelled)  # type: ignore[no-untyped-call]
        interactive(local_ns=namespace)

    return embed


def _say_cancelled(*_: object, **__: object) -> None:
    click.echo("cell cancelled")


class Beside:
    """A node in a trio program in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.namespace: dict[str, Any] = {}
        self.banner = ""
        self._settings = settings
        self._up: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="level4-node")
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Returns when the node is up; raises what it raised."""
        self._thread.start()
        failure = self._up.get()
        if failure is not None:
            self._thread.join()
            raise failure

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a cell's coroutine in the node's trio program. Ctrl-C here cancels it there."""
        scope = trio.CancelScope()

        async def there() -> Any:
            with scope:
                return await coroutine

        assert self._token is not None
        try:
            return trio.from_thread.run(there, trio_token=self._token)
        except KeyboardInterrupt:
            self._token.run_sync_soon(scope.cancel)
            raise KeyboardInterrupt from None
        except trio.RunFinishedError:
            coroutine.close()
            raise UnavailableError("the node has ended; exit and start the shell again") from None

    def stop(self) -> None:
        """End the node in order."""
        if self._token is not None:
            with suppress(trio.RunFinishedError):  # if it has ended by itself
                self._token.run_sync_soon(self._stop)
        self._thread.join()

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:
            self._up.put(error)
        else:
            self._up.put(None)

    async def _run(self) -> None:
        from level4.node import Node

        node = Node(self._settings)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(node.run)
            self._token = trio.lowlevel.current_trio_token()
            self._stop = node.stop
            self.namespace.update(_namespace(node, nursery))
            name, address = self._settings.hostname, f"{self._settings.rpc_host}:{port}"
            self.banner = _BANNER.format(name=name, address=address)
            self._up.put(None)


def _namespace(node: Any, nursery: trio.Nursery) -> dict[str, Any]:
    """What a cell finds by name."""
    from dataclasses import replace

    from level4.cli.direct import find

    async def start(name: str, market_id: int | None = None, wait_live: bool = True) -> Any:
        """Start a market by its name on this node, whatever placement would say, and wait until it is LIVE."""
        named = await find(node.settings, name)
        taken = {active.request.id for active in node.host.active()}
        chosen = market_id or next(n for n in range(1, len(taken) + 2) if n not in taken)
        return await node.host.start_here(replace(named.request, id=chosen), wait_live)

    return {
        "node": node,
        "host": node.host,
        "feeds": node.feeds,
        "publisher": node.publisher,
        "nursery": nursery,
        "start": start,
        "stop": node.host.stop,
        "market": node.feeds.market,
        "trio": trio,
    }
