"""What is given to the services: an image, perhaps a template and a catalogue, perhaps a truth?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropy.table import Row

from skyrelay import stages
from skyrelay.synthetic import FieldSpec, Truth, render_observation


@dataclass(frozen=True)
class Material:
    """An observation as a user has it on disk.

    ``truth`` is known for a synthetic observation only.
    """

    title: str
    image: Path
    template: Path | None = None
    catalogue: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    truth: Truth | None = None

    @property
    def steps(self) -> list[str]:
        """The processing steps that make sense for it."""
        steps = [stages.INSPECT, stages.PHOTOMETRY, stages.SIMPLE_TRANSIENTS]
        if self.template is not None or self.config.get("template"):
            steps.append(stages.SUBTRACTION)
        return [stage.step for stage in steps]

    def full_config(self) -> dict[str, Any]:
        """The task's configuration: what follows from the files, and what the user says."""
        config: dict[str, Any] = {}
        if self.template is not None:
            config["template"] = "custom"
        if self.catalogue is not None:
            # The catalogue that was brought is all there is: no survey is asked over the network.
            config |= {"cat_name": "local", "cat_file": self.catalogue.name}
            config |= {"simple_vizier": False, "simple_skybot": False}
        return config | self.config


def brightest_alone(truth: Truth) -> Row:
    """The injected transient of which the most is to be expected: bright and on no galaxy."""
    alone = truth.transients[truth.transients["host"] == "none"]
    return alone[int(alone["mag"].argmin())]


def synthetic(folder: Path, spec: FieldSpec, config: dict[str, Any]) -> Material:
    """Render an observation of the synthetic sky into ``folder``."""
    observation = render_observation(spec)
    paths = observation.write(folder)
    target = brightest_alone(observation.truth)
    known = {
        # An observer knows the gain of the template.
        "custom_template_gain": observation.truth.template.gain,
        # A target is measured, and everything else that is new is looked for all the same.
        "target": f"{target['ra']:.6f} {target['dec']:+.6f}",
        "subtraction_mode": "detection",
    }
    return Material(
        title=f"{spec.name}, seed {spec.seed}",
        image=paths["image"],
        template=paths["template"],
        catalogue=paths["catalogue"],
        config=known | config,
        truth=observation.truth,
    )
