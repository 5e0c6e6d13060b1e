"""What are the numbers in a column of a table, whatever kind of column it is?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def floats(column: Any) -> NDArray[np.float64]:
    """Plain floats of a column without its unit; NaN where it is masked."""
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)
    return values
