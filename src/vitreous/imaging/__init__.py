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
    from vitreous.imaging.projection.ewald import project_ewald as project_ewald
    from vitreous.imaging.projection.multislice import exit_wave_multislice as exit_wave_multislice
    from vitreous.imaging.projection.project import project as project
    from vitreous.imaging.serialisation import dump as dump
    from vitreous.imaging.serialisation import from_json as from_json
    from vitreous.imaging.serialisation import load as load
    from vitreous.imaging.serialisation import to_json as to_json
    from vitreous.imaging.volumes.assembly import Assembly as Assembly
    from vitreous.imaging.volumes.atom_volume import AtomVolume as AtomVolume
    from vitreous.imaging.volumes.base import Volume as Volume
    from vitreous.imaging.volumes.ensemble import ContinuousEnsemble as ContinuousEnsemble
    from vitreous.imaging.volumes.ensemble import DiscreteEnsemble as DiscreteEnsemble
    from vitreous.imaging.volumes.fourier_volume import FourierVolume as FourierVolume
    from vitreous.imaging.volumes.gaussian_volume import GaussianVolume as GaussianVolume
    from vitreous.imaging.volumes.neural_volume import NeuralVolume as NeuralVolume
    from vitreous.imaging.volumes.voxel_volume import VoxelVolume as VoxelVolume

_HOMES = {
    "Assembly": "volumes.assembly",
    "AtomVolume": "volumes.atom_volume",
    "ContinuousEnsemble": "volumes.ensemble",
    "Detector": "detector",
    "DiscreteEnsemble": "volumes.ensemble",
    "Exposure": "exposure",
    "FourierVolume": "volumes.fourier_volume",
    "GaussianIce": "ice",
    "GaussianNoise": "noise",
    "GaussianVolume": "volumes.gaussian_volume",
    "ImageGrid": "grid",
    "ImageModel": "image_model",
    "NeuralVolume": "volumes.neural_volume",
    "Optics": "optics.lens",
    "Pose": "pose",
    "Volume": "volumes.base",
    "VoxelVolume": "volumes.voxel_volume",
    "dump": "serialisation",
    "exit_wave_multislice": "projection.multislice",
    "from_json": "serialisation",
    "load": "serialisation",
    "project": "projection.project",
    "project_ewald": "projection.ewald",
    "to_json": "serialisation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
