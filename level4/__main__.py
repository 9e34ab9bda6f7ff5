"""`python -m level4` is the `level4` command."""

from level4.cli.main import main

main()
