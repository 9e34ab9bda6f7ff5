"""How moves of markets between nodes are shown."""

from __future__ import annotations

from collections.abc import Sequence

import click

from level4.cli.show import as_json
from level4.proto.level4_pb2 import Move
from level4.rpc.errors import FailedPreconditionError


def show_moves(moves: Sequence[Move], as_json_: bool, moved: str) -> None:
    """Print them; raises FailedPreconditionError when one was not made."""
    if as_json_:
        as_json([{each.name: getattr(move, each.name) or None for each in Move.DESCRIPTOR.fields} for move in moves])
    else:
        for move in moves:
            if move.error:
                click.echo(f"market {move.market_id} stays on {move.source}: {move.error}")
            else:
                click.echo(f"{moved} market {move.market_id} from {move.source} to {move.target}")
        if not moves:
            click.echo("nothing to move")
    failed = [move for move in moves if move.error]
    if failed:
        raise FailedPreconditionError(f"{len(failed)} of {len(moves)} markets were not moved")
