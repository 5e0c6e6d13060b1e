"""Did all of it work, and how far is it from the truth?"""

from __future__ import annotations

from dataclasses import dataclass

from astropy.table import Table

from demo.results import Results
from skyrelay.synthetic import CandidateScore, Truth, score_candidates, zero_point_deviation

#: A zero point further from the truth than this (mag), with its own error allowed for, is wrong.
ZERO_POINT_TOLERANCE = 0.02
#: A WCS with larger residuals (arcsec, rms) was not refined.
ASTROMETRY_TOLERANCE = 0.3
#: Parts of the injected transients that each method has to find, and of its candidates that have
#: to be real: far below what it does, and far above what a broken stage does.
LEAST_COMPLETENESS = {"simple_transients": 0.3, "subtraction": 0.6}
LEAST_PURITY = 0.6


@dataclass(frozen=True)
class Check:
    """One thing that has to hold, and whether it does."""

    what: str
    holds: bool


def deviation_of_zero_point(results: Results, truth: Truth) -> float | None:
    """Measured minus true zero point in mag, for the aperture that was used."""
    measured = results.number("photometry", "zero_point")
    if measured is None:
        return None
    radius = results.config["rel_aper"] * results.config["fwhm"]
    return zero_point_deviation(truth.science, measured, radius=radius)


def score(candidates: Table, truth: Truth) -> CandidateScore:
    """Which injected transients are among the candidates, and which candidates are none."""
    return score_candidates(truth, candidates, radius=2.0)


def checks(results: Results, truth: Truth | None) -> list[Check]:
    """What has to hold for the job to count as done."""
    found = [Check(f"state is {results.state}", results.finished)]
    if truth is None or not results.finished:
        return found
    deviation = deviation_of_zero_point(results, truth)
    error = results.error("photometry", "zero_point") or 0.0
    allowed = ZERO_POINT_TOLERANCE + 3 * error
    found.append(
        Check(
            f"zero point within {allowed:.3f} mag of the truth",
            deviation is not None and abs(deviation) < allowed,
        )
    )
    residual = results.number("photometry", "astrometric_residual")
    found.append(
        Check(
            f'astrometric residual below {ASTROMETRY_TOLERANCE}"',
            residual is not None and residual < ASTROMETRY_TOLERANCE,
        )
    )
    for step, candidates in results.candidates.items():
        found += _checks_of_search(step, score(candidates, truth), len(candidates))
    return found


def _checks_of_search(step: str, scored: CandidateScore, candidates: int) -> list[Check]:
    found, injected = scored.counts()
    least = LEAST_COMPLETENESS[step]
    return [
        Check(f"{step}: at least {least:.0%} of the transients", found >= least * injected),
        Check(
            f"{step}: at least {LEAST_PURITY:.0%} of the candidates are real",
            found >= LEAST_PURITY * candidates,
        ),
    ]
