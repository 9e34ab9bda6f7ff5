"""A local exchange that speaks the wire protocols of real ones: for tests, demonstrations and trying things out."""

from level4.simulator.faults import Channel, Fault, FaultKind
from level4.simulator.simulator import Simulator

__all__ = ["Channel", "Fault", "FaultKind", "Simulator"]
