"""The nodes of these tests are started as those of tests/node are."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "node"))
