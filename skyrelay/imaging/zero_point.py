"""Which calibrated magnitude belongs to an instrumental one, anywhere in the image?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.modeling import fitting, models
from astropy.table import Table
from numpy.typing import NDArray

from skyrelay.sky.columns import floats

#: The order of the surface through the zero points of the objects. The photometric solution
#: is a polynomial itself, of at most this order in any sensible case.
_ORDER = 3


@dataclass(frozen=True)
class ZeroPoint:
    """The photometric solution as a surface over the image, for an object of no colour.

    It is what the photometry has applied to the objects (``mag_calib - mag``), so every later
    measurement is in the same system, whatever the solution was made of.
    """

    surface: models.Polynomial2D | None
    error: float

    @classmethod
    def of(cls, objects: Table) -> ZeroPoint:
        """Take the solution from calibrated objects; without any there is no solution."""
        if "mag_calib" not in objects.colnames:
            return cls(None, float("nan"))
        x, y = floats(objects["x"]), floats(objects["y"])
        difference = floats(objects["mag_calib"]) - floats(objects["mag"])
        good = np.isfinite(difference)
        if not np.any(good):
            return cls(None, float("nan"))
        good &= np.abs(difference - np.median(difference[good])) < 1.0
        order = next(n for n in range(_ORDER, -1, -1) if n == 0 or good.sum() > 5 * (n + 1) ** 2)
        x_domain, y_domain = (
            (float(axis[good].min()) - 1, float(axis[good].max()) + 1) for axis in (x, y)
        )
        surface = models.Polynomial2D(order, x_domain=x_domain, y_domain=y_domain)
        surface = fitting.LinearLSQFitter()(surface, x[good], y[good], difference[good])
        return cls(surface, _error_of(objects, good))

    @property
    def known(self) -> bool:
        """Whether there is a solution."""
        return self.surface is not None

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Zero point (mag) at pixel positions; NaN if there is no solution."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if self.surface is None:
            return np.full(np.broadcast(x, y).shape, np.nan)
        values: NDArray[np.float64] = np.asarray(self.surface(x, y))
        return values


def _error_of(objects: Table, good: NDArray[np.bool_]) -> float:
    """Error of the zero point, from what calibration has added to the errors.

    What it has added for unseen stars is none: a difference image does not show them.
    """
    if not {"mag_calib_err", "magerr"} <= set(objects.colnames):
        return 0.0
    added = np.asarray(objects["mag_calib_err"][good], dtype=float) ** 2
    for name in {"magerr", "confusion_err"} & set(objects.colnames):
        added -= np.asarray(objects[name][good], dtype=float) ** 2
    added = added[np.isfinite(added)]
    return float(np.sqrt(max(np.median(added), 0.0))) if added.size else 0.0
