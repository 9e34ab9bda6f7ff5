"""`level4 rebalance`: move markets until no node has more than its share."""

from __future__ import annotations

import click

from level4.cli.calls import call, json_option, node_option
from level4.cli.moves import show_moves
from level4.cli.show import busy
from level4.ops.values import Address


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be moved, move nothing.")
@node_option
@json_option
def rebalance(dry_run: bool, address: Address | None, as_json_: bool) -> None:
    """Move markets from full nodes to emptier ones, until no node hosts more than its share of what it may.

    Exit code 4: a market could not be moved; it goes on where it was.
    """
    with busy("moving markets"):
        moves = call(address, lambda control: control.rebalance(dry_run=dry_run))
    show_moves(moves, as_json_, "would move" if dry_run else "moved")
