"""Where on the sky does the image lie?"""

from __future__ import annotations

from astropy.table import Table
from astropy.wcs import WCS
from stdpipe.astrometry import store_wcs

from services.photometry.frame import Frame
from skyrelay import products
from skyrelay.imaging import astrometry
from skyrelay.imaging.blind_match import BlindSearch, blind_match
from skyrelay.imaging.wcs import load_wcs, pixel_scale, sky_field, wcs_of
from skyrelay.sky.catalogues import Columns
from skyrelay.sky.remote import Remote
from skyrelay.sky.targets import resolve
from skyrelay.stage.context import StageContext


def known_wcs(context: StageContext, frame: Frame) -> WCS | None:
    """The solution to begin with; None if there is none, or one is to be looked for.

    It is that of the header, or, where Astrometry.Net has found another one, what came of that.
    """
    if context.parameter("blind_match_wcs"):
        return None
    if context.parameter("blind_matched"):
        return load_wcs(context.folder, frame.header, frame.shape)
    return wcs_of(frame.header, frame.shape)


def blind_wcs(context: StageContext, frame: Frame, objects: Table) -> WCS:
    """The solution that Astrometry.Net finds for the objects; once is enough."""
    center = context.parameter("blind_match_center")
    search = BlindSearch(
        scale_lower=float(context.parameter("blind_match_ps_lo")),
        scale_upper=float(context.parameter("blind_match_ps_up")),
        center=resolve(str(center), Remote.of(context)) if center else None,
        radius=float(context.parameter("blind_match_sr0")),
    )
    wcs = blind_match(
        objects,
        frame.shape,
        search,
        settings=context.settings,
        temporary=context.temporary,
        log=context.log,
    )
    context.config.update(blind_match_wcs=False, blind_matched=True)
    field = sky_field(wcs, frame.shape)
    context.log(
        f"The field is at {field.ra:.4f} {field.dec:+.4f}, {3600 * pixel_scale(wcs):.3f} arcsec/px"
    )
    return wcs


def refined_wcs(
    context: StageContext, objects: Table, stars: Table, columns: Columns, wcs: WCS, fwhm: float
) -> WCS:
    """A better solution by means of the catalogue, or ``wcs`` where there is none."""
    if not context.parameter("refine_wcs"):
        return wcs
    refined = astrometry.refine(
        objects,
        stars,
        columns,
        wcs,
        method=str(context.parameter("refine_method")),
        order=int(context.parameter("refine_order")),
        fwhm=fwhm * pixel_scale(wcs),
        settings=context.settings,
        temporary=context.temporary,
        log=context.log,
    )
    if refined is None:
        context.log("Warning: The astrometric solution was not refined; the initial one is used")
        return wcs
    wcs, method = refined
    context.measure("refine_method", method, doc="How the astrometric solution was refined.")
    return wcs


def keep_position(context: StageContext, frame: Frame, wcs: WCS, objects: Table) -> None:
    """Write the solution down, for the objects, the stages that follow and the user."""
    store_wcs(str(context.path(products.IMAGE_WCS)), wcs)
    objects["ra"], objects["dec"] = wcs.all_pix2world(objects["x"], objects["y"], 0)
    field = sky_field(wcs, frame.shape)
    context.keep_field(field)
