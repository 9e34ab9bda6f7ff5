"""The one command. Exit codes: 0 ok, 2 usage or configuration, 3 not found, 4 conflict, 5 a dependency is away; 1 is
the answer no (a market is not LIVE, records are missing), an interruption, and whatever has no code of its own.

Commands are imported when they are called, so that `level4 --help` answers at once.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from level4 import __version__
from level4.model import ConfigError, ExchangeError, Level4Error, UnavailableError
from level4.model.naming import UnknownMarketError
from level4.rpc.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
)

_EXIT_CODES: Final[tuple[tuple[type[Level4Error], int], ...]] = (
    (NotFoundError, 3),
    (UnknownMarketError, 3),
    (AlreadyExistsError, 4),
    (ResourceExhaustedError, 4),
    (FailedPreconditionError, 4),
    (ConfigError, 2),
    (UnavailableError, 5),
    (ExchangeError, 5),
    (DeadlineExceededError, 5),
)

_COMMANDS: Final = {
    "node": "Run a node: feeds from exchanges, events to Kafka, the control service.",
    "market": "Start, stop, move and list markets of a running node.",
    "nodes": "List the nodes of the cluster: markets, room, state.",
    "rebalance": "Move markets until no node has more than its share.",
    "instruments": "List what an exchange trades, from its own list.",
    "watch": "Show the top of the book and the trades of markets, straight from their exchange.",
    "tail": "Read events from Kafka and check that none is missing.",
    "demo": "Show the whole way on one machine: simulator, node, Kafka, consumer.",
    "record": "Record everything that passes over the connections of markets.",
    "replay": "Replay recordings and print the events they lead to.",
    "simulate": "Play every exchange: WebSocket and REST on one port.",
    "doctor": "Look for what keeps a node from doing its work.",
    "probe": "Ask a node whether it is well, for health checks of containers.",
    "config": "Show every setting, its value and where that came from.",
    "shell": "An IPython shell beside a running node, in the same process.",
    "completion": "Print the completion script for a shell.",
}
"""Every command has a module of its name in this package with a click command of its name; the text: its short help."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"level4.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Level4Error as error:
            _fail(error)
        except BaseExceptionGroup as group:  # what a nursery makes of an error in one of its tasks
            expected, others = group.split((Level4Error, BrokenPipeError, KeyboardInterrupt))
            if others is not None or expected is None:
                raise
            first = _first(expected)
            if isinstance(first, Level4Error):
                _fail(first)
            if isinstance(first, KeyboardInterrupt):
                raise click.Abort from None
            _leave()
        except BrokenPipeError:
            _leave()

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names and helps from the table, so that completing a command imports none of them."""
        names = [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]
        return names if not incomplete.startswith("-") else super().shell_complete(ctx, incomplete)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _leave() -> NoReturn:
    """Whoever read our output has seen enough. Leave stdout closed, so that nothing complains at exit."""
    sys.stdout = None
    sys.exit(0)


def _fail(error: Level4Error) -> NoReturn:
    click.echo(f"level4: {error}", err=True)
    sys.exit(next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="level4")
def main() -> None:
    """Level-2 market data of crypto exchanges, kept honest, published to Kafka."""
    # Until a command listens itself: as process 1 of a container a signal that nobody takes is lost.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
