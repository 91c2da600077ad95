"""What is imaged: densities on grids, Gaussians, atoms, functions, and what is built of them."""

from vitreous.imaging.volumes.assembly import Assembly
from vitreous.imaging.volumes.atom_volume import AtomVolume
from vitreous.imaging.volumes.base import Volume
from vitreous.imaging.volumes.ensemble import Conformations, ContinuousEnsemble, DiscreteEnsemble
from vitreous.imaging.volumes.fourier_volume import FourierVolume
from vitreous.imaging.volumes.gaussian_volume import GaussianVolume
from vitreous.imaging.volumes.neural_volume import NeuralVolume
from vitreous.imaging.volumes.voxel_volume import VoxelVolume

__all__ = [
    "Assembly",
    "AtomVolume",
    "Conformations",
    "ContinuousEnsemble",
    "DiscreteEnsemble",
    "FourierVolume",
    "GaussianVolume",
    "NeuralVolume",
    "Volume",
    "VoxelVolume",
]
