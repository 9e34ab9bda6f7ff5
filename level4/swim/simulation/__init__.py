"""Clusters in virtual time, made of the very protocol code, on a network that loses, delays and divides.

`python -m level4.swim.simulation --help` runs one scenario and reports what it measured. Everything follows from the
seed; the same scenario with the same seed gives the same report.
"""

from level4.swim.simulation.network import Network
from level4.swim.simulation.scenario import Report, Scenario, run

__all__ = ["Network", "Report", "Scenario", "run"]
