"""How much of its node is a pod promised, and how much may it take?"""

from __future__ import annotations

import re

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


def test_the_small_overlay_fits_beside_kubernetes_itself_on_two_cores() -> None:
    asked = [
        container["resources"]["requests"]["cpu"]
        for _, pod in pods(rendered("small"))
        for container in pod["containers"]
    ]
    assert sum(int(each.removesuffix("m")) for each in asked) <= 1000


def test_what_is_kept_from_s3_and_of_sky_services_leaves_room_for_work_in_its_volume() -> None:
    manifests = rendered("production-s3")
    told = settings(manifests)
    kept = float(told["SKYRELAY_S3_CACHE"]) + float(told["SKYRELAY_CACHE_SIZE"])
    for name, pod in pods(manifests):
        (volume,) = [each for each in pod["volumes"] if each["name"] == "tasks"]
        assert kept <= _gib(volume["emptyDir"]["sizeLimit"]) / 2, name
        asked = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
        assert kept <= _gib(asked), name


def _gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) / (1024 if unit == "Mi" else 1)
