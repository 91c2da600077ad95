"""`vitreous check`: look at particles before anything is trained on them."""

from vitreous.reconstruction.checks.report import Fact, Finding, Report
from vitreous.reconstruction.checks.run import check_particles

__all__ = ["Fact", "Finding", "Report", "check_particles"]
