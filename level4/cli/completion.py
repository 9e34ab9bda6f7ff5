"""`level4 completion`: the script that makes a shell complete our commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_HOW: Final = {
    "bash": "# Once: level4 completion bash > ~/.local/share/bash-completion/completions/level4",
    "zsh": "# Once: level4 completion zsh > ~/.level4-complete.zsh; in ~/.zshrc: source ~/.level4-complete.zsh",
    "fish": "# Once: level4 completion fish > ~/.config/fish/completions/level4.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> None:
    """Print the completion script for a shell; its first line says where to put it."""
    kind = get_completion_class(shell)
    assert kind is not None
    from level4.cli.main import main

    script = kind(main, {}, "level4", "_LEVEL4_COMPLETE")
    # Not `source()`: that asks for bash itself to be there, which needs not be where the script is made.
    click.echo(_HOW[shell])
    click.echo(script.source_template % script.source_vars())
