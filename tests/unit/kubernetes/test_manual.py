"""Do the patches that the manual shows do what it says?"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import kubernetes_validate
import yaml

from tests.support.manifests import PAGE, ROOT, Manifest, of_kind, pods, rendered_with

STORAGE = (ROOT / "docs/operations/storage.md").read_text()

_PATCHES = re.compile(r"^    patches:\n(?:    .+\n)+", re.M)


def _shown(page: str, kind: str) -> str:
    """The lines of a page that patch what is of this kind."""
    (lines,) = [found for found in _PATCHES.findall(page) if f"kind: {kind}" in found]
    return dedent(lines)


def test_names_can_be_asked_for_at_an_address_and_of_openshift(tmp_path: Path) -> None:
    manifests = rendered_with("production", _shown(PAGE, "NetworkPolicy"), tmp_path)
    policy = _valid(of_kind(manifests, "NetworkPolicy")["names"])
    peers = {str(peer): rule["ports"] for rule in policy["spec"]["egress"] for peer in rule["to"]}
    (ports,) = [ports for peer, ports in peers.items() if "openshift-dns" in peer]
    assert {each["port"] for each in ports} == {5353}
    (ports,) = [ports for peer, ports in peers.items() if "10.96.0.10/32" in peer]
    assert {each["port"] for each in ports} == {53}


def test_ingress_nginx_can_be_told_of_large_images(tmp_path: Path) -> None:
    manifests = rendered_with("production", _shown(PAGE, "Ingress"), tmp_path)
    (ingress,) = map(_valid, of_kind(manifests, "Ingress").values())
    assert ingress["spec"]["ingressClassName"] == "nginx"
    told = {name.rpartition("/")[2] for name in ingress["metadata"]["annotations"]}
    assert {"proxy-body-size", "proxy-request-buffering", "proxy-buffering"} <= told


def test_a_role_can_take_the_place_of_keys_for_s3(tmp_path: Path) -> None:
    manifests = rendered_with("production-s3", _shown(STORAGE, "ServiceAccount"), tmp_path)
    account = _valid(of_kind(manifests, "ServiceAccount")["skyrelay"])
    assert account["metadata"]["annotations"].keys() == {"eks.amazonaws.com/role-arn"}
    for name, pod in pods(manifests):
        assert pod["serviceAccountName"] == "skyrelay", name


def test_the_agent_of_pod_identity_can_be_asked_and_the_node_for_nothing_else(
    tmp_path: Path,
) -> None:
    manifests = rendered_with("production-s3", _shown(STORAGE, "NetworkPolicy"), tmp_path)
    policy = _valid(of_kind(manifests, "NetworkPolicy")["s3"])
    *_, rule = policy["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "169.254.170.23/32"}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 80}]


def test_the_values_for_traefik_can_be_read() -> None:
    (shown,) = re.findall(r"^    apiVersion: helm[.]cattle[.]io/v1\n(?:    .+\n)+", PAGE, re.M)
    values = yaml.safe_load(yaml.safe_load(dedent(shown))["spec"]["valuesContent"])
    timeouts = values["ports"]["websecure"]["transport"]["respondingTimeouts"]
    assert timeouts == {"readTimeout": "1h"}
    assert values["providers"]["kubernetesIngress"] == {"allowEmptyServices": True}


def _valid(manifest: Manifest) -> Manifest:
    kubernetes_validate.validate(manifest, "1.29", strict=True)
    return manifest
