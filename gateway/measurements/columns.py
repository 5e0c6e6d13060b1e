"""What do the tables of results hold, in which units?"""

from __future__ import annotations

from gateway.tables import Column

_TASK = Column("task", "int", doc="Number of the task.", ucd="meta.id")
_NAME = Column("original_name", "text", doc="Name of the task's image.", ucd="meta.id")
_TIME = Column("time", unit="d", doc="Time of the observation, MJD (UTC).", ucd="time.epoch")
_FILTER = Column("filter", "text", doc="Filter of the magnitudes.", ucd="meta.id;instr.filter")
_POSITION = (
    Column("ra", unit="deg", doc="Right ascension (ICRS).", ucd="pos.eq.ra"),
    Column("dec", unit="deg", doc="Declination (ICRS).", ucd="pos.eq.dec"),
)
_MAGNITUDE = (
    Column("mag", unit="mag", doc="Calibrated magnitude.", ucd="phot.mag"),
    Column("mag_error", unit="mag", doc="Its one-sigma uncertainty.", ucd="stat.error;phot.mag"),
    Column(
        "mag_limit",
        unit="mag",
        doc="Magnitude of the smallest significant signal at that place.",
        ucd="phot.mag;stat.max",
    ),
)

#: One row for each task.
IMAGES = (
    _TASK,
    _NAME,
    Column("title", "text", doc="What its owner calls it."),
    Column("state", "text", doc="State of the task."),
    Column("user", "text", doc="Owner of the task."),
    _TIME,
    _FILTER,
    *_POSITION,
    Column("radius", unit="deg", doc="From the image's centre to its corners."),
    Column("zero_point", unit="mag", doc="Zero point at the image's centre, colour zero."),
    Column("zero_point_error", unit="mag", doc="Its uncertainty."),
    Column("color_term", unit="mag/mag", doc="Colour term of the calibration."),
    Column("mag_limit", unit="mag", doc="Limiting magnitude of the image."),
    Column("fwhm", unit="arcsec", doc="FWHM of the stars."),
    Column("n_objects", "int", doc="Measured objects."),
    Column("n_targets", "int", doc="Measurements of targets."),
    Column("n_candidates", "int", doc="Candidates."),
)
_OBJECT = (
    Column("step", "text", doc="Step that has measured it."),
    Column("name", "text", doc="Its name.", ucd="meta.id"),
    *_POSITION,
    Column("x", unit="pix", doc="Position in the image, from 0.", ucd="pos.cartesian.x"),
    Column("y", unit="pix", doc="Position in the image, from 0.", ucd="pos.cartesian.y"),
    Column("flux", unit="adu", doc="Flux in the aperture.", ucd="phot.count"),
    Column("flux_error", unit="adu", doc="Its uncertainty.", ucd="stat.error;phot.count"),
    Column("sn", doc="Signal-to-noise ratio.", ucd="stat.snr"),
    *_MAGNITUDE,
    _FILTER,
    Column("flags", "int", doc="Flags of the measurement.", ucd="meta.code"),
)
_SCORE = Column("score", doc="Real (1) or bogus (0).", ucd="stat.probability")
_CUTOUT = Column("cutout", "text", doc="Address of its cut-out.", ucd="meta.ref.url")

#: One row for each measurement of a target, within a task and across tasks.
TARGETS_OF_TASK = _OBJECT
TARGETS = (_TASK, _NAME, _TIME, *_OBJECT)
#: One row for each candidate.
CANDIDATES_OF_TASK = (*_OBJECT, _SCORE, _CUTOUT)
CANDIDATES_SHOWN = (
    *CANDIDATES_OF_TASK,
    Column("picture", "text", doc="Address of its picture.", ucd="meta.ref.url"),
    Column("unstacked", "text", doc="Address of its place in every frame.", ucd="meta.ref.url"),
)
CANDIDATES = (_TASK, _NAME, _TIME, *_OBJECT, _SCORE, _CUTOUT)

#: One row for each point of a light curve, upper limits included.
LIGHT_CURVE = (
    _TIME,
    _FILTER,
    *_MAGNITUDE,
    Column("detected", "bool", doc="Whether it was seen; if not, mag_limit is an upper limit."),
    Column("source", "text", doc="Product that it is from."),
    *_POSITION,
    Column("distance", unit="arcsec", doc="From the position asked for.", ucd="pos.angDistance"),
    Column("flags", "int", doc="Flags of the measurement.", ucd="meta.code"),
    _TASK,
    _NAME,
)
