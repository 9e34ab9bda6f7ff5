"""`level4 config`: the settings in force and where each came from."""

from __future__ import annotations

import os

import click

from level4.ops.listing import as_json, as_text, render
from level4.ops.settings import load


@click.command()
@click.option("--config", "file", metavar="FILE", help="Settings file (TOML).")
@click.option("--json", "as_json_", is_flag=True, help="As JSON, with a description of each setting.")
def config(file: str | None, as_json_: bool) -> None:
    """Show every setting, its value and where that came from. Secrets are masked."""
    rows = render(load(os.environ, {"config": file}))
    click.echo(as_json(rows) if as_json_ else as_text(rows))
