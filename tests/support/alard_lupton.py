"""What takes the place of HOTPANTS, which no package brings, in tests of how it is called?

A program that takes HOTPANTS's options and writes its planes. It does what the method of Alard and
Lupton (1998, ApJ 503, 325) does where the kernel is the same everywhere: Gaussians times
polynomials, and a background, fitted to all good pixels. It tells which options it got.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from scipy.signal import fftconvolve

#: What HOTPANTS writes where it has no value.
NOTHING = 1e-30
#: HOTPANTS's own Gaussians, if it is not told others: their number, then degree and sigma of each.
DEFAULT = [3, 6, 0.7, 4, 1.5, 2, 3.0]


def install(folder: Path) -> Path:
    """The program as an executable file."""
    path = folder / "hotpants"
    project = Path(__file__).resolve().parents[2]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(project)!r})\n"
        f"from {__name__} import main\nmain(sys.argv[1:])\n"
    )
    path.chmod(0o755)
    return path


def main(words: list[str]) -> None:
    """Subtract the template as the words of the command line say."""
    options = _options(words)
    print("options", *sorted(options), flush=True)
    image, template = (fits.getdata(options[name][0]) for name in ("inim", "tmplim"))
    error, template_error = (fits.getdata(options[name][0]) for name in ("ini", "tni"))
    bad = (fits.getdata(options["imi"][0]) > 0) | (fits.getdata(options["tmi"][0]) > 0)
    kernel, background = _fitted(image, template, error, bad, options)
    convolved = fftconvolve(template, kernel, mode="same") + background
    noise = np.sqrt(error**2 + np.clip(fftconvolve(template_error**2, kernel**2, "same"), 0, None))
    edge = np.ones(bad.shape, bool)
    half = len(kernel) // 2
    edge[half:-half, half:-half] = False
    planes = [image - convolved, convolved, (image - convolved) / noise, noise]
    planes = [np.where(bad | edge, NOTHING, plane).astype(np.float32) for plane in planes]
    first, *others = planes
    hdus = [fits.PrimaryHDU(first), *(fits.ImageHDU(plane) for plane in others)]
    fits.HDUList(hdus).writeto(options["outim"][0])


def _options(words: list[str]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("-") and not word[1:2].isdigit():
            name = word[1:]
            options[name] = []
        else:
            options[name].append(word)
    return options


def _fitted(image: Any, template: Any, error: Any, bad: Any, options: Any) -> tuple[Any, float]:
    basis = _basis([float(word) for word in options.get("ng", DEFAULT)], int(options["r"][0]))
    columns = [fftconvolve(template, each, mode="same") for each in basis]
    good = ~bad & (image > float(options["il"][0])) & (image < float(options["iu"][0]))
    weight = 1 / error[good]
    system = np.array([plane[good] * weight for plane in [*columns, np.ones(image.shape)]])
    solution = np.linalg.lstsq(system @ system.T, system @ (image[good] * weight), rcond=1e-12)[0]
    kernel = np.tensordot(solution[:-1], np.array(basis), axes=1)
    return kernel, float(solution[-1])


def _basis(numbers: list[float], half: int) -> list[Any]:
    y, x = np.mgrid[-half : half + 1, -half : half + 1] / 1.0
    basis = []
    for degree, sigma in zip(numbers[1::2], numbers[2::2], strict=True):
        gauss = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        for i in range(int(degree) + 1):
            basis += [
                gauss * (x / sigma) ** i * (y / sigma) ** j for j in range(int(degree) + 1 - i)
            ]
    return basis
