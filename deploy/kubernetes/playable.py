"""What does `podman kube play` need changed in an overlay? ``python -m deploy.kubernetes.playable``

Reads manifests from its input and writes those that podman 4 runs: it knows no StatefulSet, no
Service, no Secret of a cluster and no probe over HTTP in an image without curl. What the processes
are told (commands, settings, users, read-only roots, limits) stays as it is rendered.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import click
import yaml

Manifest = dict[str, Any]

#: What podman runs as it is, or ought to; of the rest, it would only say that it leaves it out.
_KEPT = ("ConfigMap", "PersistentVolumeClaim", "Deployment")

#: Seconds before the first look at a pod: podman 4 has no probe for the start.
_START = 120


def playable(manifests: Iterable[Manifest], address: str, port: int) -> Iterator[Manifest]:
    """The same for podman; ``gateway-web`` listens on ``address:port`` of this machine.

    What others wait for comes first: podman starts one pod after the other.
    """
    for manifest in map(deepcopy, sorted(manifests, key=lambda each: each["kind"] == "Deployment")):
        if manifest["kind"] == "StatefulSet":
            yield from _claims(manifest["spec"].pop("volumeClaimTemplates"), manifest["spec"])
            manifest["kind"] = "Deployment"
            del manifest["spec"]["serviceName"]
        if manifest["kind"] not in _KEPT:
            continue
        if manifest["kind"] == "Deployment":
            # Podman runs a pod for each replica under one name of the network: one is enough.
            manifest["spec"]["replicas"] = 1
            pod = manifest["spec"]["template"]["spec"]
            _own_scratch(pod, manifest["metadata"]["name"])
            yield from (_by_itself(each, pod) for each in pod.pop("initContainers", ()))
            for container in pod["containers"]:
                _adapt(container)
                if manifest["metadata"]["name"] == "gateway-web":
                    container["ports"][0] |= {"hostIP": address, "hostPort": port}
                else:
                    # Podman would open every port on this machine.
                    del container["ports"]
        yield manifest


def _claims(templates: list[Manifest], spec: Manifest) -> Iterator[Manifest]:
    for template in templates:
        name = template["metadata"]["name"]
        spec["template"]["spec"].setdefault("volumes", []).append(
            {"name": name, "persistentVolumeClaim": {"claimName": name}}
        )
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **template}


def _by_itself(container: Manifest, pod: Manifest) -> Manifest:
    """A pod of what runs before another one: podman 4 starts it again when it has ended well."""
    for entry in container["env"]:
        if "value" in entry:
            # There is no Service: a pod is reached under its own name.
            entry["value"] = entry["value"].replace("//rabbitmq:", "//rabbitmq-pod-0:")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    kept = {"automountServiceAccountToken", "enableServiceLinks", "securityContext"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": container["name"]},
        "spec": {
            **{name: pod[name] for name in kept & pod.keys()},
            "restartPolicy": "OnFailure",
            "containers": [container],
            "volumes": [volume for volume in pod["volumes"] if volume["name"] in mounted],
        },
    }


def _own_scratch(pod: Manifest, name: str) -> None:
    """Podman makes one volume of all that are empty and have the same name, for all pods."""
    for volume in pod["volumes"]:
        if "emptyDir" in volume:
            shared, volume["name"] = volume["name"], f"{name}-{volume['name']}"
            for container in [*pod["containers"], *pod.get("initContainers", ())]:
                for mount in container.get("volumeMounts", ()):
                    if mount["name"] == shared:
                        mount["name"] = volume["name"]


def _adapt(container: Manifest) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    # Only a cluster puts the values of the environment into the arguments.
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    container["args"] = [
        values.get(argument[2:-1], argument) if argument.startswith("$(") else argument
        for argument in container.get("args", [])
    ]
    container.pop("startupProbe", None)
    container.pop("readinessProbe", None)
    probe = container["livenessProbe"]
    probe["initialDelaySeconds"] = _START
    if "httpGet" in probe:
        request = probe.pop("httpGet")
        port = str(ports[request["port"]])
        probe["exec"] = {"command": ["healthcheck", port, request["path"]]}
    for mount in container["volumeMounts"]:
        # A file of a ConfigMap: podman 4 mounts the whole of it, so its folder is the place.
        if "subPath" in mount:
            mount["mountPath"] = mount["mountPath"].removesuffix("/" + mount.pop("subPath"))


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True)
def main(address: str, port: int) -> None:
    """Read rendered manifests, write what podman runs of them."""
    manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
    yaml.safe_dump_all(playable(manifests, address, port), sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main()
