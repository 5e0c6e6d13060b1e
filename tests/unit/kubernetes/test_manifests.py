"""Do the manifests follow their schemas, and agree with what they start?"""

from __future__ import annotations

import re
import tomllib

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes.playable import playable
from skyrelay.settings import Settings
from skyrelay.stages import SERVICES
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS
from tests.support.manifests import (
    FOLDER,
    PAGE,
    ROOT,
    Manifest,
    containers,
    of_kind,
    overridden,
    pods,
    rendered,
    settings,
)

SCHEMAS = ROOT / "tests/support/schemas"

#: Oldest and newest release of Kubernetes that the manifests are held to.
RELEASES = ("1.29", "1.37")


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_follows_its_schema_to_the_letter(
    manifests: tuple[Manifest, ...], release: str
) -> None:
    for manifest in manifests:
        group, _, version = manifest["apiVersion"].rpartition("/")
        if "." in group and not group.endswith("k8s.io"):
            name = f"{manifest['kind'].lower()}_{group}_{version}.yaml"
            jsonschema.validate(manifest["spec"], yaml.safe_load((SCHEMAS / name).read_text()))
        else:
            kubernetes_validate.validate(manifest, release, strict=True)
    for spec in overridden(manifests):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}
        kubernetes_validate.validate(pod, release, strict=True)


def test_the_manual_names_the_releases_that_were_tried() -> None:
    assert f"Kubernetes {RELEASES[0]} or newer" in PAGE
    assert f"({RELEASES[0]} and {RELEASES[-1]}, " in PAGE


def test_a_misspelt_field_would_be_found() -> None:
    manifest = dict(of_kind(rendered("production"), "ScaledObject")["inspect"])
    schema = yaml.safe_load((SCHEMAS / "scaledobject_keda.sh_v1alpha1.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest["spec"] | {"maxReplicas": 3}, schema)
    cluster = of_kind(rendered("production"), "Cluster")["postgresql"]["spec"]
    schema = yaml.safe_load((SCHEMAS / "cluster_postgresql.cnpg.io_v1.yaml").read_text())
    for wrong in (
        {"replicas": 2},
        {"storage": {"sise": "50Gi"}},
        {"resources": {"requests": {"memory": "1 GiB"}}},
        {"bootstrap": {"initdb": {"secret": {}}}},
        {"postgresql": {"synchronous": {"method": "any", "number": 1, "durability": "required"}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(cluster | wrong, schema)
    deployment = dict(of_kind(rendered("production"), "Deployment")["gateway-web"])
    deployment["spec"] = deployment["spec"] | {"replica": 3}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, RELEASES[0], strict=True)


def test_every_stage_service_is_deployed_and_no_other(manifests: tuple[Manifest, ...]) -> None:
    found = {}
    for name, manifest in of_kind(manifests, "Deployment").items():
        if name.startswith("stage-"):
            container = manifest["spec"]["template"]["spec"]["containers"][0]
            environment = {e["name"]: e.get("value") for e in container["env"]}
            lane = environment.get("SKYRELAY_LANE", "normal")
            found[name.removesuffix("-large")] = environment["SERVICE"]
            assert name.endswith("-large") == (lane == "large"), name
    assert found == {f"stage-{name}": f"services.{name}.service" for name in SERVICES}


def test_what_is_referred_to_is_there(manifests: tuple[Manifest, ...]) -> None:
    claims = of_kind(manifests, "PersistentVolumeClaim")
    maps = of_kind(manifests, "ConfigMap")
    priorities = of_kind(manifests, "PriorityClass")
    for name, pod in pods(manifests):
        assert pod["priorityClassName"] in priorities, name
        mounted = {m["name"] for c in containers(pod) for m in c["volumeMounts"]}
        for volume in pod.get("volumes", ()):
            assert volume["name"] in mounted
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims
            if config := volume.get("configMap"):
                assert config["name"] in maps
        for container in containers(pod):
            for source in container.get("envFrom", ()):
                # Secrets are made by hand.
                assert "secretRef" in source or source["configMapRef"]["name"] in maps


def test_only_settings_that_exist_are_set(manifests: tuple[Manifest, ...]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert settings(manifests).keys() <= known
    # And can be understood.
    Settings(_env_file=None, **{k.lower(): v for k, v in settings(manifests).items()})
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            if container["image"].rpartition("/")[2].startswith("skyrelay-"):
                # A part of DATABASE_URL; which service, for the arguments.
                names = {entry["name"] for entry in container["env"]}
                names -= {"SERVICE", "DATABASE_PASSWORD"}
                assert names <= known, name


def test_the_images_have_the_version_of_the_project(manifests: tuple[Manifest, ...]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for _, pod in pods(manifests) for container in containers(pod)}
    ours = {image for image in images if "skyrelay-" in image}
    assert {image.rpartition("/")[2] for image in ours} == {
        f"skyrelay-gateway:{version}",
        f"skyrelay-science:{version}",
    }
    tags = re.findall(r"skyrelay-(?:gateway|science):([\w.]+)", PAGE)
    assert tags and set(tags) == {version}


def test_probes_ask_ports_that_are_open(manifests: tuple[Manifest, ...]) -> None:
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            ports = {port["name"] for port in container["ports"]}
            assert {"livenessProbe", "readinessProbe"} <= container.keys()
            for probe in (value for key, value in container.items() if key.endswith("Probe")):
                for how in ("httpGet", "tcpSocket"):
                    assert how not in probe or probe[how]["port"] in ports


def test_no_process_is_restarted_because_the_broker_is_away(
    manifests: tuple[Manifest, ...],
) -> None:
    for name, pod in pods(manifests):
        if name == "gateway-events" or name.startswith("stage-"):
            for probe in ("startupProbe", "livenessProbe"):
                assert pod["containers"][0][probe]["httpGet"]["path"] == "/livez", name


def test_a_server_may_take_its_time_to_recover_before_it_is_called_dead(
    manifests: tuple[Manifest, ...],
) -> None:
    for name, pod in pods(manifests):
        probe = pod["containers"][0]["startupProbe"]
        least = 300 if name.startswith(("stage-", "rabbitmq")) else 1800
        assert probe["periodSeconds"] * probe["failureThreshold"] >= least, name


def test_every_broker_waits_as_long_as_our_own_and_stops_before_its_disk_is_full() -> None:
    cluster = of_kind(rendered("production"), "RabbitmqCluster")["rabbitmq"]
    for text in (
        (ROOT / "deploy/docker/rabbitmq.conf").read_text(),
        (FOLDER / "overlays/small/90-skyrelay.conf").read_text(),
        cluster["spec"]["rabbitmq"]["additionalConfig"],
    ):
        assert f"consumer_timeout = {CONSUMER_TIMEOUT_MS}\n" in text
        assert re.search(r"^disk_free_limit\.absolute = \d+[MG]B$", text, re.M)


def test_in_production_what_was_accepted_outlives_the_loss_of_a_node() -> None:
    manifests = rendered("production")
    database = of_kind(manifests, "Cluster")["postgresql"]["spec"]
    replication = database["postgresql"]["synchronous"]
    assert replication["dataDurability"] == "required" and replication["failoverQuorum"] is True
    # Without the node of one of them all goes on.
    assert database["instances"] - 1 > replication["number"] >= 1
    assert database["affinity"] == {"podAntiAffinityType": "required"}
    broker = of_kind(manifests, "RabbitmqCluster")["rabbitmq"]["spec"]
    assert broker["replicas"] == 3
    assert broker["affinity"]["podAntiAffinity"].keys() == {
        "requiredDuringSchedulingIgnoredDuringExecution"
    }


def test_with_s3_no_volume_is_shared_for_the_tasks() -> None:
    manifests = rendered("production-s3")
    assert "tasks" not in of_kind(manifests, "PersistentVolumeClaim")
    assert settings(manifests)["TASKS_URL"].startswith("s3://")
    ours = {name: pod for name, pod in pods(manifests) if name.startswith(("gateway-", "stage-"))}
    assert len(ours) > len(SERVICES)
    for name, pod in ours.items():
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tasks"]
        assert volume.keys() == {"name", "emptyDir"}, name
        secrets = [entry["secretRef"]["name"] for entry in pod["containers"][0]["envFrom"][1:]]
        assert secrets == ["skyrelay-s3"], name


def test_podman_plays_the_same_processes_under_the_same_restrictions() -> None:
    manifests = rendered("small")
    played = tuple(playable(manifests, "127.0.0.1", 8000))
    assert {m["kind"] for m in played} == {
        "ConfigMap",
        "PersistentVolumeClaim",
        "Deployment",
        "Pod",
    }
    # What runs before another one has a pod of its own.
    first = [c for pod in dict(pods(manifests)).values() for c in pod.get("initContainers", ())]
    single = [pod["spec"]["containers"][0] for pod in of_kind(played, "Pod").values()]
    assert [c["name"] for c in single] == [c["name"] for c in first] == ["broker-users"]
    assert single[0]["securityContext"] == first[0]["securityContext"]
    before, after = dict(pods(manifests)), dict(pods(played))
    assert after.keys() == before.keys()
    claims = of_kind(played, "PersistentVolumeClaim")
    empty = [v["name"] for pod in after.values() for v in pod["volumes"] if "emptyDir" in v]
    assert len(set(empty)) == len(empty), "podman would share them"
    for name, pod in after.items():
        assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        (container,), (original,) = pod["containers"], before[name]["containers"]
        for same in ("image", "env", "securityContext", "resources"):
            assert container[same] == original[same], name
        assert "exec" in container["livenessProbe"], name
        assert not any("$(" in argument for argument in container["args"]), name
