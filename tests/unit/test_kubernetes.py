"""Do the manifests follow their schemas, and agree with what they start?"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes import resources
from deploy.kubernetes.playable import playable
from skyrelay.broker import topology
from skyrelay.cli.broker_users import broker_users
from skyrelay.messages import Lane
from skyrelay.settings import Settings
from skyrelay.stages import SERVICES, STAGES
from skyrelay.time_limits import CONSUMER_TIMEOUT_MS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
SCHEMAS = ROOT / "tests/support/schemas"

#: Oldest and newest release of Kubernetes that the manifests are held to.
RELEASES = ("1.29", "1.34")

PAGE = (ROOT / "docs/operations/kubernetes.md").read_text()

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    kubectl = Path(sys.executable).parent / "kubectl"
    assert kubectl.exists(), "`make setup-dev` brings it"
    answer = subprocess.run(
        [kubectl, "kustomize", FOLDER / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "deprecated" not in answer.stderr
    return tuple(yaml.safe_load_all(answer.stdout))


@pytest.fixture(params=["small", "small-autoscaling", "small-s3", "production", "production-s3"])
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return rendered(request.param)


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    for kind in ("Deployment", "StatefulSet"):
        for name, manifest in of_kind(manifests, kind).items():
            yield name, manifest["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """All of a pod, those that run before the others first."""
    found: list[Manifest] = [*pod.get("initContainers", ()), *pod["containers"]]
    return found


def overridden(manifests: tuple[Manifest, ...]) -> Iterator[Manifest]:
    """What is said of the pods that the broker's operator makes."""
    for manifest in of_kind(manifests, "RabbitmqCluster").values():
        yield manifest["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]


def settings(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    (found,) = [m for n, m in of_kind(manifests, "ConfigMap").items() if n.startswith("settings")]
    content: dict[str, str] = found["data"]
    return content


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
        {"inheritedMetadata": {"labels": {"number": 1}}},
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


def test_every_pod_is_restricted(manifests: tuple[Manifest, ...]) -> None:
    """What the profile `restricted` of the pod security standards demands, and more."""
    for name, pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


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


def _gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) / (1024 if unit == "Mi" else 1)


def test_no_autoscaler_of_nodes_moves_a_stage_in_the_middle_of_its_work(
    manifests: tuple[Manifest, ...],
) -> None:
    for name, manifest in of_kind(manifests, "Deployment").items():
        told = manifest["spec"]["template"]["metadata"].get("annotations", {})
        kept = told.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false"
        assert kept == name.startswith("stage-"), name


def test_the_pods_of_the_brokers_operator_are_restricted() -> None:
    (pod,) = overridden(rendered("production"))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # The names are the operator's, and there are no others.
    (init,), (broker,) = pod["initContainers"], pod["containers"]
    assert (init["name"], broker["name"]) == ("setup-container", "rabbitmq")
    for container in (init, broker):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_broker_and_database_go_before_the_gateway_and_that_before_the_stages(
    manifests: tuple[Manifest, ...],
) -> None:
    classes = of_kind(manifests, "PriorityClass")
    named = {name: pod["priorityClassName"] for name, pod in pods(manifests)}
    for pod in overridden(manifests):
        named["rabbitmq"] = pod["priorityClassName"]
    for cluster in of_kind(manifests, "Cluster").values():
        named["postgresql"] = cluster["spec"]["priorityClassName"]
    values = {name: classes[wanted]["value"] for name, wanted in named.items()}
    stages = [value for name, value in values.items() if name.startswith("stage-")]
    gateway = [value for name, value in values.items() if name.startswith("gateway-")]
    assert max(stages) < min(gateway) <= max(gateway)
    assert max(gateway) < min(values["rabbitmq"], values["postgresql"])


def test_a_drain_takes_one_replica_of_a_service_at_a_time_and_is_never_refused_for_good(
    manifests: tuple[Manifest, ...],
) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget").values()
    for manifest in of_kind(manifests, "Deployment").values():
        labels = manifest["spec"]["template"]["metadata"]["labels"].items()
        (budget,) = [b for b in budgets if b["spec"]["selector"]["matchLabels"].items() <= labels]
        assert budget["spec"]["maxUnavailable"] == 1


def test_replicas_of_a_service_are_spread_over_the_nodes(manifests: tuple[Manifest, ...]) -> None:
    for manifest in of_kind(manifests, "Deployment").values():
        template = manifest["spec"]["template"]
        (spread,) = template["spec"]["topologySpreadConstraints"]
        assert spread["topologyKey"] == "kubernetes.io/hostname"
        # One node is better than none.
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
        wanted, labels = spread["labelSelector"]["matchLabels"], template["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        name = "app.kubernetes.io/name"
        assert wanted[name] == labels[name]


def test_a_replica_that_has_to_go_is_given_time_for_the_longest_stage(
    manifests: tuple[Manifest, ...],
) -> None:
    drain = float(settings(manifests)["SKYRELAY_DRAIN_GRACE"])
    assert drain > max(stage.time_limit for stage in STAGES)
    for name, pod in pods(manifests):
        if name.startswith("stage-"):
            assert pod["terminationGracePeriodSeconds"] > drain


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


def test_secrets_are_referred_to_and_nowhere_written_down(manifests: tuple[Manifest, ...]) -> None:
    assert of_kind(manifests, "Secret") == {}
    for _, pod in pods(manifests):
        for entry in (e for container in containers(pod) for e in container.get("env", ())):
            if "$(DATABASE_PASSWORD)" in entry.get("value", ""):
                continue
            if re.search(r"PASS|SECRET|URI|URL", entry["name"]):
                assert "secretKeyRef" in entry["valueFrom"]


def test_the_administrator_of_the_broker_is_known_only_to_who_makes_its_users(
    manifests: tuple[Manifest, ...],
) -> None:
    made = 0
    for name, pod in pods(manifests):
        for container in containers(pod):
            told = {entry["name"]: entry for entry in container.get("env", ())}
            if container["name"] == "broker-users":
                made += 1
                options = {option.envvar for option in broker_users.params}
                assert told.keys() == options, name
                for role in ("gateway", "stage"):
                    reference = told[f"BROKER_{role.upper()}_URI"]["valueFrom"]["secretKeyRef"]
                    assert reference == {"name": "skyrelay-broker", "key": f"{role}-uri"}
            elif name.startswith(("gateway-", "stage-")):
                assert not re.search("administrator|default-user", str(container)), name
    assert made == 1


def test_the_gateway_believes_the_ingress_and_nobody_else_can_say_so() -> None:
    for overlay in ("production", "production-s3", "small-s3"):
        manifests = rendered(overlay)
        (ingress,) = of_kind(manifests, "Ingress").values()
        assert ingress["spec"]["tls"]
        told = {k.lower(): v for k, v in settings(manifests).items()}
        trusted = Settings(_env_file=None, **told).skyrelay_trusted_proxies
        # Of kind, k3s, Calico and Docker.
        for address in ("10.244.1.7", "10.42.0.9", "192.168.87.3", "172.17.0.4"):
            assert any(ip_address(address) in network for network in trusted)
        assert not any(ip_address("8.8.8.8") in network for network in trusted)
        policy = of_kind(manifests, "NetworkPolicy")["gateway"]["spec"]
        sources = [peer for rule in policy["ingress"] for peer in rule["from"]]
        assert all(peer.keys() == {"namespaceSelector"} for peer in sources)
    assert "SKYRELAY_TRUSTED_PROXIES" not in settings(rendered("small"))


def test_in_production_broker_and_database_are_spoken_to_over_tls_only() -> None:
    manifests = rendered("production")
    tls = of_kind(manifests, "RabbitmqCluster")["rabbitmq"]["spec"]["tls"]
    assert tls["disableNonTLSListeners"] is True
    for name, pod in pods(manifests):
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        for container in containers(pod):
            mounted = {m["mountPath"]: secrets.get(m["name"]) for m in container["volumeMounts"]}
            authority = Path(settings(manifests)["SKYRELAY_BROKER_CA"])
            assert mounted[str(authority.parent)] == tls["caSecretName"], name
            environment = {entry["name"]: entry.get("value") for entry in container["env"]}
            if url := environment.get("DATABASE_URL"):
                query = parse_qs(urlsplit(url).query)
                assert query["sslmode"] == ["verify-full"]
                # The name of the authority that CloudNativePG makes for its cluster.
                assert mounted[str(Path(query["sslrootcert"][0]).parent)] == "postgresql-ca"
                assert environment.keys() >= {"DATABASE_PASSWORD"}
                names = list(environment)
                assert names.index("DATABASE_PASSWORD") < names.index("DATABASE_URL")
            if management := environment.get("BROKER_MANAGEMENT"):
                assert management.startswith("https://")
    authentication = of_kind(manifests, "TriggerAuthentication")["queue-length"]["spec"]
    assert {"tls", "ca"} <= {each["parameter"] for each in authentication["secretTargetRef"]}
    (endpoint,) = of_kind(manifests, "PodMonitor")["rabbitmq"]["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"


def test_an_authority_of_s3_may_be_brought_along() -> None:
    for name, pod in pods(rendered("production-s3")):
        (volume,) = [each for each in pod["volumes"] if each["name"] == "s3-ca"]
        assert volume["secret"] == {"secretName": "s3-ca", "optional": True}, name


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


def test_every_line_that_the_manual_names_has_a_policy() -> None:
    """The table of `kubernetes.md`: what, who, port, policy."""
    policies = of_kind(rendered("production-s3"), "NetworkPolicy")
    private = FOLDER / "components/private-network/network.yaml"
    policies["private-network"] = yaml.safe_load(private.read_text())
    rows = re.findall(
        r"^\| (.+) \| (gateway|stages|both) \| ([\d, any]+) \| `(.+)` \|$", PAGE, re.M
    )
    assert len(rows) > 8
    for what, who, ports, name in rows:
        spec = policies[name]["spec"]
        for role in ("gateway", "stage") if who == "both" else (who.removesuffix("s"),):
            labels = {"skyrelay/role": role}
            if name == "broker-users":
                labels["app.kubernetes.io/name"] = "gateway-events"
            assert _selects(spec["podSelector"], labels), what
        open_ = [rule.get("ports", [{"port": "any"}]) for rule in spec["egress"]]
        for port in ports.split(", "):
            assert port in {str(each["port"]) for rule in open_ for each in rule}, (what, port)
    assert {row[3] for row in rows} >= {
        name
        for name, each in policies.items()
        if "skyrelay/role" in str(each["spec"]["podSelector"])
    }


def test_stages_do_not_get_the_secrets_of_the_gateway(manifests: tuple[Manifest, ...]) -> None:
    for name, pod in pods(manifests):
        if name.startswith("stage-"):
            text = str(pod)
            assert "skyrelay-gateway" not in text and "gateway-uri" not in text


def test_every_service_is_scaled_by_the_length_of_its_own_queue() -> None:
    manifests = rendered("production")
    scaled = of_kind(manifests, "ScaledObject")
    queues = {service: topology.work_queue(service).name for service in SERVICES} | {
        f"{service}-large": topology.work_queue(service, Lane.LARGE).name for service in SERVICES
    }
    assert scaled.keys() == queues.keys()
    assert float(settings(manifests)["SKYRELAY_LARGE_IMAGE"]) > 0
    window = int(settings(manifests)["SKYRELAY_QUEUE_WINDOW"])
    slots = int(settings(manifests)["SKYRELAY_SLOTS"])
    for service, manifest in scaled.items():
        spec = manifest["spec"]
        target = of_kind(manifests, "Deployment")[spec["scaleTargetRef"]["name"]]
        assert target["metadata"]["name"] == f"stage-{service}"
        assert "replicas" not in target["spec"]  # or each deployment would reset the number
        (trigger,) = spec["triggers"]
        assert trigger["metadata"]["queueName"] == queues[service]
        # Work in hand counts, or a service would be scaled in while it works.
        assert trigger["metadata"]["protocol"] == "http"
        assert trigger["metadata"]["excludeUnacknowledged"] == "false"
        # The autoscaler sees no more messages than the broker has.
        seen = max(2 * slots, float(trigger["metadata"]["value"]))
        assert seen * spec["maxReplicaCount"] <= window


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


def test_replicas_of_one_lane_are_not_counted_with_the_other() -> None:
    deployments = of_kind(rendered("production"), "Deployment")
    for service in SERVICES:
        normal, large = (deployments[f"stage-{service}{lane}"]["spec"] for lane in ("", "-large"))
        labels = large["template"]["metadata"]["labels"]
        assert not normal["selector"]["matchLabels"].items() <= labels.items()
        assert large["selector"]["matchLabels"].items() <= labels.items()


def test_network_policies_close_everything_and_open_what_is_needed(
    manifests: tuple[Manifest, ...],
) -> None:
    policies = {n: m["spec"] for n, m in of_kind(manifests, "NetworkPolicy").items()}
    nothing = policies["nothing-by-default"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert _reached(policies, {"skyrelay/role": "stage"}) - {"s3"} == {
        "app.kubernetes.io/component=rabbitmq",
        "kubernetes.io/metadata.name=kube-system",
        "kubernetes.io/metadata.name=monitoring",
        "skyrelay/neighbour=true",
        "outside",
    }
    assert _reached(policies, {"skyrelay/role": "gateway"}) - _reached(
        policies, {"skyrelay/role": "stage"}
    ) == {"app.kubernetes.io/component=postgresql"}
    labels = {
        tuple(sorted(manifest["spec"]["template"]["metadata"]["labels"].items()))
        for kind in ("Deployment", "StatefulSet")
        for manifest in of_kind(manifests, kind).values()
    }
    for name in ("stages", "gateway"):
        wanted = policies[name]["podSelector"]["matchLabels"].items()
        assert any(wanted <= set(each) for each in labels), name


def _reached(policies: dict[str, Manifest], labels: dict[str, str]) -> set[str]:
    """Whom pods with these labels may speak to."""
    found = set()
    for name, policy in policies.items():
        if not _selects(policy["podSelector"], labels):
            continue
        for peer in (peer for rule in policy.get("egress", ()) for peer in rule["to"]):
            if block := peer.get("ipBlock"):
                # Other clusters' services, and other pods, are not outside.
                assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= {*block["except"]}
                found.add("outside")
            elif name == "s3":
                found.add("s3")
            else:
                (selector,) = peer.values()
                found |= {f"{key}={value}" for key, value in selector["matchLabels"].items()}
    return found


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


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


def test_probes_ask_ports_that_are_open(manifests: tuple[Manifest, ...]) -> None:
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            ports = {port["name"] for port in container["ports"]}
            assert {"livenessProbe", "readinessProbe"} <= container.keys()
            for probe in (value for key, value in container.items() if key.endswith("Probe")):
                for how in ("httpGet", "tcpSocket"):
                    assert how not in probe or probe[how]["port"] in ports


def test_the_brokers_wait_as_long_as_our_own() -> None:
    small = (FOLDER / "overlays/small/90-skyrelay.conf").read_text()
    cluster = of_kind(rendered("production"), "RabbitmqCluster")["rabbitmq"]
    for text in (small, cluster["spec"]["rabbitmq"]["additionalConfig"]):
        assert f"consumer_timeout = {CONSUMER_TIMEOUT_MS}\n" in text


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
