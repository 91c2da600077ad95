"""Maps from images of a molecule that moved, its motion undone: any field of displacements."""

from vitreous.reconstruction.deformed.fields import Displacement, FieldOnSupport, MovedImages
from vitreous.reconstruction.deformed.reconstruct import (
    DeformedReconstruction,
    DeformedSettings,
    reconstruct_deformed,
)
from vitreous.reconstruction.deformed.support import Support, support_near, support_of
from vitreous.reconstruction.deformed.verdict import Verdict, judge

__all__ = [
    "DeformedReconstruction",
    "DeformedSettings",
    "Displacement",
    "FieldOnSupport",
    "MovedImages",
    "Support",
    "Verdict",
    "judge",
    "reconstruct_deformed",
    "support_near",
    "support_of",
]
