"""What is written for other programs to run: compose.yaml, the Kubernetes manifests, the pinned dependencies."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # ships no annotations
import pytest
import yaml

from level4 import __version__
from level4.ops.access import access_of
from level4.ops.settings import load
from level4.ops.values import Address

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/level4.yaml").read_text()))
CONTAINERFILE = (ROOT / "Containerfile").read_text()
NODES = ("node1", "node2", "node3")


def image_environment() -> dict[str, str]:
    """What the image sets."""
    [block] = re.findall(r"^ENV PATH=(?:.*\\\n)*.*", CONTAINERFILE, re.MULTILINE)
    return {name: value for name, value in re.findall(r"(\w+)=(\S+)", block) if name.startswith("LEVEL4_")}


def filled(value: object) -> str:
    """A value of compose.yaml where the environment has nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))


def test_the_manifests_take_the_image_of_this_version() -> None:
    [container] = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"level4:{__version__}"


def test_the_image_starts_with_its_own_settings() -> None:
    settings = load(image_environment() | {"HOSTNAME": "node1", "KAFKA_ENDPOINTS": "kafka:9092"})
    access_of(settings)  # open, and allowed to be
    assert (settings.rpc_host, settings.http_port, settings.rpc_port) == ("0.0.0.0", 9464, 50051)
    assert f"\nEXPOSE 50051/tcp 9464/tcp {settings.gossip_port}/udp\n" in CONTAINERFILE
    assert settings.gossip_host == "0.0.0.0"


@pytest.mark.parametrize("name", NODES)
def test_a_node_of_compose_has_settings_that_are_allowed(name: str) -> None:
    service = COMPOSE["services"][name]
    given = {variable: filled(value) for variable, value in service["environment"].items()}
    settings = load(image_environment() | given)
    assert settings.hostname == name
    assert settings.kafka_endpoints == (Address("kafka", 9092),)
    assert settings.simulator is None
    assert settings.seeds == (Address("level4", settings.gossip_port),), "the alias of all nodes"
    assert int(service["stop_grace_period"].removesuffix("s")) > 8
    assert service["read_only"] is True
    assert service["volumes"] == [image_environment()["LEVEL4_CACHE_DIR"]], "the one place that may be written"
    probe = re.search(r"^HEALTHCHECK --interval=(\S+) --timeout=(\S+) .* CMD (.*)$", CONTAINERFILE, re.MULTILINE)
    assert probe is not None
    check = service["healthcheck"]
    assert (check["interval"], check["timeout"], check["test"][1:]) == (probe[1], probe[2], json.loads(probe[3]))
    assert service["networks"]["default"]["aliases"] == ["level4"]


def test_compose_publishes_to_loopback_only_and_each_port_once() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_kafka_tells_each_client_an_address_it_can_reach() -> None:
    environment = COMPOSE["services"]["kafka"]["environment"]
    advertised = dict(
        listener.split("://") for listener in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert advertised == {"INTERNAL": "kafka:9092", "EXTERNAL": "127.0.0.1:29092"}
    assert COMPOSE["services"]["kafka"]["ports"] == ["127.0.0.1:29092:29092"]
    assert load({}).kafka_endpoints == (Address("127.0.0.1", 29092),), "what a node beside it uses by default"


def test_compose_names_files_services_and_versions_that_exist() -> None:
    for name, service in COMPOSE["services"].items():
        tag = service["image"].rpartition("/")[2].partition(":")[2]
        assert "build" in service or service["image"] == "level4" or re.match(r"v?\d+\.\d+", tag), name
        for needed in service.get("depends_on", ()):
            assert needed in COMPOSE["services"]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            nameless = source == volume and source.startswith("/")
            assert nameless or ((ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE["volumes"])
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", ())}
    assert profiles == {"ui", "monitoring", "demo"}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def manifest(kind: str, name: str = "level4") -> dict[str, Any]:
    [found] = [each for each in MANIFESTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def test_pods_have_settings_that_are_allowed_and_lasting_names() -> None:
    [container] = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    given = manifest("ConfigMap")["data"]
    [name] = container["env"]
    assert name["name"] == "HOSTNAME"
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    settings = load(image_environment() | given | {"HOSTNAME": "level4-0"})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": settings.rpc_port, "http": settings.http_port, "gossip": settings.gossip_port}
    assert settings.seeds == (Address("level4", settings.gossip_port),), "the headless Service"
    assert str(settings.cache_dir) == container["volumeMounts"][0]["mountPath"]


def test_kubernetes_restarts_on_life_only_and_gives_time_to_end() -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert pod["terminationGracePeriodSeconds"] > 8
    assert pod["enableServiceLinks"] is False, "the variables of Services named level4… are no settings"
    assert pod["securityContext"]["runAsUser"] == 10001
    assert re.search(r"^USER 10001:10001$", CONTAINERFILE, re.MULTILINE)


def test_every_selector_selects_the_pods() -> None:
    stateful = manifest("StatefulSet")["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    budget, policy = manifest("PodDisruptionBudget")["spec"], manifest("NetworkPolicy")["spec"]
    assert stateful["selector"]["matchLabels"] == budget["selector"]["matchLabels"] == labels
    assert policy["podSelector"]["matchLabels"] == labels
    for name in ("level4", "level4-control"):
        assert manifest("Service", name)["spec"]["selector"] == labels
    assert stateful["serviceName"] == "level4"
    assert manifest("Service")["spec"]["clusterIP"] == "None"


def test_pinned_dependencies_are_those_of_the_project() -> None:
    """Every dependency of pyproject.toml has its line in the lock file, which is all hashed."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=!~ \[;]", line)[0].lower() for line in wanted}
    pinned = (ROOT / "tools/container/requirements.txt").read_text()
    blocks = re.findall(r"^([a-z0-9._-]+)==\S+ \\\n((?:    --hash=.*\n)+)", pinned, re.MULTILINE)
    assert names <= {name for name, _ in blocks}, "run tools/lock"
