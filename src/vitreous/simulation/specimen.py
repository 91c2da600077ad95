"""What is put under the simulated microscope: states of maps, or a molecule that moves."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int
from scipy.fft import next_fast_len

from vitreous.errors import InputError
from vitreous.geometry.fourier_pixels import FourierPixels
from vitreous.geometry.resample import resample
from vitreous.imaging.fourier_grid import FourierGrid, GridShape, inscribed_sphere, volume_to_grid
from vitreous.imaging.gaussians import gaussian_map
from vitreous.imaging.grid import ImageGrid
from vitreous.imaging.interpolation import Kernel
from vitreous.imaging.projection.project import project
from vitreous.imaging.slicing import rotated_frequencies, sample_grid
from vitreous.imaging.volumes.ensemble import ContinuousEnsemble
from vitreous.imaging.volumes.gaussian_volume import GaussianVolume
from vitreous.simulation.phantom import Hinge


@runtime_checkable
class Specimen(Protocol):
    """Give noiseless projections of any state, and the truth about the states.

    Projections are sums over z of the map sampled at `box` and `pixel_size`, so that maps
    reconstructed from them have the values of the truth.
    """

    @property
    def box(self) -> int: ...

    @property
    def pixel_size(self) -> float: ...

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"] | None]:
        """Choose the state of each image, and its coordinate if the states lie on a path."""
        ...

    def project(
        self,
        rotation: Float[Array, "b 3 3"],
        state: Int[Array, " b"],
        coordinate: Float[Array, " b"],
        pixels: FourierPixels,
    ) -> Complex[Array, "b p"]:
        """Return the Fourier pixels of the projections."""
        ...

    def volumes(self) -> Float[np.ndarray, "s n n n"]:
        """Return one true map a state, float32."""
        ...


def _even_states(rng: np.random.Generator, count: int, states: int) -> Int[np.ndarray, " n"]:
    """Give every state the same number of images, to within one, in random order."""
    return rng.permutation(np.arange(count) % states)


def _weighted_states(
    rng: np.random.Generator, count: int, weights: tuple[float, ...]
) -> Int[np.ndarray, " n"]:
    """Give every state its share of the images, to within one, in random order."""
    exact = np.array(weights) * count / sum(weights)
    images = np.floor(exact).astype(np.int64)
    # Those with the largest remainders get what is left.
    images[np.argsort(images - exact, kind="stable")[: count - images.sum()]] += 1
    return rng.permutation(np.repeat(np.arange(len(weights)), images))


class MapStates(eqx.Module):
    """Hold maps, one a state, as Fourier grids that share one table."""

    table: Float[Array, "v 2"]
    maps: Float[np.ndarray, "s n n n"]
    shape: GridShape = eqx.field(static=True)
    kernel: Kernel = eqx.field(static=True)
    box: int = eqx.field(static=True)
    pixel_size: float = eqx.field(static=True)
    weights: tuple[float, ...] | None = eqx.field(static=True, default=None)

    @classmethod
    def of(
        cls,
        maps: Float[np.ndarray, "s n n n"],
        pixel_size: float,
        kernel: Kernel = "kaiser",
        padding: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> "MapStates":
        """Prepare maps `(s, n, n, n)`; see `volume_to_grid` for kernel and padding.

        Density outside the inscribed sphere is cut off: no image could show all of it.

        **Arguments:** `weights`: how frequent the states are, alike if left out.

        **Raises:** `InputError` for weights that are no shares of the states.
        """
        if weights and (
            len(weights) != len(maps) or min(weights) < 0 or not 0 < sum(weights) < np.inf
        ):
            raise InputError(
                f"--weights {' '.join(f'{w:g}' for w in weights)}: give one number, 0 or more, for "
                f"each of the {len(maps)} states"
            )
        prepare = jax.jit(lambda v: volume_to_grid(v, padding, kernel))
        maps = np.asarray(maps, np.float32) * inscribed_sphere(maps.shape[-1])
        grids = [prepare(jnp.asarray(volume)) for volume in maps]
        table = jnp.concatenate([grid.values for grid in grids])
        shares = tuple(map(float, weights)) if weights else None
        return cls(table, maps, grids[0].shape, kernel, maps.shape[-1], float(pixel_size), shares)

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"] | None]:
        """Choose states by their weights, evenly without; they lie on no path."""
        if self.weights is not None:
            return _weighted_states(rng, count, self.weights), None
        return _even_states(rng, count, len(self.maps)), None

    def project(
        self,
        rotation: Float[Array, "b 3 3"],
        state: Int[Array, " b"],
        coordinate: Float[Array, " b"],
        pixels: FourierPixels,
    ) -> Complex[Array, "b p"]:
        """Slice the grid of each image's state."""
        frequency = jnp.asarray(pixels.frequency) * (self.shape.box / self.box)
        grid = FourierGrid(self.table, self.box, self.shape, self.kernel)
        return sample_grid(grid, rotated_frequencies(rotation, frequency), state)

    def volumes(self) -> Float[np.ndarray, "s n n n"]:
        """Return the maps."""
        return self.maps


class HingeMotion(eqx.Module):
    """Let a molecule hinge freely between two angles; its states are equal parts of the way."""

    hinge: Hinge
    box: int = eqx.field(static=True)
    pixel_size: float = eqx.field(static=True)
    low: float = eqx.field(static=True, default=0.0)
    high: float = eqx.field(static=True, default=60.0)
    states: int = eqx.field(static=True, default=12)

    @property
    def angles(self) -> Float[np.ndarray, " s"]:
        """Hinge angle in degrees at the middle of each state."""
        return self.low + (np.arange(self.states) + 0.5) * (self.high - self.low) / self.states

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"] | None]:
        """Choose angles evenly over the whole range, each its own."""
        state = _even_states(rng, count, self.states)
        within = rng.uniform(-0.5, 0.5, count) * (self.high - self.low) / self.states
        return state, self.angles[state] + within

    def project(
        self,
        rotation: Float[Array, "b 3 3"],
        state: Int[Array, " b"],
        coordinate: Float[Array, " b"],
        pixels: FourierPixels,
    ) -> Complex[Array, "b p"]:
        """Project the atoms of each image's own angle."""

        def at(angle: Float[Array, ""]) -> GaussianVolume:
            atoms = self.hinge.at(angle[None])
            widths = (self.hinge.sigma, self.hinge.sigma)
            return GaussianVolume(atoms.position[0], atoms.amplitude, atoms.variance, widths)

        grid = ImageGrid(self.box, self.pixel_size)
        half = project(ContinuousEnsemble(at).at(coordinate), rotation, grid)
        return pixels.gather(half) / self.pixel_size

    def volumes(self) -> Float[np.ndarray, "s n n n"]:
        """Return the map at the middle of each state, band-limited to its Nyquist frequency."""
        fine = oversampled_box(self.box, self.pixel_size, self.hinge.sigma)
        step = self.box * self.pixel_size / fine

        @jax.jit
        def at(angle: Float[Array, ""]) -> Float[Array, "n n n"]:
            atoms = self.hinge.at(angle[None])
            atoms = atoms._replace(position=atoms.position[0])
            return resample(gaussian_map(atoms, fine, step, sampling="point"), self.box, 3)

        return np.stack([np.asarray(at(jnp.float32(angle))) for angle in self.angles])


def oversampled_box(box: int, pixel_size: float, sigma: float, aliasing: float = 0.01) -> int:
    """Choose a finer sampling of the same extent at which Gaussians alias little.

    **Returns:** a box whose FFT is fast, at which what folds back onto the Nyquist frequency of
    the coarse box has at most the amplitude `aliasing`.
    """
    # exp(−2π²σ²k²) folds onto Nyquist from k = 2 · fine Nyquist − coarse Nyquist.
    k = np.sqrt(np.log(1 / aliasing) / 2) / (np.pi * sigma)
    factor = (2 * pixel_size * k + 1) / 2
    return max(box, next_fast_len(int(np.ceil(box * factor)), real=True)) if factor > 1 else box
