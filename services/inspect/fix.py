"""How does a file become one that every program reads: plain, two-dimensional, clean header?"""

from __future__ import annotations

from services.inspect.changes import image_to_change, keep_original
from skyrelay.imaging.fits import write_image
from skyrelay.imaging.wcs import load_wcs, with_wcs
from skyrelay.products import IMAGE, IMAGE_WCS
from skyrelay.stage.context import StageContext


def run(context: StageContext) -> None:
    """Write the image anew with its header repaired, and with the refined solution if there is one.

    What was found out about the image stays true: its pixels are those that every stage sees.
    """
    image = image_to_change(context)
    for repair in image.repairs:
        context.log(f"Repaired: {repair}")
    header = image.header
    if context.path(IMAGE_WCS).exists():
        header = with_wcs(header, load_wcs(context.folder, header, image.data.shape))
        context.log("The header has the refined astrometric solution")
    keep_original(context)
    write_image(context.path(IMAGE), image.data, header)
    context.measure("n_repairs", len(image.repairs), doc="Repairs that the file needed.")
