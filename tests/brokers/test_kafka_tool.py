"""tools/kafka: what it says when it cannot, and that it cleans up after itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kafka_brokers import TOOL, USED, fetch_apache_kafka


def tool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def java_of_age(folder: Path) -> Path:
    """A JAVA_HOME that calls itself young enough."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_without_maven_it_says_so(tmp_path: Path) -> None:
    home = java_of_age(tmp_path)
    done = tool("fetch", JAVA_HOME=str(home), PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert "there is no mvn on PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_maven_that_fails_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    home = java_of_age(tmp_path)
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no route to anywhere'; exit 1\n")
    maven.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = tool("fetch", JAVA_HOME=str(home), PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert "could not fetch Apache Kafka" in done.stderr
    assert "no route to anywhere" in done.stderr
    assert list((tmp_path / "cache" / "level4" / "kafka").iterdir()) == []


@pytest.mark.apache_kafka
def test_a_command_gets_a_broker_and_its_exit_code_comes_back(tmp_path: Path) -> None:
    had, what = fetch_apache_kafka()
    if not had:
        pytest.skip(f"no Apache Kafka: {what}")
    USED[f"Apache Kafka {what}"] += 1
    ask = (
        "import os, sys, warnings; warnings.simplefilter('ignore')\n"
        "from kafka import KafkaAdminClient\n"
        "endpoint = os.environ['KAFKA_ENDPOINTS']\n"
        "assert endpoint == os.environ['LEVEL4_TEST_KAFKA']\n"
        "admin = KafkaAdminClient(bootstrap_servers=endpoint)\n"
        "print(len(admin.describe_cluster()['brokers'])); admin.close(); sys.exit(7)\n"
    )
    done = tool("run", "--", sys.executable, "-c", ask, TMPDIR=str(tmp_path))
    assert (done.stdout.strip(), done.returncode) == ("1", 7), done.stderr
    assert list(tmp_path.iterdir()) == []
