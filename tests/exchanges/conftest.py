"""The marker of tests that need what other people wrote."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "foreign: installs other people's client libraries (npm, pip) in the user's cache"
    )
