"""What do the bits in an object's ``flags`` mean?

The lowest eight are SExtractor's (its manual, "Extraction flags"), the next three stdpipe's
(`stdpipe.photometry_measure`), the last STDWeb's.
"""

from __future__ import annotations

#: Neighbours, or bad pixels around it, that may spoil its photometry.
NEIGHBOURS = 0x001
#: It was one with another object before both were deblended.
BLENDED = 0x002
#: Its aperture reaches beyond the image, or has bad pixels.
APERTURE_INCOMPLETE = 0x010
#: What SExtractor says of the object itself, its memory apart.
EXTRACTION = 0x07F
#: The object has masked pixels.
MASKED = 0x100
#: Its aperture has masked pixels.
APERTURE_MASKED = 0x200
#: It lies outside the image, or its sky could not be measured.
NOT_MEASURED = 0x400
#: Its shape is not a star's.
BAD_SHAPE = 0x800
#: Whatever was said of the measurement, as opposed to the detection.
MEASUREMENT = 0x7F00
#: All there are.
ANY = 0xFFFF
