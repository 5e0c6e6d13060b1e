"""What do the functions of this package take and give: images, masks, a place to report to?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels as a file has them.
Pixels = NDArray[Any]
#: Pixels to calculate with.
Plane = NDArray[np.float64]
#: True where a pixel is not to be used.
Mask = NDArray[np.bool_]
#: Takes a sentence for the user.
Log = Callable[..., None]
