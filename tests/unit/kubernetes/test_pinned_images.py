"""Does the manual pin the images that are used, and those that the operators start too?"""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent

import yaml

from tests.support.manifests import FOLDER, ROOT, of_kind, rendered

PAGE = (ROOT / "docs/operations/images.md").read_text()


def block(key: str) -> str:
    """The lines of the manual below this key, as they would stand in a file."""
    (found,) = re.findall(rf"^    {key}:\n(?:      .*\n)+", PAGE, re.MULTILINE)
    return dedent(found)


def unpinned(image: str) -> str:
    return image.removesuffix("@sha256:...").removesuffix("...")


def test_the_lines_for_compose_pin_the_images_that_it_starts() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    pinned = yaml.safe_load(block("services"))["services"]
    assert pinned
    for name, service in pinned.items():
        assert service["image"] == f"{compose[name]['image']}@sha256:..."


def test_the_patches_for_production_pin_its_broker_and_its_database(tmp_path: Path) -> None:
    production = os.path.relpath(FOLDER / "overlays/production", tmp_path)
    kustomization = f"resources: [{production}]\n{block('patches')}"
    (tmp_path / "kustomization.yaml").write_text(kustomization)
    # An absolute path takes the place of the folder of overlays.
    pinned, before = rendered(str(tmp_path)), rendered("production")
    for kind, name, field in (
        ("RabbitmqCluster", "rabbitmq", "image"),
        ("Cluster", "postgresql", "imageName"),
    ):
        image = of_kind(pinned, kind)[name]["spec"][field]
        assert image.endswith("@sha256:...")
        assert of_kind(before, kind)[name]["spec"][field].startswith(unpinned(image))
