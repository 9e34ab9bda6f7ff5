"""`level4 nodes`: the nodes of a cluster."""

from __future__ import annotations

import click

from level4.cli.calls import call, json_option, node_json, node_option
from level4.cli.show import as_json, table
from level4.ops.values import Address


@click.command()
@node_option
@json_option
def nodes(address: Address | None, as_json_: bool) -> None:
    """List the nodes of the cluster: markets, room, state."""
    found = call(address, lambda control: control.list_nodes())
    if as_json_:
        as_json([node_json(node) for node in found])
        return
    rows = [
        (node.name, f"{node.active_market_count} of {node.max_active_markets}", node.state, node.version, node.address)
        for node in found
    ]
    table(("name", "markets", "state", "version", "address"), rows)
