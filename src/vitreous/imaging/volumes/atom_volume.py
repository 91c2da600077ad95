"""The atoms of a structure with their electron scattering factors."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.imaging.atoms import Atoms, peng_factors, read_atoms
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.volumes.base import Volume
from vitreous.imaging.volumes.gaussian_volume import GaussianVolume
from vitreous.imaging.volumes.voxel_volume import VoxelVolume


class AtomVolume(Volume):
    """Hold atoms; positions, B-factors and occupancies may be refined.

    **Fields:** `position`: Å from the centre, `(m, 3)`. `bfactor`: Å². `occupancy`: 0..1. `a` and
    `b`: scattering factors `f(k) = Σ a exp(−b k²/4)` in Å, `(m, 5)`. `widths`: see
    `GaussianVolume`.

    **Projects by:** whatever Gaussians do.
    """

    position: Float[Array, "m 3"]
    bfactor: Float[Array, " m"]
    occupancy: Float[Array, " m"]
    a: Float[Array, "m k"]
    b: Float[Array, "m k"]
    widths: tuple[float, float] | None = eqx.field(static=True)

    def __init__(
        self,
        position: Float[Array | np.ndarray, "m 3"],
        bfactor: Float[Array | np.ndarray, " m"],
        occupancy: Float[Array | np.ndarray, " m"],
        a: Float[Array | np.ndarray, "m k"],
        b: Float[Array | np.ndarray, "m k"],
        widths: tuple[float, float] | None = None,
    ) -> None:
        self.position = jnp.asarray(position)
        self.bfactor = jnp.asarray(bfactor)
        self.occupancy = jnp.asarray(occupancy)
        self.a = jnp.asarray(a)
        self.b = jnp.asarray(b)
        if widths is None and not any(isinstance(x, jax.core.Tracer) for x in (bfactor, b)):
            sigma = np.sqrt((np.asarray(b) + np.asarray(bfactor)[:, None]) / (8 * np.pi**2))
            widths = float(sigma.min()), float(sigma.max())
        self.widths = widths

    @staticmethod
    def of(atoms: Atoms, extra_bfactor: float = 0.0) -> "AtomVolume":
        """Look up the scattering factors of atoms, as they are placed.

        **Arguments:** `extra_bfactor`: Å², added to all; negative B-factors of a file count as 0.
        """
        a, b = peng_factors(atoms.atomic_number)
        dtype = atoms.position.dtype
        bfactor = (np.maximum(atoms.bfactor, 0) + extra_bfactor).astype(dtype)
        occupancy = atoms.occupancy.astype(dtype)
        return AtomVolume(atoms.position, bfactor, occupancy, a.astype(dtype), b.astype(dtype))

    @staticmethod
    def from_structure(
        path: str | os.PathLike,
        selection: str | None = None,
        model: int = 1,
        hydrogens: bool = True,
        assembly: str | None = None,
        extra_bfactor: float = 0.0,
        center: bool = True,
    ) -> "AtomVolume":
        """Read a PDB or mmCIF file; see `imaging.atoms.read_atoms`.

        **Arguments:** `center`: move the centre of mass to the origin, where boxes have theirs.

        **Raises:** `InputError` for a file, model, assembly or selection without usable atoms.
        """
        atoms = read_atoms(os.fspath(path), selection, model, hydrogens, assembly)
        return AtomVolume.of(atoms.centered() if center else atoms, extra_bfactor)

    @property
    def voxel_size(self) -> None:
        """None: atoms have no voxels."""
        return None

    def to_gaussians(self) -> GaussianVolume:
        """Describe each atom by the Gaussians of its scattering factor, blurred by its B-factor."""
        variance = (self.b + self.bfactor[:, None]) / (8 * np.pi**2)
        amplitude = self.a * self.occupancy[:, None]
        return GaussianVolume(self.position, amplitude, variance, self.widths)

    @property
    def methods(self) -> tuple[str, ...]:
        """Those of Gaussians."""
        return self.to_gaussians().methods

    def transform_at(self, frequency: Float[Array, "b p 3"]) -> Complex[Array, "b p"]:
        """Add up the transforms of all atoms."""
        return self.to_gaussians().transform_at(frequency)

    def best_method(self, grid: ImageGrid) -> str:
        """Choose as for Gaussians."""
        return self.to_gaussians().best_method(grid)

    def project(
        self, rotation: Float[Array, "b 3 3"], grid: ImageGrid, method: str
    ) -> Complex[Array, "b n h"]:
        """Integrate along the beam; see `projection.project`."""
        return self.to_gaussians().project(rotation, grid, method)

    def check(self, grid: ImageGrid) -> None:
        """Warn of atoms that images cannot show."""
        self.to_gaussians().check(grid)

    def to_voxels(self, box: int, voxel_size: float | Array) -> VoxelVolume:
        """Average the potential over voxels."""
        return self.to_gaussians().to_voxels(box, voxel_size)
