"""Logs: one line per event on stderr, JSON for machines and coloured text for people.

structlog is set up once, by `configure`. The standard library's logging (kafka-python, httpx, trio-websocket) goes
through the same processors from WARNING on, so that a library's complaint looks like one of ours. Time stamps are UTC,
ISO 8601. Known secrets are masked in every field, tracebacks included, whoever logs them.

Loggers are not cached: `structlog.get_logger()` may be called at import, before `configure`, and a second `configure`
(tests) reaches every logger.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from level4.ops.values import MASK

LIBRARY_LEVEL: Final = logging.WARNING
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)
"""Tracebacks as data. Without local variables: they hold whole books, and secrets nobody told us of."""
_PLAIN_TYPES: Final = (int, float, bool, type(None))


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "text"] = "auto",
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Set up all logging of the process. `stream`: stderr unless told otherwise. `environ`: asked for NO_COLOR."""
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    as_json = form == "json" or (form == "auto" and not terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _TRACEBACKS if as_json else structlog.processors.format_exc_info,
        masking(secrets),
        _one_line,
    ]
    renderer: Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=terminal and not environ.get("NO_COLOR"))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    _route_libraries(stream, [structlog.stdlib.add_logger_name, *shared], renderer)


def _route_libraries(stream: TextIO, processors: list[Processor], renderer: Processor) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=processors,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.set_name("level4")
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.get_name() == "level4"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LIBRARY_LEVEL)


def masking(secrets: Iterable[str]) -> Processor:
    """A processor that replaces every known secret wherever it stands in an event."""
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)  # a secret may contain another

    def text(value: str) -> str:
        for secret in known:
            value = value.replace(secret, MASK)
        return value

    def masked(value: Any) -> Any:
        if isinstance(value, str):
            return text(value)
        if isinstance(value, _PLAIN_TYPES):
            return value
        if isinstance(value, dict):
            return {masked(key): masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [masked(item) for item in value]
        shown = repr(value)
        return value if text(shown) == shown else text(shown)

    def processor(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {key: masked(value) for key, value in event.items() if key not in _META} | {
            key: event[key] for key in _META if key in event
        }

    return processor if known else lambda _, __, event: event


_META: Final = ("_record", "_from_structlog")
"""What structlog's formatter for the standard library keeps in an event and takes out itself."""


def _one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """JSON escapes line feeds and the console quotes values; the console's message alone would break the line."""
    message = event.get("event")
    if isinstance(message, str) and ("\n" in message or "\r" in message):
        event["event"] = message.replace("\r", "\\r").replace("\n", "\\n")
    return event


class Limited:
    """Warnings that may repeat fast: each key once at once, then at most every `seconds`, with the number left out.

    Memory is bounded: beyond `keys` the key that was logged longest ago is forgotten, and what it had left out is
    logged then. Time is an argument (monotonic seconds).
    """

    def __init__(self, log: FilteringBoundLogger, seconds: float = 60.0, keys: int = 1_000) -> None:
        self._log = log
        self._seconds = seconds
        self._keys = keys
        self._logged: OrderedDict[Hashable, tuple[float, int, str]] = OrderedDict()
        """Key → when it was last logged, how many were left out since, the message."""

    def warning(self, key: Hashable, now: float, event: str, **fields: object) -> bool:
        """Log this warning, or count it. Returns whether it was logged."""
        known = self._logged.get(key)
        if known is not None and now - known[0] < self._seconds:
            self._logged[key] = (known[0], known[1] + 1, event)
            return False
        if known is not None and known[1]:
            fields["suppressed"] = known[1]
        self._logged[key] = (now, 0, event)
        self._logged.move_to_end(key)
        if len(self._logged) > self._keys:
            _, (_, suppressed, message) = self._logged.popitem(last=False)
            if suppressed:
                self._log.warning(message, suppressed=suppressed)
        self._log.warning(event, **fields)
        return True
