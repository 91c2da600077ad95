"""What a microscope does to a structure: volumes, poses, optics, ice, detectors, noise.

The names listed here are the ones most models are made of; each is loaded when first used. Others
live in the modules named after them: `filters`, `masks`, `likelihood`, `parameters`, …
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitreous.imaging.detector import Detector as Detector
    from vitreous.imaging.exposure import Exposure as Exposure
    from vitreous.imaging.grid import ImageGrid as ImageGrid
    from vitreous.imaging.ice import GaussianIce as GaussianIce
    from vitreous.imaging.image_model import ImageModel as ImageModel
    from vitreous.imaging.noise import GaussianNoise as GaussianNoise
    from vitreous.imaging.optics.lens import Optics as Optics
    from vitreous.imaging.pose import Pose as Pose
    from vitreous.imaging.projection.project import project as project
    from vitreous.imaging.serialisation import dump as dump
    from vitreous.imaging.serialisation import from_json as from_json
    from vitreous.imaging.serialisation import load as load
    from vitreous.imaging.serialisation import to_json as to_json

_HOMES = {
    "Detector": "detector",
    "Exposure": "exposure",
    "GaussianIce": "ice",
    "GaussianNoise": "noise",
    "ImageGrid": "grid",
    "ImageModel": "image_model",
    "Optics": "optics.lens",
    "Pose": "pose",
    "dump": "serialisation",
    "from_json": "serialisation",
    "load": "serialisation",
    "project": "projection.project",
    "to_json": "serialisation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
