"""The consumer's library: typed events from Kafka, and the proof that nothing is missing.

    from level4.client import Integrity, Reader

    integrity = Integrity()
    with Reader(["127.0.0.1:29092"], markets=[17]) as reader:
        for record in reader:
            verdict = integrity.check_event(record.event)
            if verdict.fresh:
                ...  # use it; `verdict.whole` says whether anything is missing before it
"""

from level4.client.directory import Directory, Listed
from level4.client.events import RecordError, decode
from level4.client.integrity import Account, Integrity, Kind, Verdict
from level4.client.reader import AsyncReader, Reader, Record

__all__ = [
    "Account",
    "AsyncReader",
    "Directory",
    "Integrity",
    "Kind",
    "Listed",
    "Reader",
    "Record",
    "RecordError",
    "Verdict",
    "decode",
]
