"""Find a molecule in micrographs by the likeness of its views: 2-D template matching."""

from vitreous.simulation.matching.found import Match
from vitreous.simulation.matching.match import (
    match_template,
    plan_search,
    planned_angles,
    run_search,
)
from vitreous.simulation.matching.options import MatchOptions
from vitreous.simulation.matching.orientations import search_angles
from vitreous.simulation.matching.statistics import noise_threshold
from vitreous.simulation.matching.whitening import expected_snr

__all__ = [
    "Match",
    "MatchOptions",
    "expected_snr",
    "match_template",
    "noise_threshold",
    "plan_search",
    "planned_angles",
    "run_search",
    "search_angles",
]
