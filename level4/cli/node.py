"""`level4 node`: run a node."""

from __future__ import annotations

import os

import click
import structlog

from level4.ops import logs
from level4.ops.access import warnings_of
from level4.ops.markets import FLAG_HELP
from level4.ops.settings import load


@click.command()
@click.option("--config", metavar="FILE", help="Settings file (TOML).")
@click.option("--market", "markets", multiple=True, metavar="ID=MARKET", help=FLAG_HELP)
@click.option("--hostname", metavar="NAME", help="Name of this node.")
@click.option("--kafka", "kafka_endpoints", metavar="HOST:PORT,…", help="Kafka brokers.")
@click.option("--simulator", metavar="HOST:PORT", help="Send every exchange connection to this simulator.")
@click.option("--spread-trigger", type=click.Choice(["price", "size"]), help="What makes a spread event.")
@click.option("--rpc-host", metavar="HOST", help="Address the control service binds to.")
@click.option("--rpc-port", metavar="PORT", help="Port of the control service.")
@click.option("--announce", is_flag=True, help="Print the address of the control service when it is up.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]))
def node(markets: tuple[str, ...], announce: bool, **flags: str | None) -> None:
    """Run a node: feeds from exchanges, events to Kafka, the control service.

    Settings: flags, then environment, then the file, then defaults; `level4 config` shows all of them. SIGTERM and
    Ctrl-C stop the feeds, flush Kafka and exit 0 within 8 seconds.
    """
    settings = load(os.environ, flags, markets)
    logs.configure(settings.log_level, settings.log_format, secrets=settings.secrets())
    for warning in warnings_of(settings):
        structlog.get_logger(__name__).warning(warning)
    from level4.node import main

    main(settings, announce=click.echo if announce else None)
