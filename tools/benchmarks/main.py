"""`tools/bench WHAT …`: benchmarks, each as a ratio against a reference in the same run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))

from kafka_bench import kafka
from replay_bench import replay
from soak_bench import soak
from swim_bench import swim
from transport_bench import transport


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Benchmarks. Machines are shared and noisy: compare ratios, not absolute times."""


main.add_command(kafka)
main.add_command(replay)
main.add_command(soak)
main.add_command(swim)
main.add_command(transport)

if __name__ == "__main__":
    main(prog_name="tools/bench")
