"""`level4 probe`: ask a node whether it is well, for health checks of containers. Needs nothing but this program."""

from __future__ import annotations

import http.client
import os
import sys

import click
import trio

from level4.ops.access import callable_host, credentials_of
from level4.ops.settings import Settings, load


@click.command()
@click.option("--config", metavar="FILE", help="Settings file (TOML).")
@click.option("--live", is_flag=True, help="Only whether it runs; without: whether it can host markets now.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Seconds.")
def probe(config: str | None, live: bool, timeout: float) -> None:
    """Ask the node of these settings (the same environment or file) whether it is well.

    By HTTP where LEVEL4_HTTP_PORT is set, else by gRPC health. Exit code 0: yes; 1: no, or it cannot be reached.
    """
    settings = load(os.environ, {"config": config})
    well, text = _by_http(settings, live, timeout) if settings.http_port else _by_grpc(settings, live, timeout)
    click.echo(text, err=not well)
    sys.exit(0 if well else 1)


def _by_http(settings: Settings, live: bool, seconds: float) -> tuple[bool, str]:
    host = callable_host(settings.http_host)
    connection = http.client.HTTPConnection(host, settings.http_port, timeout=seconds)
    try:
        connection.request("GET", "/healthz" if live else "/readyz")
        answer = connection.getresponse()
        return answer.status == 200, answer.read(65536).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from http://{host}:{settings.http_port}: {error}"
    finally:
        connection.close()


def _by_grpc(settings: Settings, live: bool, seconds: float) -> tuple[bool, str]:
    from level4.model import Level4Error
    from level4.rpc.client import connect

    async def ask() -> bool:
        host = callable_host(settings.rpc_host)
        async with connect(host, settings.rpc_port, timeout=seconds, credentials=credentials_of(settings)) as control:
            return await control.is_serving()

    try:
        serving = trio.run(ask)
    except Level4Error as error:
        return False, str(error)
    return serving or live, "SERVING" if serving else "NOT_SERVING"
