"""A synthetic sky of the project's own, observed by a telescope of its own, with its truth.

The demonstration and the tests need an image of which everything is known: where the stars are
and how bright, the zero point, the seeing, the WCS, and which transients were put in. Nothing
here reads the network, and the same seed always gives the same pixels.

    >>> from skyrelay.synthetic import FieldSpec, render_observation
    >>> observation = render_observation(FieldSpec(seed=3))
    >>> paths = observation.write("field")
"""

from __future__ import annotations

from skyrelay.synthetic.evaluation import CandidateScore, score_candidates, zero_point_deviation
from skyrelay.synthetic.observation import Observation, render_observation
from skyrelay.synthetic.spec import FieldSpec
from skyrelay.synthetic.truth import Truth

__all__ = [
    "CandidateScore",
    "FieldSpec",
    "Observation",
    "Truth",
    "render_observation",
    "score_candidates",
    "zero_point_deviation",
]
