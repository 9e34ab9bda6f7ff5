"""The nodes of these tests are started as those of tests/node are, brokers as those of tests/brokers."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("node", "brokers")]
