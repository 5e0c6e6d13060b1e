"""What do the overlays for Kubernetes come to, and what is in them?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"

#: The manual's page about them.
PAGE = (ROOT / "docs/operations/kubernetes.md").read_text()

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    return _built(FOLDER / "overlays" / overlay)


def rendered_with(overlay: str, lines: str, folder: Path) -> tuple[Manifest, ...]:
    """An overlay over this one, made in this folder, whose kustomization has these lines, too."""
    below = os.path.relpath(FOLDER / "overlays" / overlay, folder)
    (folder / "kustomization.yaml").write_text(f"resources: [{below}]\n{lines}")
    return _built(folder)


def _built(folder: Path) -> tuple[Manifest, ...]:
    kubectl = Path(sys.executable).parent / "kubectl"
    assert kubectl.exists(), "`make setup-dev` brings it"
    answer = subprocess.run(
        [kubectl, "kustomize", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "deprecated" not in answer.stderr
    return tuple(yaml.safe_load_all(answer.stdout))


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
