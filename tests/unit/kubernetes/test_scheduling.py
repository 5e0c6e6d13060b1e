"""Where do pods run, how many of each, and how do they go?"""

from __future__ import annotations

from skyrelay.broker import topology
from skyrelay.messages import Lane
from skyrelay.stages import SERVICES, STAGES
from tests.support.manifests import Manifest, of_kind, overridden, pods, rendered, settings


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


def test_no_autoscaler_of_nodes_moves_a_stage_in_the_middle_of_its_work(
    manifests: tuple[Manifest, ...],
) -> None:
    for name, manifest in of_kind(manifests, "Deployment").items():
        told = manifest["spec"]["template"]["metadata"].get("annotations", {})
        kept = told.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false"
        assert kept == name.startswith("stage-"), name


def test_a_replica_that_has_to_go_is_given_time_for_the_longest_stage(
    manifests: tuple[Manifest, ...],
) -> None:
    drain = float(settings(manifests)["SKYRELAY_DRAIN_GRACE"])
    assert drain > max(stage.time_limit for stage in STAGES)
    for name, pod in pods(manifests):
        if name.startswith("stage-"):
            assert pod["terminationGracePeriodSeconds"] > drain


def test_a_node_of_the_broker_is_given_its_operators_time_to_leave_a_quorum_behind() -> None:
    broker = of_kind(rendered("production"), "RabbitmqCluster")["rabbitmq"]["spec"]
    # A week, which its hook needs while another node is away: see the operator's issue 419.
    assert broker.get("terminationGracePeriodSeconds", 604800) == 604800


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


def test_replicas_of_one_lane_are_not_counted_with_the_other() -> None:
    deployments = of_kind(rendered("production"), "Deployment")
    for service in SERVICES:
        normal, large = (deployments[f"stage-{service}{lane}"]["spec"] for lane in ("", "-large"))
        labels = large["template"]["metadata"]["labels"]
        assert not normal["selector"]["matchLabels"].items() <= labels.items()
        assert large["selector"]["matchLabels"].items() <= labels.items()
