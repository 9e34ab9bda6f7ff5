"""`level4 doctor`: look for what keeps a node from doing its work."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from typing import Final

import click
import trio

from level4.ops.findings import Finding, Verdict
from level4.ops.markets import FLAG_HELP
from level4.ops.settings import load

_COLOURS: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


@click.command()
@click.option("--config", metavar="FILE", help="Settings file (TOML).")
@click.option("--market", "markets", multiple=True, metavar="ID=MARKET", help=FLAG_HELP)
@click.option("--exchange", "exchanges", multiple=True, metavar="NAME", help="Look at this exchange only.")
@click.option("--json", "as_json_", is_flag=True, help="As JSON.")
def doctor(config: str | None, markets: tuple[str, ...], exchanges: tuple[str, ...], as_json_: bool) -> None:
    """Look at settings, clock, file descriptors, ports, Kafka (topics, partitions, rights), the cluster (addresses,
    keys, UDP of full size to every seed and member) and exchanges.

    Takes the settings that a node would take here, and changes nothing. Exit code 0: nothing keeps a node from its
    work (there may be warnings); 2: a setting is wrong; 5: something failed.
    """
    from level4.ops.doctor import examine

    findings = trio.run(examine, load(os.environ, {"config": config}, markets), exchanges)
    verdicts = Counter(finding.verdict for finding in findings)
    if as_json_:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            _show(finding)
        click.echo(", ".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict))
    sys.exit(5 if verdicts[Verdict.FAIL] else 0)


def _show(finding: Finding) -> None:
    word = click.style(f"{finding.verdict:<5}", fg=_COLOURS[finding.verdict])
    click.echo(f"{word} {finding.check}: {finding.text}")
    if finding.advice:
        click.echo(f"      → {finding.advice}")
