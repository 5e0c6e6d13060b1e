"""How do a sky, a telescope and a night become an image, a template and a catalogue?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray

from skyrelay.imaging.votable import write_votable
from skyrelay.synthetic.catalogue import observe_catalogue
from skyrelay.synthetic.detector import draw_bad_columns, expose, sky
from skyrelay.synthetic.galaxies import make_galaxies
from skyrelay.synthetic.population import make_stars
from skyrelay.synthetic.psf import PsfField
from skyrelay.synthetic.render import locate, on_image, render_galaxies, render_stars
from skyrelay.synthetic.spec import COLOURS, Exposure, FieldSpec
from skyrelay.synthetic.transients import Ground, draw_transients
from skyrelay.synthetic.truth import ImageTruth, Truth
from skyrelay.synthetic.wcs import initial_header, true_header, true_wcs

IMAGE = "image.fits"
TEMPLATE = "template.fits"
CATALOGUE = "catalogue.vot"


@dataclass(frozen=True)
class Observation:
    """An observation of the synthetic sky; images are (height, width), in ADU."""

    image: NDArray[np.uint16]
    header: fits.Header
    template: NDArray[np.float32]
    template_header: fits.Header
    catalogue: Table
    truth: Truth

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write image.fits, template.fits, catalogue.vot and the truth into `folder`.

        Returns the paths by name: image, template, catalogue, truth (the JSON file), stars,
        galaxies, transients, cosmic_rays, bad_columns.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / file for name, file in _FILES.items()}
        fits.writeto(paths["image"], self.image, self.header, overwrite=True)
        fits.writeto(paths["template"], self.template, self.template_header, overwrite=True)
        write_votable(self.catalogue, paths["catalogue"])
        return paths | self.truth.write(folder)


_FILES = {"image": IMAGE, "template": TEMPLATE, "catalogue": CATALOGUE}


def render_observation(spec: FieldSpec | None = None) -> Observation:
    """Observe the synthetic sky; the same spec gives the same observation to the last bit."""
    spec = spec or FieldSpec()
    stars, galaxies = make_stars(spec), make_galaxies(spec)
    exposure, template = spec.science(), spec.template()
    wcs, template_wcs = true_wcs(exposure), true_wcs(template)
    seen_stars = locate(stars, exposure, wcs)
    seen_galaxies = locate(galaxies, exposure, wcs)
    bad_columns = draw_bad_columns(exposure, spec.rng("columns"))
    ground = Ground(
        exposure=exposure,
        wcs=wcs,
        template=template,
        template_wcs=template_wcs,
        stars=render_stars(seen_stars, exposure),
        galaxies=render_galaxies(seen_galaxies, exposure, wcs),
        sky=sky(exposure),
        bad_columns=bad_columns,
    )
    on_galaxies = seen_galaxies[on_image(seen_galaxies, exposure)]
    transients = draw_transients(spec, ground, on_galaxies)
    scene = ground.stars + ground.galaxies + render_stars(transients, exposure)
    image, cosmic_rays = expose(scene, exposure, bad_columns, spec.rng("noise"))
    truth = Truth(
        seed=spec.seed,
        science=_image_truth(exposure),
        template=_image_truth(template),
        initial_wcs=dict(initial_header(spec)),
        spec=asdict(spec),
        stars=_with_saturation(seen_stars[on_image(seen_stars, exposure)], exposure),
        galaxies=on_galaxies,
        transients=transients,
        cosmic_rays=cosmic_rays,
        bad_columns=bad_columns,
    )
    return Observation(
        image=np.clip(np.rint(image), 0, 65535).astype(np.uint16),
        header=_header(spec, exposure, initial_header(spec)),
        template=_render_template(spec, stars, galaxies),
        template_header=_header(spec, template, true_header(template)),
        catalogue=observe_catalogue(spec, stars, galaxies),
        truth=truth,
    )


def _render_template(spec: FieldSpec, stars: Table, galaxies: Table) -> NDArray[np.float32]:
    exposure = spec.template()
    wcs = true_wcs(exposure)
    scene = render_stars(locate(stars, exposure, wcs), exposure)
    scene += render_galaxies(locate(galaxies, exposure, wcs), exposure, wcs)
    image, _ = expose(scene, exposure, Table(), spec.rng("template noise"))
    return image.astype(np.float32)


def _with_saturation(stars: Table, exposure: Exposure) -> Table:
    field = PsfField.of(exposure)
    peaks = [
        star["flux"] * field.at(star["x"], star["y"]).stamp(star["x"], star["y"], 1)[0].max()
        for star in stars
    ]
    stars["saturated"] = np.array(peaks) + exposure.sky_level >= exposure.saturation
    return stars


def _image_truth(exposure: Exposure) -> ImageTruth:
    psf = PsfField.of(exposure).mean
    fwhm = psf.measured_fwhm()
    return ImageTruth(
        width=exposure.width,
        height=exposure.height,
        band=exposure.band,
        colour="-".join(COLOURS[exposure.band]),
        zero_point=exposure.zero_point,
        colour_term=exposure.colour_term,
        psf_fwhm=psf.fwhm,
        psf_beta=psf.beta,
        psf_ellipticity=psf.ellipticity,
        psf_angle=psf.angle,
        fwhm=fwhm,
        fwhm_arcsec=fwhm * exposure.pixel_scale,
        pixel_scale=exposure.pixel_scale,
        sky_level=exposure.sky_level,
        sky_rms=exposure.sky_rms,
        gain=exposure.gain,
        read_noise=exposure.read_noise,
        saturation=exposure.saturation,
        exposure_time=exposure.exposure_time,
        wcs=dict(true_header(exposure)),
    )


def _header(spec: FieldSpec, exposure: Exposure, wcs: fits.Header) -> fits.Header:
    cards: list[tuple[str, Any, str]] = [
        ("OBJECT", spec.name, "name of the field"),
        ("TELESCOP", "Synthetic 0.5 m", "telescope"),
        ("INSTRUME", "Synthetic CCD", "instrument"),
        ("DATE-OBS", spec.date_obs, "start of the exposure, UTC"),
        ("MJD-OBS", Time(spec.date_obs).mjd, "start of the exposure, MJD (UTC)"),
        ("EXPTIME", exposure.exposure_time, "[s] exposure time"),
        ("FILTER", exposure.band, "filter"),
        ("GAIN", exposure.gain, "[electron/adu] gain"),
        ("RDNOISE", exposure.read_noise, "[electron] read-out noise"),
        ("SATURATE", exposure.saturation, "[adu] saturation level"),
        ("BUNIT", "adu", "unit of the pixels"),
    ]
    header = fits.Header(cards)
    header.extend(wcs.cards)
    return header
