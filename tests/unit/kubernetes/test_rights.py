"""What may a pod do on its node, and what is it told that is secret?"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from skyrelay.cli.broker_users import broker_users
from tests.support.manifests import (
    Manifest,
    containers,
    of_kind,
    overridden,
    pods,
    rendered,
    settings,
)


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


def test_secrets_are_referred_to_and_nowhere_written_down(manifests: tuple[Manifest, ...]) -> None:
    assert of_kind(manifests, "Secret") == {}
    for _, pod in pods(manifests):
        for entry in (e for container in containers(pod) for e in container.get("env", ())):
            if "$(DATABASE_PASSWORD)" in entry.get("value", ""):
                continue
            if re.search(r"PASS|SECRET|URI|URL", entry["name"]):
                assert "secretKeyRef" in entry["valueFrom"]


def test_stages_do_not_get_the_secrets_of_the_gateway(manifests: tuple[Manifest, ...]) -> None:
    for name, pod in pods(manifests):
        if name.startswith("stage-"):
            text = str(pod)
            assert "skyrelay-gateway" not in text and "gateway-uri" not in text


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
