"""How much of its node is a pod promised, and how much may it take?"""

from __future__ import annotations

import re

import pytest

from deploy.kubernetes import resources
from tests.support.manifests import Manifest, of_kind, pods, rendered, settings


def test_requests_and_limits_are_made_of_what_was_measured() -> None:
    for path, content in resources.files().items():
        assert path.read_text() == content, f"{path} is old: make docs"
    manifests = rendered("production")
    large = settings(manifests)["SKYRELAY_LARGE_IMAGE"]
    assert float(large) == resources.LARGE_IMAGE
    scaled = of_kind(manifests, "ScaledObject").values()
    assert sum(each["spec"]["maxReplicaCount"] for each in scaled) <= resources.REPLICAS
    memory = of_kind(manifests, "RabbitmqCluster")["rabbitmq"]["spec"]["resources"]
    assert memory["requests"]["memory"] == memory["limits"]["memory"]


def test_what_a_pod_leaves_on_its_nodes_disk_is_counted(manifests: tuple[Manifest, ...]) -> None:
    for name, pod in pods(manifests):
        if not name.startswith(("gateway-", "stage-")):
            continue
        (container,) = pod["containers"]
        asked, allowed = (
            _gib(container["resources"][each]["ephemeral-storage"])
            for each in ("requests", "limits")
        )
        kept = [volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume]
        on_disk = sum(_gib(each["sizeLimit"]) for each in kept if each.get("medium") != "Memory")
        assert 0 < asked <= allowed
        assert on_disk < allowed, name


@pytest.mark.parametrize("overlay", ["small", "small-autoscaling", "small-s3"])
def test_the_small_overlays_fit_beside_kubernetes_itself_on_two_cores(overlay: str) -> None:
    manifests = rendered(overlay)
    most = _most(manifests)
    asked = [
        (container["resources"]["requests"], most[name])
        for name, pod in pods(manifests)
        for container in pod["containers"]
    ]
    assert sum(int(each["cpu"].removesuffix("m")) * count for each, count in asked) <= 1000
    assert sum(_gib(each["memory"]) * count for each, count in asked) <= 3


def test_autoscaling_on_one_node_never_takes_more_than_the_small_overlay() -> None:
    plain, scaled = rendered("small"), rendered("small-autoscaling")
    assert _most(scaled) == _most(plain)
    assert [pod for _, pod in pods(scaled)] == [pod for _, pod in pods(plain)]
    # And serves as much: a lane for large images would wait for a node that has more memory.
    assert settings(scaled) == settings(plain)
    for service, each in of_kind(scaled, "ScaledObject").items():
        assert each["spec"]["minReplicaCount"] == 0, service


def _most(manifests: tuple[Manifest, ...]) -> dict[str, int]:
    """Of how many pods at most each name may have."""
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicaCount"]
        for each in of_kind(manifests, "ScaledObject").values()
    }
    written = {
        name: manifest["spec"].get("replicas")
        for kind in ("Deployment", "StatefulSet")
        for name, manifest in of_kind(manifests, kind).items()
    }
    return {name: scaled.get(name, count) for name, count in written.items()}


@pytest.mark.parametrize("overlay", ["production-s3", "small-s3"])
def test_what_is_kept_from_s3_and_of_sky_services_leaves_room_for_work_in_its_volume(
    overlay: str,
) -> None:
    manifests = rendered(overlay)
    told = settings(manifests)
    kept = float(told["SKYRELAY_S3_CACHE"]) + float(told["SKYRELAY_CACHE_SIZE"])
    for name, pod in pods(manifests):
        if not name.startswith(("gateway-", "stage-")):
            continue
        (volume,) = [each for each in pod["volumes"] if each["name"] == "tasks"]
        assert kept <= _gib(volume["emptyDir"]["sizeLimit"]) / 2, name
        asked = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
        assert kept <= _gib(asked), name


def test_the_mirrors_of_a_bucket_fit_on_the_disk_of_one_node() -> None:
    asked = [
        _gib(container["resources"]["requests"]["ephemeral-storage"])
        for name, pod in pods(rendered("small-s3"))
        for container in pod["containers"]
        if name.startswith(("gateway-", "stage-"))
    ]
    # All of them twice, as while a new version takes over.
    assert 2 * sum(asked) <= 30


def _gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) / (1024 if unit == "Mi" else 1)
