"""How are numerical libraries kept from starting a thread for every processor?"""

from __future__ import annotations

_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
)


def at_most(count: int) -> dict[str, str]:
    """Environment of a process whose numerical libraries start ``count`` threads each."""
    return dict.fromkeys(_VARIABLES, str(count))
