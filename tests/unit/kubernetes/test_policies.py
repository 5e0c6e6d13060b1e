"""Who may speak to whom in a cluster?"""

from __future__ import annotations

import re
from ipaddress import ip_address

import yaml

from skyrelay.settings import Settings
from tests.support.manifests import FOLDER, PAGE, Manifest, of_kind, rendered, settings


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
    ) == {f"{key}={value}" for key, value in _database(manifests).items()}
    labels = {
        tuple(sorted(manifest["spec"]["template"]["metadata"]["labels"].items()))
        for kind in ("Deployment", "StatefulSet")
        for manifest in of_kind(manifests, kind).values()
    }
    for name in ("stages", "gateway"):
        wanted = policies[name]["podSelector"]["matchLabels"].items()
        assert any(wanted <= set(each) for each in labels), name


def test_the_gateway_reaches_the_database_whose_pods_reach_each_other(
    manifests: tuple[Manifest, ...],
) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    database, gateway = _database(manifests), {"skyrelay/role": "gateway"}
    policy = policies["postgresql"]["spec"]
    assert _selects(policy["podSelector"], database)
    assert _peers(policy["egress"], database)
    assert _peers(policy["ingress"], database) and _peers(policy["ingress"], gateway)
    assert _peers(policies["gateway"]["spec"]["egress"], database)


def test_names_are_asked_of_pods_and_of_the_node_and_the_node_for_nothing_else(
    manifests: tuple[Manifest, ...],
) -> None:
    caches = {"169.254.20.10/32", "169.254.169.254/32"}
    for name, manifest in of_kind(manifests, "NetworkPolicy").items():
        for rule in manifest["spec"].get("egress", ()):
            blocks = [peer["ipBlock"] for peer in rule.get("to", ()) if "ipBlock" in peer]
            opened = {block["cidr"] for block in blocks}
            if name == "names":
                assert opened == caches
                assert {(each["protocol"], each["port"]) for each in rule["ports"]} == {
                    ("UDP", 53),
                    ("TCP", 53),
                }
            else:
                assert all("169.254.0.0/16" in block["except"] for block in blocks), name


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


def test_the_ingress_is_for_whatever_controller_there_is_and_certificates_can_be_proved() -> None:
    for overlay in ("production", "production-s3", "small-s3"):
        manifests = rendered(overlay)
        (ingress,) = of_kind(manifests, "Ingress").values()
        assert "ingressClassName" not in ingress["spec"]
        assert "annotations" not in ingress["metadata"]
        policy = of_kind(manifests, "NetworkPolicy")["certificates"]["spec"]
        # What cert-manager calls its solvers, and where they listen.
        assert _selects(policy["podSelector"], {"acme.cert-manager.io/http01-solver": "true"})
        (rule,) = policy["ingress"]
        assert [each["port"] for each in rule["ports"]] == [8089]
        gateway = of_kind(manifests, "NetworkPolicy")["gateway"]["spec"]
        assert rule["from"] == gateway["ingress"][0]["from"]


def _reached(policies: dict[str, Manifest], labels: dict[str, str]) -> set[str]:
    """Whom pods with these labels may speak to."""
    found = set()
    for name, policy in policies.items():
        if not _selects(policy["podSelector"], labels):
            continue
        for peer in (peer for rule in policy.get("egress", ()) for peer in rule["to"]):
            if name == "names" and "ipBlock" in peer:
                continue
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


def _database(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """The label that all of its pods have; CloudNativePG's, that make an instance, no other."""
    if clusters := of_kind(manifests, "Cluster"):
        (name,) = clusters
        return {"cnpg.io/cluster": name}
    template = of_kind(manifests, "StatefulSet")["postgresql"]["spec"]["template"]
    name = "app.kubernetes.io/component"
    return {name: template["metadata"]["labels"][name]}


def _peers(rules: list[Manifest], labels: dict[str, str]) -> bool:
    """Is a pod of this namespace with these labels among those of the rules?"""
    peers = [peer for rule in rules for peer in (*rule.get("to", ()), *rule.get("from", ()))]
    return any(_selects(peer["podSelector"], labels) for peer in peers if "podSelector" in peer)


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )
