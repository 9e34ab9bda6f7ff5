"""Logs: one line per event, the right format, libraries routed, secrets masked, repeats limited."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from level4.ops.logs import Limited, configure
from level4.ops.values import MASK


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def crash(text: str) -> None:
    local = f"local {text}"
    raise RuntimeError(text) from ValueError(local[:0])


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_when_not_a_terminal() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    structlog.get_logger().info("market is live", market=17, symbol="BTC/USD")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "market is live", "level": "info", "market": 17, "symbol": "BTC/USD"}


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_text_on_a_terminal(environ: dict[str, str], coloured: bool) -> None:
    stream = Terminal()
    configure(stream=stream, environ=environ)
    structlog.get_logger().info("market\nis live", market=17)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "market\\nis live" in text
    assert ("\x1b[" in text) is coloured


def test_the_format_can_be_asked_for() -> None:
    stream, terminal = io.StringIO(), Terminal()
    configure(form="text", stream=stream)
    structlog.get_logger().info("hello", market=17)
    assert "market=17" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()
    configure(form="json", stream=terminal)
    structlog.get_logger().info("hello")
    assert lines(terminal)[0]["event"] == "hello"


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    configure("warning", stream=stream)
    log = structlog.get_logger()
    log.info("no")
    log.warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_libraries_are_heard_from_warning_on_in_the_same_form() -> None:
    stream = io.StringIO()
    configure("debug", stream=stream)
    configure("debug", stream=stream)  # once more: no line may come twice
    library = logging.getLogger("somelibrary.part")
    library.info("no")
    library.warning("broker %s is gone", "a:1")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("broker a:1 is gone", "warning", "somelibrary.part")
    assert line["timestamp"].endswith("Z")


def test_an_exception_stays_on_its_line() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        crash("boom")
    except RuntimeError:
        structlog.get_logger().exception("feed crashed", market=17)
        logging.getLogger("httpx").exception("library crashed")
    ours, theirs = lines(stream)
    assert ours["exception"][0]["exc_value"] == "boom"
    assert "local boom" not in stream.getvalue(), "local variables stay out"
    assert theirs["exception"][0]["exc_type"] == "RuntimeError"


class Shows:
    def __repr__(self) -> str:
        return "Shows('hunter2')"


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_masked_everywhere(form: Any) -> None:
    stream = io.StringIO()
    configure(form=form, secrets=["hunter2", "hunter2-longer", ""], stream=stream)
    log = structlog.get_logger()
    log.info("with hunter2 inside", a="hunter2", b=["x", {"hunter2": ("hunter2",)}], c=Shows(), d=b"hunter2")
    log.info("the longer one", a="hunter2-longer")
    logging.getLogger("httpx").warning("GET %s", "https://x/?token=hunter2")
    try:
        crash("hunter2")
    except RuntimeError:
        log.exception("crashed")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "-longer" not in text
    assert text.count(MASK) >= 8


def test_without_secrets_values_are_left_alone() -> None:
    stream = io.StringIO()
    configure(secrets=["hunter2"], stream=stream)
    structlog.get_logger().info("x", number=1, flag=True, nothing=None, nested={"a": [1, 2]})
    (line,) = lines(stream)
    assert (line["number"], line["flag"], line["nothing"], line["nested"]) == (1, True, None, {"a": [1, 2]})


def test_repeats_are_counted_and_told_later() -> None:
    with capture_logs() as logged:
        limited = Limited(structlog.get_logger(), seconds=10)
        assert limited.warning("kind-a", 0.0, "unknown message", kind="a")
        assert limited.warning("kind-b", 1.0, "unknown message", kind="b")
        for now in range(2, 10):
            assert not limited.warning("kind-a", float(now), "unknown message", kind="a")
        assert limited.warning("kind-a", 10.0, "unknown message", kind="a")
        assert limited.warning("kind-a", 20.0, "unknown message", kind="a")
    assert [(line["kind"], line.get("suppressed")) for line in logged] == [
        ("a", None), ("b", None), ("a", 8), ("a", None),
    ]  # fmt: skip


def test_what_a_forgotten_key_left_out_is_told() -> None:
    with capture_logs() as logged:
        limited = Limited(structlog.get_logger(), seconds=10, keys=2)
        for key in ("a", "a", "a", "b", "c"):
            limited.warning(key, 0.0, f"about {key}")
        assert limited.warning("a", 1.0, "about a"), "it was forgotten"
    assert [(line["event"], line.get("suppressed")) for line in logged] == [
        ("about a", None), ("about b", None), ("about a", 2), ("about c", None), ("about a", None),
    ]  # fmt: skip
