"""What does the detector make of the light: sky, noise, saturation, cosmic rays, bad columns?"""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from skyrelay.synthetic.psf import Pixels
from skyrelay.synthetic.render import add_stamp
from skyrelay.synthetic.spec import Exposure

#: A dead column still answers a little; a hot one adds a constant.
DEAD_RESPONSE = 0.05
HOT_LEVEL = 400.0  # ADU


def sky(exposure: Exposure) -> Pixels:
    """The sky background in ADU (height, width): a tilted plane around its mean level."""
    y, x = np.mgrid[: exposure.height, : exposure.width]
    tilt = (x / exposure.width + y / exposure.height) / 2 - 0.5
    level: Pixels = exposure.sky_level * (1 + exposure.sky_gradient * tilt)
    return level


def draw_bad_columns(exposure: Exposure, rng: np.random.Generator) -> Table:
    """The detector's faults: column x, first and last row, kind (dead or hot)."""
    kinds = ["dead"] * exposure.dead_columns + ["hot"] * exposure.hot_columns
    first = rng.integers(0, exposure.height // 2, len(kinds))
    return Table(
        {
            "x": rng.integers(5, exposure.width - 5, len(kinds)),
            "first": first,
            "last": rng.integers(first + exposure.height // 4, exposure.height),
            "kind": np.array(kinds, dtype="U4"),
        }
    )


def expose(
    scene: Pixels, exposure: Exposure, bad_columns: Table, rng: np.random.Generator
) -> tuple[Pixels, Table]:
    """Observe a noise-free scene (ADU above the sky).

    Returns the image in ADU, clipped at the saturation level, and the cosmic rays that hit
    it: x, y (pixels) of their middle, length (pixels), peak (ADU).
    """
    light = (scene + sky(exposure)) * exposure.gain
    electrons = rng.poisson(np.maximum(light, 0)) + rng.normal(0, exposure.read_noise, light.shape)
    image = electrons / exposure.gain
    rays = _add_cosmic_rays(image, exposure, rng)
    for fault in bad_columns:
        pixels = image[fault["first"] : fault["last"] + 1, fault["x"]]
        if fault["kind"] == "dead":
            pixels *= DEAD_RESPONSE
        else:
            pixels += HOT_LEVEL
    return np.minimum(image, exposure.saturation), rays


def _add_cosmic_rays(image: Pixels, exposure: Exposure, rng: np.random.Generator) -> Table:
    # Only its drawing of a track is used: stdpipe's placing of them cannot be seeded locally.
    from stdpipe.simulation import create_cosmic_ray

    count = exposure.cosmic_rays
    rays = Table(
        {
            "x": rng.uniform(0, exposure.width, count),
            "y": rng.uniform(0, exposure.height, count),
            "length": 1 + rng.exponential(5.0, count),
            "angle": rng.uniform(0, 180, count),
            "peak": 10 ** rng.uniform(2.5, 4.0, count),
            "profile": rng.choice(["sharp", "tapered"], count),
        }
    )
    for ray in rays:
        track = create_cosmic_ray(
            ray["length"], 1.0, ray["angle"], ray["peak"], str(ray["profile"])
        )
        stamp = track["stamp"]
        column = round(ray["x"] - stamp.shape[1] / 2)
        add_stamp(image, stamp, column, round(ray["y"] - stamp.shape[0] / 2))
    return rays
