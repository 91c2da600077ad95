"""The lens: its aberrations, and how waves behind the specimen become images."""

from vitreous.imaging.optics.lens import Optics

__all__ = ["Optics"]
