"""Non-uniform Fourier transforms: exact sums over points or voxels at the price of an FFT.

By `nufftax` (JAX only, any device) or, on CPUs and if installed, `jax-finufft` (C++): one of them
comes with `pip install vitreous[nufft]`.
"""

from importlib.util import find_spec
from types import ModuleType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from vitreous.errors import InputError
from vitreous.imaging.gaussians import GaussianAtoms, lab_frame
from vitreous.imaging.grid import ImageGrid

Backend = Literal["auto", "nufftax", "jax-finufft"]
PRECISION = 1e-6


def nufft_backend(backend: Backend = "auto") -> tuple[str, ModuleType]:
    """Import the library that does the transforms.

    **Raises:** `InputError` if it is not installed.
    """
    if backend == "auto":
        quick = find_spec("jax_finufft") is not None and jax.default_backend() == "cpu"
        backend = "jax-finufft" if quick else "nufftax"
    try:
        if backend == "jax-finufft":
            import jax_finufft as module
        else:
            import nufftax as module
    except ImportError as error:
        raise InputError(
            f"method 'nufft' needs {backend}: pip install 'vitreous[nufft]', or take another method"
        ) from error
    return backend, module


def transform_points(
    points: Float[Array, "m 2"],
    weights: Float[Array, "q m"],
    box: int,
    extent: Float[Array, ""],
    backend: Backend = "auto",
) -> Complex[Array, "q n h"]:
    """Evaluate `Σ w exp(−2πi k·x)` at all frequencies of a half plane.

    **Arguments:** `points`: `(x, y)` in Å. `weights`: `q` sets of them. `extent`: side of the
    image in Å.
    """
    name, module = nufft_backend(backend)
    # −h … h along x: the column of +Nyquist is wanted, even boxes list only −Nyquist.
    h = box // 2
    turns = points / extent
    angle = (turns - jnp.round(turns)) * (2 * np.pi)
    strength = jax.lax.complex(weights, jnp.zeros_like(weights))
    side = 2 * h + 1
    x, y = angle[:, 0], angle[:, 1]
    if name == "jax-finufft":
        full = module.nufft1((side, side), strength, y, x, eps=PRECISION, iflag=-1)
    else:
        full = jax.lax.map(
            lambda c: module.nufft2d1(x, y, c, (side, side), eps=PRECISION, isign=-1), strength
        )
    rows = np.fft.ifftshift(np.arange(box) - box // 2) + h
    return full[:, rows, h:]


def transform_voxels(
    density: Float[Array, "n n n"], frequency: Float[Array, "p 3"], backend: Backend = "auto"
) -> Complex[Array, " p"]:
    """Evaluate `Σ f exp(−2πi q·x)` of a cube of voxels at any frequencies.

    **Arguments:** `frequency`: `(qx, qy, qz)` in cycles/voxel.
    """
    name, module = nufft_backend(backend)
    angle = (frequency - jnp.round(frequency)) * (2 * np.pi)
    values = jax.lax.complex(density, jnp.zeros_like(density))
    x, y, z = (angle[:, i] for i in range(3))
    if name == "jax-finufft":
        return module.nufft2(values, z, y, x, eps=PRECISION, iflag=-1)
    return module.nufft3d2(x, y, z, values, eps=PRECISION, isign=-1)


def _width_nodes(
    widths: tuple[float, float] | None, highest: float | None, tolerance: float = 1e-6
) -> tuple[float, float, np.ndarray]:
    """Choose variances between which `exp(−2π²σ²k²)` is interpolated to a tolerance.

    **Returns:** centre and half width of their range in Å², and the nodes on it, from −1 to 1.
    """
    if widths is None:
        raise ValueError("method 'nufft' must know the widths of the Gaussians: give widths=")
    low, high = widths[0] ** 2, widths[1] ** 2
    if high == 0:
        return 0.0, 1.0, np.zeros(1)
    reach = 2.0 if highest is None else highest
    rate = 2 * np.pi**2 * reach**2
    # Equal widths too get more than one node, for the sake of their gradient.
    half = max((high - low) / 2, 1e-3 / rate)
    # Between q Chebyshev nodes, exp(−rate t) on ±half is right to 2 (rate half / 2)^q / q!.
    count, error = 1, rate * half
    while error > tolerance:
        count += 1
        error *= rate * half / 2 / count
    nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    # Rounded here, so that a variance equal to the middle is at 0 also in single precision.
    return float(np.float32((low + high) / 2)), float(np.float32(half)), nodes


def _lagrange(x: Float[Array, "..."], nodes: np.ndarray) -> Float[Array, "q ..."]:
    """Evaluate the Lagrange polynomials of some nodes."""
    terms = []
    for i, own in enumerate(nodes):
        product = jnp.ones_like(x)
        for j, other in enumerate(nodes):
            if i != j:
                product = product * ((x - other) / (own - other))
        terms.append(product)
    return jnp.stack(terms)


def project_by_nufft(
    atoms: GaussianAtoms,
    rotation: Float[Array, "b 3 3"],
    grid: ImageGrid,
    widths: tuple[float, float] | None,
    backend: Backend = "auto",
) -> Complex[Array, "b n h"]:
    """Project Gaussians by non-uniform FFTs, one for each of a few widths.

    Gaussians of other widths are interpolated between these, to 1e-6 of their amplitudes.

    **Returns:** as `separable.project_separably`.
    """
    position, amplitude, variance = (jnp.asarray(field) for field in atoms)
    extent = grid.extent.astype(position.dtype)
    k = grid.frequencies().astype(position.dtype)
    square = jnp.sum(k * k, axis=-1)
    pixel = None if isinstance(grid.pixel_size, jax.core.Tracer) else float(grid.pixel_size)
    middle, half, nodes = _width_nodes(widths, None if pixel is None else np.sqrt(0.5) / pixel)
    share = _lagrange((variance - middle) / half, nodes)
    weights = jnp.sum(share * amplitude[None], axis=-1)
    width = jnp.asarray(middle + half * nodes, k.dtype)[:, None, None]
    form = jnp.exp(-2 * np.pi**2 * square[None] * width)

    def one(points: Float[Array, "m 3"]) -> Complex[Array, "n h"]:
        parts = transform_points(points[:, :2], weights, grid.box, extent, backend)
        return jnp.sum(parts * form.astype(parts.dtype), axis=0)

    planes = jax.lax.map(one, lab_frame(atoms, rotation))
    return planes / (extent / grid.box).astype(planes.dtype) ** 2
