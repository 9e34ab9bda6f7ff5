"""The `level4` command."""
