"""Recorded traffic: the format, and its replay through the node's own code."""

from level4.recording.format import Header, RecordedEvent, Recording
from level4.recording.record import RecordedFile, Recorder
from level4.recording.replay import RecordedConnection, Replay, Replayed

__all__ = [
    "Header",
    "RecordedConnection",
    "RecordedEvent",
    "RecordedFile",
    "Recorder",
    "Recording",
    "Replay",
    "Replayed",
]
